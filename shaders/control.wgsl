// What every optimizer decides on the GPU, whatever its update rule: global gradient clipping, the scale of the loss, and
// whether there is a step at all. One whose gradient is not finite changes nothing, nor does one whose proofs do not
// add up: a part of its gradient is missing. A step may be submitted before the outcome of the one before is read; where
// that one has lost something, this one changes nothing either.
//   norm:   partial_i = sum of g^2 over the elements i, i + invocations, ...
//   decide: |g| = sqrt(sum of partials) / s; finite and whole -> t += 1, clip = min(1, limit / |g|)
//           s, the scale of the loss (Micikevicius et al. 2018): halved when not finite, doubled after `growth`
//           finite steps; 1 where growth is 0
// Launch: norm: LANES invocations in any number of dispatches, a partial sum for each workgroup; decide: one workgroup.
//   Invocations stride over vectors of four elements; the rest of a last vector is zero.
#import lib/optimizer
#import lib/reduce

struct Params {
    vectors: u32, partials: u32, first: u32, clip: f32, growth: u32,
    start: u32, groups: u32, // of norm: the number of the first workgroup, and of how many there are in all
}
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(LANES)
fn norm(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) id: vec3<u32>) {
    let group = p.start + id.x;
    var total = vec4<f32>();
    for (var i = group * LANES + lane; i < p.vectors; i += p.groups * LANES) {
        total = fma(gradient[i], gradient[i], total);
    }
    let sum = reduce_sum((total.x + total.y) + (total.z + total.w), lane);
    if (lane == 0u) { partial[p.first + group] = sum; }
}

// The proof is this step's, the proofs the sum of those that its micro-batches were given, and `previous` the proof of the
// step before where the CPU has not read its outcome yet, or 0.
struct Settings { learning_rate: f32, proof: u32, proofs: f32, previous: u32 }
// What became of them, read back by the CPU; `delivered` is this step's proof again, which the recording copies there
// after everything else. `whole` says that nothing was lost of this step, nor of those before it that `previous` names.
struct Outcome {
    loss: f32, correct: f32, proofs: f32, norm: f32, apply: u32, proof: u32, whole: u32, delivered: u32,
}
@group(0) @binding(1) var<storage, read> settings: Settings;
@group(0) @binding(2) var<storage, read> partials: array<f32>;
@group(0) @binding(3) var<storage, read> loss: array<f32>;
@group(0) @binding(4) var<storage, read> correct: array<f32>;
@group(0) @binding(5) var<storage, read> proofs: array<f32>;
@group(0) @binding(6) var<storage, read_write> state: State;
@group(0) @binding(7) var<storage, read_write> outcome: Outcome;

// Drivers with fast math may drop comparisons with NaN, so the exponent is looked at.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(LANES)
fn decide(@builtin(local_invocation_index) lane: u32) {
    var part = 0.0;
    for (var i = lane; i < p.partials; i += LANES) { part += partials[i]; }
    let total = reduce_sum(part, lane);
    if (lane != 0u) { return; }
    let length = sqrt(total) / state.loss_scale;
    let finite = is_finite(total) && is_finite(loss[0]);
    // The outcome is still that of the step before.
    let follows = settings.previous == 0u || (outcome.whole == 1u && outcome.delivered == settings.previous);
    let whole = follows && proofs[0] == settings.proofs;
    let apply = finite && whole;
    state.apply = u32(apply);
    if (apply) {
        state.step += 1.0;
        var clip = 1.0;
        if (p.clip > 0.0) { clip = min(1.0, p.clip / max(length, 1e-30)); }
        state.scale = clip / state.loss_scale;
        state.learning_rate = settings.learning_rate;
    }
    if (p.growth > 0u) {
        // Powers of two change no digit of a gradient.
        state.clean += select(0.0, 1.0, apply);
        if (whole && !finite) {
            state.loss_scale = max(0.5 * state.loss_scale, 1.0);
            state.clean = 0.0;
        } else if (whole && state.clean >= f32(p.growth)) {
            state.loss_scale = min(2.0 * state.loss_scale, 16777216.0);
            state.clean = 0.0;
        }
    }
    outcome.loss = loss[0];
    outcome.correct = correct[0];
    outcome.proofs = proofs[0];
    outcome.norm = length;
    outcome.apply = u32(apply);
    outcome.whole = u32(whole);
    outcome.proof = settings.proof;
}

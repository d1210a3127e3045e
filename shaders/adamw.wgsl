// AdamW with global gradient clipping (Loshchilov & Hutter 2019), decided on the GPU: a step whose gradient
// is not finite changes nothing, nor does one whose tickets do not add up: a part of its gradient is missing.
//   norm:   partial_i = sum of g^2 over the elements i, i + invocations, ...
//   decide: |g| = sqrt(sum of partials) / s; finite and whole -> t += 1, clip = min(1, limit / |g|)
//           s, the scale of the loss (Micikevicius et al. 2018): halved when not finite, doubled after `growth`
//           finite steps; 1 where growth is 0
//   update: m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  g clipped
//           w = w (1 - lr decay) - lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps);  g = 0 for the next step
// Launch: norm: LANES invocations in any number of dispatches, a partial sum for each workgroup; decide: one workgroup;
//   update: any grid. Invocations stride over vectors of four elements; the rest of a last vector is zero.
#import lib/grid
#import lib/reduce
#import lib/narrow

struct Params {
    vectors: u32, partials: u32, first: u32,
    beta1: f32, beta2: f32, epsilon: f32, decay: f32, clip: f32, growth: u32,
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

struct Control { learning_rate: f32, canary: u32, tickets: f32 }
// What survives from step to step: the loss scale, clean steps since it changed, b1^t, b2^t and t; and this step's
// decision.
struct State {
    loss_scale: f32, clean: f32, power1: f32, power2: f32, step: f32,
    apply: u32, scale: f32, rate: f32, root: f32, decay: f32,
}
struct Report { loss: f32, correct: f32, tickets: f32, norm: f32, apply: u32, canary: u32 }
@group(0) @binding(1) var<storage, read> control: Control;
@group(0) @binding(2) var<storage, read> partials: array<f32>;
@group(0) @binding(3) var<storage, read> loss: array<f32>;
@group(0) @binding(4) var<storage, read> correct: array<f32>;
@group(0) @binding(5) var<storage, read> tickets: array<f32>;
@group(0) @binding(6) var<storage, read_write> state: State;
@group(0) @binding(7) var<storage, read_write> report: Report;

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
    let apply = finite && tickets[0] == control.tickets;
    state.apply = u32(apply);
    if (apply) {
        state.power1 *= p.beta1;
        state.power2 *= p.beta2;
        state.step += 1.0;
        var clip = 1.0;
        if (p.clip > 0.0) { clip = min(1.0, p.clip / max(length, 1e-30)); }
        state.scale = clip / state.loss_scale;
        state.rate = control.learning_rate / (1.0 - state.power1);
        state.root = 1.0 / sqrt(1.0 - state.power2);
        state.decay = control.learning_rate;
    }
    if (p.growth > 0u) {
        // Powers of two change no digit of a gradient.
        state.clean += select(0.0, 1.0, apply);
        if (!finite) {
            state.loss_scale = max(0.5 * state.loss_scale, 1.0);
            state.clean = 0.0;
        } else if (state.clean >= f32(p.growth)) {
            state.loss_scale = min(2.0 * state.loss_scale, 16777216.0);
            state.clean = 0.0;
        }
    }
    report.loss = loss[0];
    report.correct = correct[0];
    report.tickets = tickets[0];
    report.norm = length;
    report.apply = u32(apply);
    report.canary = control.canary;
}

@group(0) @binding(1) var<storage, read> decided: State;
@group(0) @binding(2) var<storage, read_write> g: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> v: array<vec4<f32>>;

// Updates four weights where there is a step, and gives them; gradients are zeroed in any case.
fn updated(i: u32) -> vec4<f32> {
    let clipped = g[i] * decided.scale;
    g[i] = vec4<f32>();
    if (decided.apply == 0u) { return w[i]; }
    let first = p.beta1 * m[i] + (1.0 - p.beta1) * clipped;
    let second = p.beta2 * v[i] + (1.0 - p.beta2) * clipped * clipped;
    m[i] = first;
    v[i] = second;
    let weight = w[i] * (1.0 - decided.decay * p.decay)
        - decided.rate * first / (sqrt(second) * decided.root + p.epsilon);
    w[i] = weight;
    return weight;
}

@compute @workgroup_size(LANES)
fn update(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.vectors; i += groups.x * LANES) { _ = updated(i); }
}

@group(0) @binding(6) var<storage, read_write> halves: array<vec4<out_elem>>; // w as f16, for the next forward pass

@compute @workgroup_size(LANES)
fn update_halves(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.vectors; i += groups.x * LANES) {
        let weight = updated(i);
        if (decided.apply != 0u) { halves[i] = narrow_out4(weight); }
    }
}

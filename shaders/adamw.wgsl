// AdamW with global gradient clipping (Loshchilov & Hutter 2019), decided on the GPU: a step whose gradient
// is not finite changes nothing, nor does one whose tickets do not add up: a part of its gradient is missing.
//   norm:   partial_i = sum of g^2 over the elements i, i + invocations, ...
//   decide: |g| = sqrt(sum of partials) / s; finite and whole -> t += 1, clip = min(1, limit / |g|)
//           s, the scale of the loss (Micikevicius et al. 2018): halved when not finite, doubled after `growth`
//           finite steps; 1 where growth is 0
//   update: m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  g clipped
//           w = w (1 - lr decay) - lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps);  g = 0 for the next step
// Launch: norm, update: a fixed grid, that of norm in any number of dispatches, each invocation strides over the
//   elements; decide: one invocation.
#import lib/grid

struct Params {
    elements: u32, partials: u32, first: u32,
    beta1: f32, beta2: f32, epsilon: f32, decay: f32, clip: f32, growth: u32,
    start: u32, stride: u32, // of norm: the number of the first invocation, and of how many there are in all
}
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn norm(@builtin(global_invocation_id) id: vec3<u32>) {
    let invocation = p.start + id.x;
    var total = 0.0;
    for (var i = invocation; i < p.elements; i += p.stride) { total += gradient[i] * gradient[i]; }
    partial[p.first + invocation] = total;
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

@compute @workgroup_size(1)
fn decide() {
    var total = 0.0;
    for (var i = 0u; i < p.partials; i++) { total += partials[i]; }
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
@group(0) @binding(2) var<storage, read_write> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> w: array<f32>;
@group(0) @binding(4) var<storage, read_write> m: array<f32>;
@group(0) @binding(5) var<storage, read_write> v: array<f32>;

// Whether the weight changed: without a step only its gradient is zeroed.
fn updated(i: u32) -> bool {
    let clipped = g[i] * decided.scale;
    g[i] = 0.0;
    if (decided.apply == 0u) { return false; }
    let first = p.beta1 * m[i] + (1.0 - p.beta1) * clipped;
    let second = p.beta2 * v[i] + (1.0 - p.beta2) * clipped * clipped;
    m[i] = first;
    v[i] = second;
    w[i] = w[i] * (1.0 - decided.decay * p.decay)
        - decided.rate * first / (sqrt(second) * decided.root + p.epsilon);
    return true;
}

@compute @workgroup_size(WORKGROUP)
fn update(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.elements; i += groups.x * WORKGROUP) { _ = updated(i); }
}

@group(0) @binding(6) var<storage, read_write> halves: array<out_elem>; // w as f16, for the next forward pass

@compute @workgroup_size(WORKGROUP)
fn update_halves(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.elements; i += groups.x * WORKGROUP) {
        if (updated(i)) { halves[i] = out_elem(w[i]); }
    }
}

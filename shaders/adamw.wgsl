// AdamW (Loshchilov & Hutter 2019), for a gradient g that `control` has decided on and says how to scale.
//   advance: the corrections of this step, from b1^t and b2^t
//   update:  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//            w = w (1 - lr decay) - lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)
// Launch: advance: one invocation; update: any grid of LANES invocations, which stride over vectors of four elements.
#import lib/narrow
#import lib/optimizer

// The learning rate is a factor of the step's.
struct Params { vectors: u32, learning_rate: f32, decay: f32, beta1: f32, beta2: f32, epsilon: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> decided: State;

// b1^t and b2^t, which are kept, and what follows from them: lr / (1 - b1^t) and 1 / sqrt(1 - b2^t).
struct Correction { power1: f32, power2: f32, rate: f32, root: f32 }
@group(0) @binding(2) var<storage, read_write> next: Correction;

@compute @workgroup_size(1)
fn advance() {
    if (decided.apply == 0u) { return; }
    next.power1 *= p.beta1;
    next.power2 *= p.beta2;
    next.rate = decided.learning_rate / (1.0 - next.power1);
    next.root = 1.0 / sqrt(1.0 - next.power2);
}

@group(0) @binding(2) var<storage, read> correction: Correction;
@group(0) @binding(3) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> v: array<vec4<f32>>;

// Updates four weights where there is a step, and gives them.
fn updated(i: u32) -> vec4<f32> {
    if (decided.apply == 0u) { return w[i]; }
    let clipped = g[i] * decided.scale;
    let first = p.beta1 * m[i] + (1.0 - p.beta1) * clipped;
    let second = p.beta2 * v[i] + (1.0 - p.beta2) * clipped * clipped;
    m[i] = first;
    v[i] = second;
    let weight = w[i] * (1.0 - p.learning_rate * decided.learning_rate * p.decay)
        - p.learning_rate * correction.rate * first / (sqrt(second) * correction.root + p.epsilon);
    w[i] = weight;
    return weight;
}

@compute @workgroup_size(LANES)
fn update(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.vectors; i += groups.x * LANES) { _ = updated(i); }
}

@group(0) @binding(7) var<storage, read_write> halves: array<vec4<out_elem>>; // w as f16, for the next forward pass

@compute @workgroup_size(LANES)
fn update_halves(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.vectors; i += groups.x * LANES) {
        let weight = updated(i);
        if (decided.apply != 0u) { halves[i] = narrow_out4(weight); }
    }
}

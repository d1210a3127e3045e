// Lion (Chen et al. 2023), for a gradient g that `control` has decided on and says how to scale.
//   update: w = w (1 - lr decay) - lr sign(b1 m + (1 - b1) g);  m = b2 m + (1 - b2) g
// Launch: any grid of LANES invocations, which stride over vectors of four elements.
#import lib/narrow
#import lib/optimizer

// The learning rate is a factor of the step's.
struct Params { vectors: u32, learning_rate: f32, decay: f32, beta1: f32, beta2: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> decided: State;
@group(0) @binding(2) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> m: array<vec4<f32>>;

// Updates four weights where there is a step, and gives them.
fn updated(i: u32) -> vec4<f32> {
    if (decided.apply == 0u) { return w[i]; }
    let clipped = g[i] * decided.scale;
    let rate = p.learning_rate * decided.learning_rate;
    let direction = sign(p.beta1 * m[i] + (1.0 - p.beta1) * clipped);
    m[i] = p.beta2 * m[i] + (1.0 - p.beta2) * clipped;
    let weight = w[i] * (1.0 - rate * p.decay) - rate * direction;
    w[i] = weight;
    return weight;
}

@compute @workgroup_size(LANES)
fn update(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.vectors; i += groups.x * LANES) { _ = updated(i); }
}

@group(0) @binding(5) var<storage, read_write> halves: array<vec4<out_elem>>; // w as f16, for the next forward pass

@compute @workgroup_size(LANES)
fn update_halves(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.vectors; i += groups.x * LANES) {
        let weight = updated(i);
        if (decided.apply != 0u) { halves[i] = narrow_out4(weight); }
    }
}

// SwiGLU (Shazeer 2020): a gate and a value side by side, x = [g, v] [N, 2F], become [N, F].
//   y = g s(g) v        s(g) = 1 / (1 + exp(-g))
//   d_g = d_y v s(g) (1 + g (1 - s(g)))        d_v = d_y g s(g)
// Launch: one invocation per element of y, folded by `linear_index`.
#import lib/grid

struct Params { rows: u32, width: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<f32>; // [N, 2F]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [N, F]

// Where the gate of element i of y lies; its value is `width` further on.
fn gate_of(i: u32) -> u32 {
    return i / p.width * 2u * p.width + i % p.width;
}

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-x));
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.rows * p.width) { return; }
    let at = gate_of(i);
    y[i] = x[at] * sigmoid(x[at]) * x[at + p.width];
}

@group(0) @binding(2) var<storage, read> d_y: array<f32>; // [N, F]
@group(0) @binding(3) var<storage, read_write> d_x: array<f32>; // [N, 2F]

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.rows * p.width) { return; }
    let at = gate_of(i);
    let gate = x[at];
    let s = sigmoid(gate);
    d_x[at] = d_y[i] * x[at + p.width] * s * (1.0 + gate * (1.0 - s));
    d_x[at + p.width] = d_y[i] * gate * s;
}

// Hyperbolic tangent.
//   y = sign(x) (1 - e) / (1 + e),   e = exp(-2 |x|)        d_x = d_y (1 - y^2)
// Written out, because a driver's own tanh may overflow where |x| is large.
// Launch: one invocation per element, folded by `linear_index`.
#import lib/grid

struct Params { elements: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.elements) { return; }
    let e = exp(-2.0 * abs(x[i]));
    y[i] = sign(x[i]) * (1.0 - e) / (1.0 + e);
}

@group(0) @binding(1) var<storage, read> result: array<f32>; // y
@group(0) @binding(2) var<storage, read> d_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_x: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.elements) { d_x[i] = d_y[i] * (1.0 - result[i] * result[i]); }
}

// Hyperbolic tangent.
//   y = sign(x) (1 - e) / (1 + e),   e = exp(-2 |x|)        d_x = d_y (1 - y^2)
// Written out, because a driver's own tanh may overflow where |x| is large.
// Launch: one invocation per element, folded by `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { elements: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>;
@group(0) @binding(2) var<storage, read_write> y: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.elements) { return; }
    let value = f32(x[i]);
    let e = exp(-2.0 * abs(value));
    y[i] = narrow(sign(value) * (1.0 - e) / (1.0 + e));
}

@group(0) @binding(1) var<storage, read> result: array<elem>; // y
@group(0) @binding(2) var<storage, read> d_y: array<elem>;
@group(0) @binding(3) var<storage, read_write> d_x: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.elements) { return; }
    let value = f32(result[i]);
    d_x[i] = narrow(f32(d_y[i]) * (1.0 - value * value));
}

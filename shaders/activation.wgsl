// Activation functions beside the exact GELU and the hyperbolic tangent, one of them per variant.
//   y = value of lib/activation at x
//   d_x = d_y (slope of y at x)
// Launch: one invocation per element, folded by `linear_index`.
#import lib/activation
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
    y[i] = narrow(activation_value(f32(x[i])));
}

@group(0) @binding(2) var<storage, read> d_y: array<elem>;
@group(0) @binding(3) var<storage, read_write> d_x: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.elements) { return; }
    d_x[i] = narrow(f32(d_y[i]) * activation_slope(f32(x[i])));
}

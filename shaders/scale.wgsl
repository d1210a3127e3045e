// A tensor times a constant.
//   y = factor x       d_x = factor d_y
// Launch: one invocation per element, folded by `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { elements: u32, factor: f32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>; // or d_y
@group(0) @binding(2) var<storage, read_write> y: array<elem>; // or d_x

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.elements) { y[i] = narrow(p.factor * f32(x[i])); }
}

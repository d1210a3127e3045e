// Sum of two tensors of one shape, and a tensor added in place.
//   forward:    y = a + b                       d_a = d_b = d_y
//   accumulate: y += a
// Launch: one invocation per element, folded by `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { elements: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> a: array<elem>;
@group(0) @binding(2) var<storage, read> b: array<elem>;
@group(0) @binding(3) var<storage, read_write> y: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.elements) { y[i] = narrow(f32(a[i]) + f32(b[i])); }
}

@group(0) @binding(2) var<storage, read_write> sum: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn accumulate(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.elements) { sum[i] += f32(a[i]); }
}

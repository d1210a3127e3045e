// Gaussian error linear unit, the exact one (Hendrycks & Gimpel 2016).
//   y = x (1 + erf(x / sqrt 2)) / 2
//   d_x = d_y ((1 + erf(x / sqrt 2)) / 2 + x exp(-x^2 / 2) / sqrt(2 pi))
// Launch: one invocation per element, folded by `linear_index`.
#import lib/grid
#import lib/gelu
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
    y[i] = narrow(value * gelu_share(value));
}

@group(0) @binding(2) var<storage, read> d_y: array<elem>;
@group(0) @binding(3) var<storage, read_write> d_x: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.elements) { return; }
    let value = f32(x[i]);
    d_x[i] = narrow(f32(d_y[i]) * gelu_slope(value));
}

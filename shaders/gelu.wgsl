// Gaussian error linear unit, the exact one (Hendrycks & Gimpel 2016).
//   y = x (1 + erf(x / sqrt 2)) / 2
//   d_x = d_y ((1 + erf(x / sqrt 2)) / 2 + x exp(-x^2 / 2) / sqrt(2 pi))
// Launch: one invocation per element, folded by `linear_index`.
#import lib/grid
#import lib/erf

struct Params { elements: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn cumulative(x: f32) -> f32 {
    return 0.5 + 0.5 * erf(x * 0.70710678);
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.elements) { y[i] = x[i] * cumulative(x[i]); }
}

@group(0) @binding(2) var<storage, read> d_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_x: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.elements) {
        let density = 0.39894228 * exp(-0.5 * x[i] * x[i]);
        d_x[i] = d_y[i] * (cumulative(x[i]) + x[i] * density);
    }
}

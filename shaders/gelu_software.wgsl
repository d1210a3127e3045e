// Gaussian error linear unit for adapters that are CPUs: four elements per invocation, operands through
// textures (see matmul_software).
//   y = x (1 + erf(x / sqrt 2)) / 2
//   d_x = d_y ((1 + erf(x / sqrt 2)) / 2 + x exp(-x^2 / 2) / sqrt(2 pi))
// Launch: one invocation per 4 elements, folded by `linear_index`.
#import lib/grid
#import lib/erf
#import lib/narrow

struct Params { elements: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var x: texture_2d<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<elem>>;

fn cumulative(x: vec4<f32>) -> vec4<f32> {
    let z = x * 0.70710678;
    return 0.5 + 0.5 * vec4(erf(z.x), erf(z.y), erf(z.z), erf(z.w));
}

@compute @workgroup_size(8)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 8u);
    if (4u * i >= p.elements) { return; }
    let value = textureLoad(x, vec2<u32>(i & 1023u, i >> 10u), 0);
    y[i] = narrow4(value * cumulative(value));
}

@group(0) @binding(2) var d_y: texture_2d<f32>;
@group(0) @binding(3) var<storage, read_write> d_x: array<vec4<elem>>;

@compute @workgroup_size(8)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 8u);
    if (4u * i >= p.elements) { return; }
    let value = textureLoad(x, vec2<u32>(i & 1023u, i >> 10u), 0);
    let density = 0.39894228 * exp(-0.5 * value * value);
    let upstream = textureLoad(d_y, vec2<u32>(i & 1023u, i >> 10u), 0);
    d_x[i] = narrow4(upstream * (cumulative(value) + value * density));
}

// Dropout (Srivastava et al. 2014). Which elements are kept is a function of (key, site, element) alone, so the
// backward pass draws the same ones again and nothing is stored.
//   r_i = random_bits(key, site, i), uniform over 32 bits
//   y_i = scale x_i where r_i >= threshold, else 0       d_x_i = scale d_y_i there, else 0
// with threshold = rate 2^32 and scale = 1 / (1 - rate).
// Launch: one invocation per element, folded by `linear_index`.
#import lib/grid
#import lib/random
#import lib/narrow

struct Params { elements: u32, site: u32, threshold: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> key: array<u32>; // [2], written anew for each step

fn factor(i: u32) -> f32 {
    return select(0.0, p.scale, random_bits(vec2(key[0], key[1]), p.site, i) >= p.threshold);
}

@group(0) @binding(2) var<storage, read> x: array<elem>; // or d_y
@group(0) @binding(3) var<storage, read_write> y: array<elem>; // or d_x

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.elements) { y[i] = narrow(f32(x[i]) * factor(i)); }
}

@group(0) @binding(2) var<storage, read_write> changed: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn in_place(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.elements) { changed[i] = narrow(f32(changed[i]) * factor(i)); }
}

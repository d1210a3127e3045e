// Dropout (Srivastava et al. 2014). Which elements are kept is a function of (key, site, element) alone, so the
// backward pass draws the same ones again and nothing is stored.
//   r_i = mix(mix(i ^ mix(key_0 ^ site)) ^ key_1), uniform over 32 bits
//   y_i = scale x_i where r_i >= threshold, else 0       d_x_i = scale d_y_i there, else 0
// with threshold = rate 2^32 and scale = 1 / (1 - rate). `mix` is Wellons's lowbias32.
// Launch: one invocation per element, folded by `linear_index`.
#import lib/grid

struct Params { elements: u32, site: u32, threshold: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> key: array<u32>; // [2], written anew for each step

fn mix(value: u32) -> u32 {
    var x = value;
    x ^= x >> 16u;
    x *= 0x7feb352du;
    x ^= x >> 15u;
    x *= 0x846ca68bu;
    return x ^ (x >> 16u);
}

fn factor(i: u32) -> f32 {
    let drawn = mix(mix(i ^ mix(key[0] ^ p.site)) ^ key[1]);
    return select(0.0, p.scale, drawn >= p.threshold);
}

@group(0) @binding(2) var<storage, read> x: array<elem>; // or d_y
@group(0) @binding(3) var<storage, read_write> y: array<elem>; // or d_x

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.elements) { y[i] = elem(f32(x[i]) * factor(i)); }
}

@group(0) @binding(2) var<storage, read_write> changed: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn in_place(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.elements) { changed[i] = elem(f32(changed[i]) * factor(i)); }
}

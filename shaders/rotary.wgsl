// Rotary positions (Su et al. 2021): the queries and keys of each head are turned by angles that grow with the position, so
// that their products follow from the distance alone.
//   of columns i and i + D/2 of a head of queries or keys, with the angle a of their position and i:
//     y_i = x_i cos a - x_{i + D/2} sin a        y_{i + D/2} = x_{i + D/2} cos a + x_i sin a
//   values: y = x                                d_x is d_y turned by -a: `direction` is -1
// Launch: one invocation per pair of columns, folded by `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { pairs: u32, row_pairs: u32, turned_pairs: u32, tokens: u32, half: u32, direction: f32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>; // [B·T, 3C]
@group(0) @binding(2) var<storage, read> angles: array<vec2<f32>>; // [T, D/2]: cosine, sine
@group(0) @binding(3) var<storage, read_write> y: array<elem>; // [B·T, 3C]

@compute @workgroup_size(WORKGROUP)
fn turn(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups, WORKGROUP);
    if (index >= p.pairs) { return; }
    let row = index / p.row_pairs;
    let pair = index % p.row_pairs;
    let i = pair % p.half;
    let first = 2u * (index - i) + i;
    let second = first + p.half;
    let a = f32(x[first]);
    let b = f32(x[second]);
    // Queries and keys stand before the values.
    var turned = vec2(1.0, 0.0);
    if (pair < p.turned_pairs) { turned = angles[(row % p.tokens) * p.half + i]; }
    let sine = p.direction * turned.y;
    y[first] = narrow(a * turned.x - b * sine);
    y[second] = narrow(b * turned.x + a * sine);
}

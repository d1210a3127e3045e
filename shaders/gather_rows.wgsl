// Chosen rows of a matrix.
//   y[m] = x[rows[m]], or 0 where rows[m] is no row (an unused slot)
//   d_x[rows[m]] += d_y[m]: no two slots name one row
// Launch: one invocation per element of y, folded by `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { rows: u32, columns: u32, slots: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>; // [N, C]
@group(0) @binding(2) var<storage, read> rows: array<u32>; // [M]
@group(0) @binding(3) var<storage, read_write> y: array<elem>; // [M, C]

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.slots * p.columns) { return; }
    let row = rows[i / p.columns];
    var value = elem(0.0);
    if (row < p.rows) { value = x[row * p.columns + i % p.columns]; }
    y[i] = value;
}

@group(0) @binding(1) var<storage, read> d_y: array<elem>; // [M, C]
@group(0) @binding(3) var<storage, read_write> d_x: array<out_elem>; // [N, C]

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.slots * p.columns) { return; }
    let row = rows[i / p.columns];
    if (row >= p.rows) { return; }
    let at = row * p.columns + i % p.columns;
    d_x[at] = narrow_out(f32(d_x[at]) + f32(d_y[i]));
}

// Rows of a table, looked up by id.
//   y[n] = table[ids[n]]       d_table[v] += sum of d_y[n] over the n with ids[n] = v, in the order of n
// An id past the table reads its last row and adds no gradient.
// The index of a batch has 3 N + 2 words: how many distinct ids U, then the ids [N], where each one's rows
// start in the order [N + 1], and the order: all rows sorted by id [N]. Only the first U ids count.
// Launch: forward: one invocation per element. backward: one per (distinct id, column of `count` from `first` on), for
//   N ids at most. Both folded by `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { rows: u32, columns: u32, entries: u32, first: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> table: array<elem>; // [V, C]
@group(0) @binding(2) var<storage, read> ids: array<u32>; // [N]
@group(0) @binding(3) var<storage, read_write> y: array<elem>; // [N, C]

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.rows * p.columns) { return; }
    let entry = min(ids[i / p.columns], p.entries - 1u);
    y[i] = table[entry * p.columns + i % p.columns];
}

@group(0) @binding(1) var<storage, read> d_y: array<elem>; // [N, C]
@group(0) @binding(2) var<storage, read> index: array<u32>; // [3 N + 2]
@group(0) @binding(3) var<storage, read_write> d_table: array<out_elem>; // [V, C]

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    let slot = i / p.count;
    let c = p.first + i % p.count;
    if (slot >= min(index[0], p.rows)) { return; }
    let entry = index[1u + slot];
    if (entry >= p.entries) { return; }
    let starts = 1u + p.rows;
    let order = starts + p.rows + 1u;
    let end = min(index[starts + slot + 1u], p.rows);
    var sum = 0.0;
    var at = index[starts + slot];
    // [MASK] alone may have an eighth of all rows: eight of an id are read at once, for each read takes long.
    for (; at + 8u <= end; at += 8u) {
        var eight: array<f32, 8>;
        for (var i = 0u; i < 8u; i++) { // unroll
            eight[i] = f32(d_y[min(index[order + at + i], p.rows - 1u) * p.columns + c]);
        }
        for (var i = 0u; i < 8u; i++) { // unroll
            sum += eight[i];
        }
    }
    for (; at < end; at++) {
        sum += f32(d_y[min(index[order + at], p.rows - 1u) * p.columns + c]);
    }
    d_table[entry * p.columns + c] = narrow_out(f32(d_table[entry * p.columns + c]) + sum);
}

// One value per column added to every row, and a residual where there is one.
//   y_rc = x_rc + bias_c (+ residual_rc)
//   d_x = d_residual = d_y        d_bias_c = sum over rows of d_y_rc
// Rows are `stride` wide; the columns from `columns` on (padding) are copied as they are, and give no gradient.
// in_place: y takes the place of x.
// Launch: forward, in_place: one invocation per element. partials: one per column of each block of rows, whose sums
//   `reduce` adds up. Both folded by `linear_index`.
#import lib/grid

struct Params { rows: u32, columns: u32, stride: u32, block_rows: u32, blocks: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>; // [N, S]
@group(0) @binding(2) var<storage, read> bias: array<f32>; // [C]
@group(0) @binding(3) var<storage, read_write> y: array<elem>; // [N, S]

fn bias_at(i: u32) -> f32 {
    let c = i % p.stride;
    return select(0.0, bias[min(c, p.columns - 1u)], c < p.columns);
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.rows * p.stride) { y[i] = elem(f32(x[i]) + bias_at(i)); }
}

@group(0) @binding(3) var<storage, read> residual: array<elem>; // [N, S]
@group(0) @binding(4) var<storage, read_write> sum: array<elem>; // y [N, S]

@compute @workgroup_size(WORKGROUP)
fn forward_residual(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.rows * p.stride) { sum[i] = elem(f32(x[i]) + bias_at(i) + f32(residual[i])); }
}

@group(0) @binding(1) var<storage, read> added: array<f32>; // bias [C]
@group(0) @binding(2) var<storage, read_write> replaced: array<elem>; // x, then y [N, S]

@compute @workgroup_size(WORKGROUP)
fn in_place(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    let c = i % p.stride;
    if (i < p.rows * p.stride && c < p.columns) { replaced[i] = elem(f32(replaced[i]) + added[c]); }
}

@group(0) @binding(1) var<storage, read> d_y: array<elem>; // [N, S]
@group(0) @binding(2) var<storage, read_write> partial_sums: array<f32>; // [blocks, C]

@compute @workgroup_size(WORKGROUP)
fn partials(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    let block = i / p.columns;
    if (block >= p.blocks) { return; }
    let end = min((block + 1u) * p.block_rows, p.rows);
    var total = 0.0;
    for (var row = block * p.block_rows; row < end; row++) { total += f32(d_y[row * p.stride + i % p.columns]); }
    partial_sums[i] = total;
}

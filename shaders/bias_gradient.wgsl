// The gradient of a bias that was added to every row: d_bias_c = sum over rows of d_y_rc.
// Rows are `stride` wide; the columns from `columns` on are padding.
// Launch: one invocation per column of each block of rows, folded by `linear_index`; `reduce` adds the blocks up.
#import lib/grid

struct Params { rows: u32, columns: u32, stride: u32, block_rows: u32, blocks: u32 }
@group(0) @binding(0) var<uniform> p: Params;

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

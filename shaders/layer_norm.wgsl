// Layer normalization of each row (Ba, Kiros & Hinton 2016).
//   y = h w + b,   h = (x - mean) / sqrt(variance + eps)
//   d_x = (g - mean(g) - h mean(g h)) / sqrt(variance + eps) (+ onto),   g = d_y w
//   d_w = sum over rows of d_y h        d_b = sum over rows of d_y
// Launch: forward, backward: a workgroup of LANES invocations per row.
//   partials: one invocation per column of each block of rows; reduce: one per column. Both by `linear_index`.
#import lib/grid
#import lib/reduce
#import lib/narrow

struct Params { rows: u32, columns: u32, block_rows: u32, blocks: u32, offset: u32, accumulate: u32, eps: f32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>; // [N, C]
@group(0) @binding(2) var<storage, read> weight: array<f32>; // [C]
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [C]
@group(0) @binding(4) var<storage, read_write> y: array<elem>; // [N, C]
@group(0) @binding(5) var<storage, read_write> stats: array<vec2<f32>>; // [N]: mean, 1 / deviation

@compute @workgroup_size(LANES)
fn forward(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = linear_index(group, groups, 1u);
    if (row >= p.rows) { return; }
    let start = row * p.columns;
    var sum = 0.0;
    for (var c = lane; c < p.columns; c += LANES) { sum += f32(x[start + c]); }
    let mean = reduce_sum(sum, lane) / f32(p.columns);
    var squares = 0.0;
    for (var c = lane; c < p.columns; c += LANES) {
        let difference = f32(x[start + c]) - mean;
        squares += difference * difference;
    }
    let scale = 1.0 / sqrt(reduce_sum(squares, lane) / f32(p.columns) + p.eps);
    if (lane == 0u) { stats[row] = vec2(mean, scale); }
    for (var c = lane; c < p.columns; c += LANES) {
        y[start + c] = narrow((f32(x[start + c]) - mean) * scale * weight[c] + bias[c]);
    }
}

@group(0) @binding(3) var<storage, read> d_y: array<elem>; // [N, C]
@group(0) @binding(4) var<storage, read> saved: array<vec2<f32>>; // stats
#if ONTO
@group(0) @binding(5) var<storage, read> onto: array<elem>; // [N, C]
@group(0) @binding(6) var<storage, read_write> d_x: array<elem>; // [N, C]
#else
@group(0) @binding(5) var<storage, read_write> d_x: array<elem>; // [N, C]
#end

@compute @workgroup_size(LANES)
fn backward(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = linear_index(group, groups, 1u);
    if (row >= p.rows) { return; }
    let start = row * p.columns;
    let stat = saved[row];
    var sum_g = 0.0;
    var sum_gh = 0.0;
    for (var c = lane; c < p.columns; c += LANES) {
        let g = f32(d_y[start + c]) * weight[c];
        sum_g += g;
        sum_gh += g * (f32(x[start + c]) - stat.x);
    }
    let mean_g = reduce_sum(sum_g, lane) / f32(p.columns);
    let mean_gh = reduce_sum(sum_gh, lane) * stat.y / f32(p.columns);
    for (var c = lane; c < p.columns; c += LANES) {
        let h = (f32(x[start + c]) - stat.x) * stat.y;
        var gradient = stat.y * (f32(d_y[start + c]) * weight[c] - mean_g - h * mean_gh);
#if ONTO
        gradient += f32(onto[start + c]);
#end
        d_x[start + c] = narrow(gradient);
    }
}

@group(0) @binding(2) var<storage, read> upstream: array<elem>; // d_y [N, C]
@group(0) @binding(3) var<storage, read> row_stats: array<vec2<f32>>; // stats
@group(0) @binding(4) var<storage, read_write> partial_sums: array<f32>; // [blocks, 2, C]: of d_w, of d_b

@compute @workgroup_size(LANES)
fn partials(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, LANES);
    let block = i / p.columns;
    let c = i % p.columns;
    if (block >= p.blocks) { return; }
    let first = block * p.block_rows;
    let end = min(first + p.block_rows, p.rows);
    var d_w = 0.0;
    var d_b = 0.0;
    for (var row = first; row < end; row++) {
        let d = f32(upstream[row * p.columns + c]);
        let stat = row_stats[row];
        d_w += d * (f32(x[row * p.columns + c]) - stat.x) * stat.y;
        d_b += d;
    }
    partial_sums[2u * block * p.columns + c] = d_w;
    partial_sums[(2u * block + 1u) * p.columns + c] = d_b;
}

@group(0) @binding(1) var<storage, read> parts: array<f32>; // partial_sums
@group(0) @binding(2) var<storage, read_write> total: array<f32>; // d_w (offset 0) or d_b (offset C)

@compute @workgroup_size(LANES)
fn reduce(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let c = linear_index(id, groups, LANES);
    if (c >= p.columns) { return; }
    var sum = 0.0;
    for (var block = 0u; block < p.blocks; block++) { sum += parts[2u * block * p.columns + p.offset + c]; }
    if (p.accumulate != 0u) { sum += total[c]; }
    total[c] = sum;
}

// Layer normalization of each row (Ba, Kiros & Hinton 2016).
//   y = h w + b,   h = (x - mean) / sqrt(variance + eps)
//   d_x = (g - mean(g) - h mean(g h)) / sqrt(variance + eps) (+ onto),   g = d_y w
//   d_w = sum over rows of d_y h        d_b = sum over rows of d_y
// A row is read once: each of LANES invocations keeps its PER columns, every LANES-th, in registers.
// Launch: forward: a workgroup per row. backward: a workgroup per block of rows, one after the other, over which it sums
//   its part of d_w and d_b; `reduce` sums the parts. Both folded by `linear_index`.
#import lib/grid
#import lib/reduce
#import lib/narrow

struct Params { rows: u32, columns: u32, block_rows: u32, blocks: u32, eps: f32 }
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
    // Past the end of a row a lane reads the last element and counts it as the mean.
    let last = p.columns - 1u;
    var values: array<f32, PER>;
    var sum = 0.0;
    for (var k = 0u; k < PER; k++) { // unroll
        let c = lane + k * LANES;
        values[k] = f32(x[start + min(c, last)]);
        sum += select(0.0, values[k], c <= last);
    }
    let mean = reduce_sum(sum, lane) / f32(p.columns);
    var squares = 0.0;
    for (var k = 0u; k < PER; k++) { // unroll
        values[k] = select(0.0, values[k] - mean, lane + k * LANES <= last);
        squares += values[k] * values[k];
    }
    let scale = 1.0 / sqrt(reduce_sum(squares, lane) / f32(p.columns) + p.eps);
    if (lane == 0u) { stats[row] = vec2(mean, scale); }
    for (var k = 0u; k < PER; k++) { // unroll
        let c = lane + k * LANES;
        if (c <= last) { y[start + c] = narrow(values[k] * scale * weight[c] + bias[c]); }
    }
}

@group(0) @binding(3) var<storage, read> d_y: array<elem>; // [N, C]
@group(0) @binding(4) var<storage, read> saved: array<vec2<f32>>; // stats
#if ONTO
@group(0) @binding(5) var<storage, read> onto: array<elem>; // [N, C]
@group(0) @binding(6) var<storage, read_write> d_x: array<elem>; // [N, C]
@group(0) @binding(7) var<storage, read_write> parts: array<f32>; // [blocks, 2, C]: of d_w, of d_b
#else
@group(0) @binding(5) var<storage, read_write> d_x: array<elem>; // [N, C]
@group(0) @binding(6) var<storage, read_write> parts: array<f32>; // [blocks, 2, C]: of d_w, of d_b
#end

@compute @workgroup_size(LANES)
fn backward(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let block = linear_index(group, groups, 1u);
    if (block >= p.blocks) { return; }
    let last = p.columns - 1u;
    var weights: array<f32, PER>;
    var d_w: array<f32, PER>;
    var d_b: array<f32, PER>;
    for (var k = 0u; k < PER; k++) { // unroll
        let c = lane + k * LANES;
        weights[k] = select(0.0, weight[min(c, last)], c <= last);
    }
    let end = min((block + 1u) * p.block_rows, p.rows);
    for (var row = block * p.block_rows; row < end; row++) {
        let start = row * p.columns;
        let stat = saved[row];
        var h: array<f32, PER>;
        var d: array<f32, PER>;
        var sum_g = 0.0;
        var sum_gh = 0.0;
        for (var k = 0u; k < PER; k++) { // unroll
            let i = start + min(lane + k * LANES, last);
            h[k] = (f32(x[i]) - stat.x) * stat.y;
            d[k] = f32(d_y[i]);
            d_w[k] += d[k] * h[k];
            d_b[k] += d[k];
            d[k] *= weights[k];
            sum_g += d[k];
            sum_gh += d[k] * h[k];
        }
        let mean_g = reduce_sum(sum_g, lane) / f32(p.columns);
        let mean_gh = reduce_sum(sum_gh, lane) / f32(p.columns);
        for (var k = 0u; k < PER; k++) { // unroll
            d[k] = stat.y * (d[k] - mean_g - h[k] * mean_gh);
#if ONTO
            d[k] += f32(onto[start + min(lane + k * LANES, last)]);
#end
        }
        for (var k = 0u; k < PER; k++) { // unroll
            let c = lane + k * LANES;
            if (c <= last) { d_x[start + c] = narrow(d[k]); }
        }
    }
    for (var k = 0u; k < PER; k++) { // unroll
        let c = lane + k * LANES;
        if (c <= last) {
            parts[2u * block * p.columns + c] = d_w[k];
            parts[(2u * block + 1u) * p.columns + c] = d_b[k];
        }
    }
}

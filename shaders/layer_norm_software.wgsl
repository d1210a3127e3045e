// Layer normalization for adapters that are CPUs: one invocation per row, operands through textures (see
// matmul_software). Rows are a multiple of 4 wide.
//   y = h w + b,   h = (x - mean) / sqrt(variance + eps)
//   d_x = (g - mean(g) - h mean(g h)) / sqrt(variance + eps) (+ onto),   g = d_y w
//   d_w = sum over rows of d_y h        d_b = sum over rows of d_y
// Launch: one invocation per row; partials: one per 4 columns of each block of rows. Folded by `linear_index`.
#import lib/grid

struct Params { rows: u32, columns: u32, block_rows: u32, blocks: u32, eps: f32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var x: texture_2d<f32>; // [N, C]
@group(0) @binding(2) var weight: texture_2d<f32>; // [C]
@group(0) @binding(3) var bias: texture_2d<f32>; // [C]
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>; // [N, C]
@group(0) @binding(5) var<storage, read_write> stats: array<vec2<f32>>; // [N]: mean, 1 / deviation

fn at(i: u32) -> vec2<u32> {
    return vec2<u32>(i & 1023u, i >> 10u);
}

fn total(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

@compute @workgroup_size(8)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 8u);
    if (row >= p.rows) { return; }
    let quads = p.columns / 4u;
    let start = row * quads;
    var sum = vec4<f32>();
    for (var c = 0u; c < quads; c++) { sum += textureLoad(x, at(start + c), 0); }
    let mean = total(sum) / f32(p.columns);
    var squares = vec4<f32>();
    for (var c = 0u; c < quads; c++) {
        let difference = textureLoad(x, at(start + c), 0) - mean;
        squares += difference * difference;
    }
    let scale = 1.0 / sqrt(total(squares) / f32(p.columns) + p.eps);
    stats[row] = vec2(mean, scale);
    for (var c = 0u; c < quads; c++) {
        let h = (textureLoad(x, at(start + c), 0) - mean) * scale;
        y[start + c] = h * textureLoad(weight, at(c), 0) + textureLoad(bias, at(c), 0);
    }
}

@group(0) @binding(3) var d_y: texture_2d<f32>; // [N, C]
@group(0) @binding(4) var saved: texture_2d<f32>; // stats, two rows a texel
#if ONTO
@group(0) @binding(5) var onto: texture_2d<f32>; // [N, C]
@group(0) @binding(6) var<storage, read_write> d_x: array<vec4<f32>>; // [N, C]
#else
@group(0) @binding(5) var<storage, read_write> d_x: array<vec4<f32>>; // [N, C]
#end

@compute @workgroup_size(8)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 8u);
    if (row >= p.rows) { return; }
    let quads = p.columns / 4u;
    let start = row * quads;
    let pair = textureLoad(saved, at(row / 2u), 0);
    let stat = select(pair.xy, pair.zw, row % 2u == 1u);
    var sum_g = vec4<f32>();
    var sum_gh = vec4<f32>();
    for (var c = 0u; c < quads; c++) {
        let g = textureLoad(d_y, at(start + c), 0) * textureLoad(weight, at(c), 0);
        sum_g += g;
        sum_gh += g * (textureLoad(x, at(start + c), 0) - stat.x);
    }
    let mean_g = total(sum_g) / f32(p.columns);
    let mean_gh = total(sum_gh) * stat.y / f32(p.columns);
    for (var c = 0u; c < quads; c++) {
        let g = textureLoad(d_y, at(start + c), 0) * textureLoad(weight, at(c), 0);
        let h = (textureLoad(x, at(start + c), 0) - stat.x) * stat.y;
        var gradient = stat.y * (g - mean_g - h * mean_gh);
#if ONTO
        gradient += textureLoad(onto, at(start + c), 0);
#end
        d_x[start + c] = gradient;
    }
}

@group(0) @binding(2) var upstream: texture_2d<f32>; // d_y [N, C]
@group(0) @binding(3) var row_stats: texture_2d<f32>; // stats, two rows a texel
@group(0) @binding(4) var<storage, read_write> partial: array<vec4<f32>>; // [blocks, 2, C]: of d_w, of d_b

@compute @workgroup_size(8)
fn partials(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 8u);
    let quads = p.columns / 4u;
    let block = i / quads;
    let c = i % quads;
    if (block >= p.blocks) { return; }
    let first = block * p.block_rows;
    let end = min(first + p.block_rows, p.rows);
    var d_w = vec4<f32>();
    var d_b = vec4<f32>();
    for (var row = first; row < end; row++) {
        let d = textureLoad(upstream, at(row * quads + c), 0);
        let pair = textureLoad(row_stats, at(row / 2u), 0);
        let stat = select(pair.xy, pair.zw, row % 2u == 1u);
        d_w += d * (textureLoad(x, at(row * quads + c), 0) - stat.x) * stat.y;
        d_b += d;
    }
    partial[2u * block * quads + c] = d_w;
    partial[(2u * block + 1u) * quads + c] = d_b;
}

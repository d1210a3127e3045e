// Mean over a range of the rows of each sequence: pooling over the tokens that are no padding.
//   y_bc = mean of x_btc over t in [start_b, end_b), or 0 where the range is empty
//   d_x_btc = d_y_bc / (end_b - start_b) inside the range, 0 outside
// Launch: forward: one invocation per element of y; backward: one per element of x. Folded by `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { sequences: u32, tokens: u32, columns: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>; // [B, T, C]
@group(0) @binding(2) var<storage, read> ranges: array<vec2<u32>>; // [B]
@group(0) @binding(3) var<storage, read_write> y: array<elem>; // [B, C]

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.sequences * p.columns) { return; }
    let b = i / p.columns;
    let c = i % p.columns;
    let end = min(ranges[b].y, p.tokens);
    var sum = 0.0;
    for (var t = ranges[b].x; t < end; t++) { sum += f32(x[(b * p.tokens + t) * p.columns + c]); }
    var count = 1u;
    if (end > ranges[b].x) { count = end - ranges[b].x; }
    y[i] = narrow(sum / f32(count));
}

@group(0) @binding(1) var<storage, read> d_y: array<elem>; // [B, C]
@group(0) @binding(3) var<storage, read_write> d_x: array<elem>; // [B, T, C]

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.sequences * p.tokens * p.columns) { return; }
    let row = i / p.columns;
    let b = row / p.tokens;
    let t = row % p.tokens;
    let end = min(ranges[b].y, p.tokens);
    var value = 0.0;
    if (t >= ranges[b].x && t < end) { value = f32(d_y[b * p.columns + i % p.columns]) / f32(end - ranges[b].x); }
    d_x[i] = narrow(value);
}

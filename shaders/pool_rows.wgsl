// Poolings of a range of the rows of each sequence, side by side: what texts are made of.
//   y_bkc over t in [start_b, end_b), n = end_b - start_b, by the kind of pooling k:
//     MEAN sum x_btc / n    ROOT sum x_btc / sqrt n    WEIGHTED sum (t + 1) x_btc / sum (t + 1)
//     MAX the largest x_btc    FIRST x_bc of start_b    LAST x_bc of end_b - 1    and 0 where the range is empty
//   d_x_btc = sum over k of d_y_bkc times what x_btc counts in y_bkc; of equal largest ones the first counts
// Launch: forward: one invocation per element of y; backward: one per element of x. Folded by `linear_index`.
#import lib/grid
#import lib/narrow

// A kind takes 4 bits of `kinds`, the first the lowest.
struct Params { sequences: u32, tokens: u32, columns: u32, kinds: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>; // [B, T, C]
@group(0) @binding(2) var<storage, read> ranges: array<vec2<u32>>; // [B]
@group(0) @binding(3) var<storage, read_write> y: array<elem>; // [B, K, C]

const MEAN = 0u;
const FIRST = 1u;
const MAX = 2u;
const ROOT = 3u;
const WEIGHTED = 4u;
const LAST = 5u;

// First and end of the rows of sequence b that count.
fn range_of(b: u32) -> vec2<u32> {
    let end = min(ranges[b].y, p.tokens);
    return vec2(min(ranges[b].x, end), end);
}

// What row t counts in a pooling of `range` that is a sum, before the sum is divided.
fn weight(kind: u32, t: u32, range: vec2<u32>) -> f32 {
    if (kind == FIRST) { return select(0.0, 1.0, t == range.x); }
    if (kind == LAST) { return select(0.0, 1.0, t + 1u == range.y); }
    return select(1.0, f32(t + 1u), kind == WEIGHTED);
}

// What the sum over a range that is not empty is divided by. Sums of positions are exact below 2^24.
fn divisor(kind: u32, range: vec2<u32>) -> f32 {
    let count = f32(range.y - range.x);
    if (kind == MEAN) { return count; }
    if (kind == ROOT) { return sqrt(count); }
    if (kind == WEIGHTED) { return 0.5 * count * f32(range.x + range.y + 1u); }
    return 1.0;
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.sequences * p.count * p.columns) { return; }
    let b = i / (p.count * p.columns);
    let k = i / p.columns % p.count;
    let start = b * p.tokens * p.columns + i % p.columns;
    let kind = (p.kinds >> (4u * k)) & 15u;
    let range = range_of(b);
    var value = 0.0;
    if (kind == MAX) {
        if (range.x < range.y) { value = f32(x[start + range.x * p.columns]); }
        for (var t = range.x + 1u; t < range.y; t++) { value = max(value, f32(x[start + t * p.columns])); }
    } else if (range.x < range.y) {
        for (var t = range.x; t < range.y; t++) { value += weight(kind, t, range) * f32(x[start + t * p.columns]); }
        value /= divisor(kind, range);
    }
    y[i] = narrow(value);
}

@group(0) @binding(3) var<storage, read> d_y: array<elem>; // [B, K, C]
@group(0) @binding(4) var<storage, read_write> d_x: array<elem>; // [B, T, C]

// Whether row t of a column that begins at `start` is the first of the largest.
fn is_largest(start: u32, t: u32, range: vec2<u32>) -> bool {
    let own = f32(x[start + t * p.columns]);
    for (var other = range.x; other < range.y; other++) {
        let value = f32(x[start + other * p.columns]);
        if (value > own || (value == own && other < t)) { return false; }
    }
    return true;
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.sequences * p.tokens * p.columns) { return; }
    let c = i % p.columns;
    let b = i / p.columns / p.tokens;
    let t = i / p.columns % p.tokens;
    let range = range_of(b);
    var value = 0.0;
    if (t >= range.x && t < range.y) {
        for (var k = 0u; k < p.count; k++) {
            let kind = (p.kinds >> (4u * k)) & 15u;
            let d = f32(d_y[(b * p.count + k) * p.columns + c]);
            if (kind == MAX) {
                if (is_largest(b * p.tokens * p.columns + c, t, range)) { value += d; }
            } else {
                value += weight(kind, t, range) * d / divisor(kind, range);
            }
        }
    }
    d_x[i] = narrow(value);
}

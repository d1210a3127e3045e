// The parts of attention between its matrix products, one row (b, h, i) of the T x T scores at a time.
//   softmax:  s_ij = exp(l_ij - max) / sum over bounds_i,   l_ij = scores_ij + relative_i,bucket(j - i)
//             0 outside bounds_i = [start, end); all 0 where it is empty
//   backward: d_l_ij = s_ij (d_s_ij - sum_j s_ij d_s_ij),   d_relative_i,c = sum of d_l_ij over bucket c
// Shapes: scores, s [B, H, T, Tp], Tp = T rounded up to 4, the columns from T on 0; relative [B, H, T, buckets];
// bounds [B, T, 2]. Without relative positions (RELATIVE = 0) `relative` is bound but not used.
// Launch: one invocation per row, folded by `linear_index`.
#import lib/grid

struct Params { sequences: u32, tokens: u32, heads: u32, stride: u32, buckets: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> relative: array<elem>;
@group(0) @binding(2) var<storage, read> bounds: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> scores: array<elem>;

// Shaw et al. 2018: distances are clamped, negative ones wrap around.
fn bucket(i: u32, j: u32) -> u32 {
    let half = i32(p.buckets / 2u);
    return u32(clamp(i32(j) - i32(i), -half, half - 1) + i32(p.buckets)) % p.buckets;
}

fn logit(row: u32, i: u32, j: u32) -> f32 {
    var value = f32(scores[row * p.stride + j]);
    if (RELATIVE != 0u) { value += f32(relative[row * p.buckets + bucket(i, j)]); }
    return value;
}

@compute @workgroup_size(WORKGROUP)
fn softmax(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, WORKGROUP);
    if (row >= p.sequences * p.heads * p.tokens) { return; }
    let i = row % p.tokens;
    let limits = bounds[row / (p.heads * p.tokens) * p.tokens + i];
    let end = min(limits.y, p.tokens);
    // Running maximum, and the sum of exponentials relative to it.
    var largest = -3.0e38;
    var total = 0.0;
    for (var j = limits.x; j < end; j++) {
        let value = logit(row, i, j);
        if (value > largest) {
            total *= exp(largest - value);
            largest = value;
        }
        total += exp(value - largest);
    }
    for (var j = 0u; j < p.stride; j++) {
        var probability = 0.0;
        if (j >= limits.x && j < end) { probability = exp(logit(row, i, j) - largest) / total; }
        scores[row * p.stride + j] = elem(probability);
    }
}

@group(0) @binding(1) var<storage, read> probabilities: array<elem>;
@group(0) @binding(2) var<storage, read_write> d_scores: array<elem>; // d_s in, d_l out
@group(0) @binding(3) var<storage, read_write> d_relative: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, WORKGROUP);
    if (row >= p.sequences * p.heads * p.tokens) { return; }
    let i = row % p.tokens;
    var mean = 0.0;
    for (var j = 0u; j < p.tokens; j++) {
        mean += f32(probabilities[row * p.stride + j]) * f32(d_scores[row * p.stride + j]);
    }
    // All distances but the two clamped ones have at most one key, so only those two are sums.
    let half = p.buckets / 2u;
    var before = 0.0;
    var after = 0.0;
    if (RELATIVE != 0u) {
        for (var c = 0u; c < p.buckets; c++) { d_relative[row * p.buckets + c] = elem(0.0); }
    }
    for (var j = 0u; j < p.stride; j++) {
        var d_logit = 0.0;
        if (j < p.tokens) {
            d_logit = f32(probabilities[row * p.stride + j]) * (f32(d_scores[row * p.stride + j]) - mean);
        }
        d_scores[row * p.stride + j] = elem(d_logit);
        if (RELATIVE != 0u && j < p.tokens) {
            if (j + half <= i) {
                before += d_logit;
            } else if (j + 1u >= i + half) {
                after += d_logit;
            } else {
                d_relative[row * p.buckets + bucket(i, j)] = elem(d_logit);
            }
        }
    }
    if (RELATIVE != 0u) {
        d_relative[row * p.buckets + half] = elem(before);
        d_relative[row * p.buckets + half - 1u] = elem(after);
    }
}

// The parts of attention between its matrix products, one row (b, h, i) of the T x T scores at a time.
//   softmax:  s_ij = exp(l_ij - max) / sum over bounds_i,   l_ij = scores_ij + relative_i,bucket(j - i)
//             0 outside bounds_i = [start, end); all 0 where it is empty
//   backward: d_l_ij = s_ij (d_s_ij - sum_j s_ij d_s_ij),   d_relative_i,c = sum of d_l_ij over bucket c
// Shapes: scores, s [B, H, T, Tp], Tp = T rounded up to 4, the columns from T on 0; relative [B, H, T, buckets];
// bounds [B, T, 2]. Without relative positions (RELATIVE = 0) `relative` is bound but not used; where they are the same
// for all queries (RELATIVE = 2) it is [H, buckets].
// Launch: a workgroup of LANES invocations per row, folded by `linear_index`; each has every LANES-th vector of it.
#import lib/grid
#import lib/reduce
#import lib/narrow

struct Params { sequences: u32, tokens: u32, heads: u32, stride: u32, buckets: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> relative: array<elem>;
@group(0) @binding(2) var<storage, read> bounds: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> scores: array<vec4<elem>>;

// Shaw et al. 2018: distances are clamped, negative ones wrap around.
fn bucket(i: u32, j: u32) -> u32 {
    let half = i32(p.buckets / 2u);
    let distance = clamp(i32(j) - i32(i), -half, half - 1);
    return u32(distance + select(0, i32(p.buckets), distance < 0));
}

// Where `relative` has the row of a query.
fn relative_row(row: u32) -> u32 {
    if (RELATIVE == 2u) { return row / p.tokens % p.heads; }
    return row;
}

// Of keys 4 `vector`.. + 4, those out of `limits` far below all others.
fn logits(row: u32, i: u32, vector: u32, limits: vec2<u32>) -> vec4<f32> {
    var values = vec4<f32>(scores[row * (p.stride / 4u) + vector]);
    for (var n = 0u; n < 4u; n++) { // unroll
        let j = vector * 4u + n;
        if (RELATIVE != 0u) { values[n] += f32(relative[relative_row(row) * p.buckets + bucket(i, j)]); }
        if (j < limits.x || j >= limits.y) { values[n] = -3.0e38; }
    }
    return values;
}

@compute @workgroup_size(LANES)
fn softmax(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = linear_index(group, groups, 1u);
    if (row >= p.sequences * p.heads * p.tokens) { return; }
    let i = row % p.tokens;
    let limits = min(bounds[row / (p.heads * p.tokens) * p.tokens + i], vec2(p.tokens));
    // The lane's running maxima, and its sums of exponentials relative to them.
    var largest = vec4(-3.0e38);
    var total = vec4<f32>();
    for (var vector = lane; vector < p.stride / 4u; vector += LANES) {
        let values = logits(row, i, vector, limits);
        let next = max(largest, values);
        total = total * exp(largest - next) + exp(values - next);
        largest = next;
    }
    let most = reduce_max(max(max(largest.x, largest.y), max(largest.z, largest.w)), lane);
    total *= exp(largest - most);
    let sum = reduce_sum((total.x + total.y) + (total.z + total.w), lane);
    for (var vector = lane; vector < p.stride / 4u; vector += LANES) {
        let keys = vec4(vector * 4u) + vec4(0u, 1u, 2u, 3u);
        let inside = (keys >= vec4(limits.x)) & (keys < vec4(limits.y));
        let values = exp(logits(row, i, vector, limits) - most) / sum;
        scores[row * (p.stride / 4u) + vector] = narrow4(select(vec4<f32>(), values, inside));
    }
}

@group(0) @binding(1) var<storage, read> probabilities: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read_write> d_scores: array<vec4<elem>>; // d_s in, d_l out
@group(0) @binding(3) var<storage, read_write> d_relative: array<elem>;

@compute @workgroup_size(LANES)
fn backward(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = linear_index(group, groups, 1u);
    if (row >= p.sequences * p.heads * p.tokens) { return; }
    let i = row % p.tokens;
    let start = row * (p.stride / 4u);
    var products = vec4<f32>();
    for (var vector = lane; vector < p.stride / 4u; vector += LANES) {
        let product = vec4<f32>(probabilities[start + vector]) * vec4<f32>(d_scores[start + vector]);
        // The columns from T on have no key.
        let keys = vec4(vector * 4u) + vec4(0u, 1u, 2u, 3u);
        products += select(vec4<f32>(), product, keys < vec4(p.tokens));
    }
    let mean = reduce_sum((products.x + products.y) + (products.z + products.w), lane);
    // All distances but the two clamped ones have at most one key, so only those two are sums.
    let half = p.buckets / 2u;
    var before = 0.0;
    var after = 0.0;
    for (var vector = lane; vector < p.stride / 4u; vector += LANES) {
        var d_logits = vec4<f32>(probabilities[start + vector]) * (vec4<f32>(d_scores[start + vector]) - mean);
        for (var n = 0u; n < 4u; n++) { // unroll
            let j = vector * 4u + n;
            if (j >= p.tokens) {
                d_logits[n] = 0.0;
            } else if (RELATIVE != 0u) {
                if (j + half <= i) {
                    before += d_logits[n];
                } else if (j + 1u >= i + half) {
                    after += d_logits[n];
                } else {
                    d_relative[row * p.buckets + bucket(i, j)] = narrow(d_logits[n]);
                }
            }
        }
        d_scores[start + vector] = narrow4(d_logits);
    }
    if (RELATIVE == 0u) { return; }
    before = reduce_sum(before, lane);
    after = reduce_sum(after, lane);
    for (var c = lane; c < p.buckets; c += LANES) {
        let j = i32(i + c) - select(0, i32(p.buckets), c >= half);
        if (c == half) {
            d_relative[row * p.buckets + c] = narrow(before);
        } else if (c + 1u == half) {
            d_relative[row * p.buckets + c] = narrow(after);
        } else if (j < 0 || j >= i32(p.tokens)) {
            d_relative[row * p.buckets + c] = elem(0.0);
        }
    }
}

// Attention on matrix units that never stores its probabilities: what attention_fused.wgsl computes, and in its names, in
// f16 with sums of f32. A workgroup of four subgroups has BLOCK rows of a head, a subgroup a quarter of them, whose tiles it
// keeps; 32 rows at a time of what they meet pass through workgroup memory.
//   forward:  relative = scale q·Pᵀ; then over all keys twice, once for the log-sum-exp of each row, once for y: what has
//             been summed on units cannot be scaled when a larger logit comes, since nobody may look at parts of a tile
//   queries:  as there, delta_i = d_y_i·y_i on the way, and d_q_i gets scale sum_c d_relative_i,c P_c too
//   keys:     as there
// RELATIVE = 1, DISTANCES = 1: P [buckets, D] is bound as `positions` and `relative` is written by forward; 2, 0: [H, buckets] is bound as
// `positions` by forward, as `relative` by the others. One of FORWARD, QUERIES and KEYS is set.
// Shapes: qkv, d_qkv [B, T, 3, H, D]; y, d_y [B, T, H, D]; relative, d_relative [B, H, T, buckets]; bounds [B, T, 2];
// statistics [B, H, T, 2]: log-sum-exp, and delta once queries has run.
// SIZE is D, COLUMNS = D / 32 rounded up. Units take tiles of TILE x TILE: ROWS of them are a subgroup's rows, TILES = 32
// COLUMNS / TILE lie along D, STEPS = 32 / TILE along what passes through. Of a subgroup's 32 numbers to a row, in vectors,
// each invocation has PARTS = 8 ROWS TILE / SUBGROUP. BLOCK is 64, on lavapipe 32. VECTORS: tiles are loaded from arrays of
// vectors, which Metal does not take.
// Launch: 4 SUBGROUP invocations per block of rows (b, h, i), from block `first` on, folded by `linear_index`.
#import lib/attention

@group(0) @binding(1) var<storage, read> qkv: array<vec4<elem>>;
@group(0) @binding(3) var<storage, read> bounds: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> key: array<u32>; // [2]
#if FORWARD
@group(0) @binding(2) var<storage, read> positions: array<vec4<elem>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<elem>>;
@group(0) @binding(6) var<storage, read_write> statistics: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> relative: array<elem>;
#end
#if QUERIES
@group(0) @binding(2) var<storage, read> positions: array<vec4<elem>>;
@group(0) @binding(5) var<storage, read> d_y: array<vec4<elem>>;
@group(0) @binding(6) var<storage, read> y: array<vec4<elem>>;
@group(0) @binding(7) var<storage, read> relative: array<elem>;
@group(0) @binding(8) var<storage, read_write> d_qkv: array<vec4<out_elem>>;
@group(0) @binding(9) var<storage, read_write> d_relative: array<elem>;
@group(0) @binding(10) var<storage, read_write> statistics: array<vec2<f32>>;
#end
#if KEYS
@group(0) @binding(2) var<storage, read> relative: array<elem>;
@group(0) @binding(5) var<storage, read> d_y: array<vec4<elem>>;
@group(0) @binding(6) var<storage, read> statistics: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> d_qkv: array<vec4<out_elem>>;
#end

const MINE: u32 = ROWS * TILE; // rows of a subgroup
const BLOCK: u32 = 4u * MINE;
const THREADS: u32 = 4u * SUBGROUP;
const ALL: u32 = ROWS * TILES;

// From one row to the next: neighbours fall into different banks.
const LONG: u32 = 32u * COLUMNS + 8u;
const SHORT: u32 = 40u;
const SUMS: u32 = 36u;
#if VECTORS
const UNIT: u32 = 4u;
var<workgroup> stage: array<vec4<elem>, 64u * LONG / 4u>; // [64][D], zeros past D
var<workgroup> weights: array<vec4<elem>, BLOCK * SHORT / 4u>; // [BLOCK][32]

fn put_row(at: u32, value: vec4<elem>) {
    stage[at / 4u] = value;
}

fn put_weights(at: u32, value: vec4<elem>) {
    weights[at / 4u] = value;
}
#else
const UNIT: u32 = 1u;
var<workgroup> stage: array<elem, 64u * LONG>;
var<workgroup> weights: array<elem, BLOCK * SHORT>;

fn put_row(at: u32, value: vec4<elem>) {
    for (var i = 0u; i < 4u; i++) { // unroll
        stage[at + i] = value[i];
    }
}

fn put_weights(at: u32, value: vec4<elem>) {
    for (var i = 0u; i < 4u; i++) { // unroll
        weights[at + i] = value[i];
    }
}
#end
var<workgroup> sums: array<f32, BLOCK * SUMS>; // [BLOCK][32]

// Of the part-th vector of an invocation among its subgroup's: the row, of the block's, and which of the row's 8.
fn vector_of(thread: u32, part: u32) -> vec2<u32> {
    let at = part * SUBGROUP + thread % SUBGROUP;
    return vec2(thread / SUBGROUP * MINE + at / 8u, at % 8u);
}

fn sums_of(at: vec2<u32>) -> vec4<f32> {
    let first = at.x * SUMS + at.y * 4u;
    return vec4(sums[first], sums[first + 1u], sums[first + 2u], sums[first + 3u]);
}

// Rows first.. + count of part `part` of qkv to rows `to`.. of the stage.
fn stage_qkv(block: Block, thread: u32, to: u32, count: u32, part: u32, first: u32) {
    for (var n = thread; n < count * 8u * COLUMNS; n += THREADS) {
        let row = n / (8u * COLUMNS);
        let column = n % (8u * COLUMNS);
        let at = min(first + row, p.tokens - 1u) * 3u * p.heads * WIDTH + min(column, WIDTH - 1u);
        put_row((to + row) * LONG + column * 4u, select(vec4<elem>(), qkv[origin(block, part) + at], column < WIDTH));
    }
}

// The subgroup's of the block's staged rows.
fn keep_rows(thread: u32, rows: ptr<function, array<Left, ALL>>) {
    let first = thread / SUBGROUP * MINE;
    for (var i = 0u; i < ROWS; i++) { // unroll
        for (var k = 0u; k < TILES; k++) { // unroll
            (*rows)[i * TILES + k] = coopLoadT<Left>(&stage[((first + i * TILE) * LONG + k * TILE) / UNIT], LONG / UNIT);
        }
    }
}

// sums = rows · transposed rows `from`.. + 32 of the stage.
fn multiply(thread: u32, rows: ptr<function, array<Left, ALL>>, start: u32) {
    let first = thread / SUBGROUP * MINE;
    for (var j = 0u; j < STEPS; j++) {
        var tiles: array<Sum, ROWS>;
        for (var k = 0u; k < TILES; k++) { // unroll
            let right = coopLoad<Right>(&stage[((start + j * TILE) * LONG + k * TILE) / UNIT], LONG / UNIT);
            for (var i = 0u; i < ROWS; i++) { // unroll
                tiles[i] = coopMultiplyAdd((*rows)[i * TILES + k], right, tiles[i]);
            }
        }
        for (var i = 0u; i < ROWS; i++) { // unroll
            coopStoreT(tiles[i], &sums[(first + i * TILE) * SUMS + j * TILE], SUMS);
        }
    }
}

// result += weights · rows start.. + 32 of the stage.
fn add_weighted(thread: u32, start: u32, result: ptr<function, array<Sum, ALL>>) {
    let first = thread / SUBGROUP * MINE;
    for (var k = 0u; k < STEPS; k++) {
        var left: array<Left, ROWS>;
        for (var i = 0u; i < ROWS; i++) { // unroll
            left[i] = coopLoadT<Left>(&weights[((first + i * TILE) * SHORT + k * TILE) / UNIT], SHORT / UNIT);
        }
        for (var j = 0u; j < TILES; j++) { // unroll
            let right = coopLoadT<Right>(&stage[((start + k * TILE) * LONG + j * TILE) / UNIT], LONG / UNIT);
            for (var i = 0u; i < ROWS; i++) { // unroll
                (*result)[i * TILES + j] = coopMultiplyAdd(left[i], right, (*result)[i * TILES + j]);
            }
        }
    }
}

#if FORWARD
fn write_result(block: Block, part: u32, i: u32, column: u32, value: vec4<f32>) {
    y[origin_y(block) + i * p.heads * WIDTH + column] = narrow4(value);
}

// Row of what the distances add, c its bucket.
fn relative_at(row: u32, c: u32) -> f32 {
    if (RELATIVE == 2u) {
        let at = relative_row(row) * p.buckets + c;
        return f32(positions[at / 4u][at % 4u]);
    }
    return f32(relative[row * p.buckets + c]);
}
#else
fn write_result(block: Block, part: u32, i: u32, column: u32, result: vec4<f32>) {
    let at = origin(block, part) + i * 3u * p.heads * WIDTH + column;
    var value = result;
    if (p.accumulate != 0u) { value += vec4<f32>(d_qkv[at]); }
    d_qkv[at] = narrow_out4(value);
}

fn relative_at(row: u32, c: u32) -> f32 {
    return f32(relative[relative_row(row) * p.buckets + c]);
}

// Rows first.. + 32 of d_y to rows `to`.. of the stage.
fn stage_d_y(block: Block, thread: u32, to: u32, count: u32, first: u32) {
    for (var n = thread; n < count * 8u * COLUMNS; n += THREADS) {
        let row = n / (8u * COLUMNS);
        let column = n % (8u * COLUMNS);
        let at = min(first + row, p.tokens - 1u) * p.heads * WIDTH + min(column, WIDTH - 1u);
        put_row((to + row) * LONG + column * 4u, select(vec4<elem>(), d_y[origin_y(block) + at], column < WIDTH));
    }
}
#end

// Which of four numbers from `first` on lie in a range.
fn inside(first: u32, range: vec2<u32>) -> vec4<bool> {
    let four = vec4(first) + vec4(0u, 1u, 2u, 3u);
    return (four >= vec4(range.x)) & (four < vec4(range.y));
}

// Logits and factors are computed for what lies out of bounds too, and left out later: invocations go together.
fn logit(block: Block, i: u32, j: u32, product: f32) -> f32 {
    var value = p.scale * product;
    if (RELATIVE != 0u) { value += relative_at(row_of(block, min(i, p.tokens - 1u)), bucket(i, j)); }
    return value;
}

// Writes scale times the result as part `part`, 32 columns at a time.
fn store(block: Block, thread: u32, part: u32, scale: f32, result: ptr<function, array<Sum, ALL>>) {
    let first = thread / SUBGROUP * MINE;
    for (var c = 0u; c < COLUMNS; c++) { // unroll
        workgroupBarrier(); // the last columns have been read
        for (var j = 0u; j < STEPS; j++) { // unroll
            for (var i = 0u; i < ROWS; i++) { // unroll
                coopStoreT((*result)[i * TILES + c * STEPS + j], &sums[(first + i * TILE) * SUMS + j * TILE], SUMS);
            }
        }
        workgroupBarrier();
        for (var n = 0u; n < PARTS; n++) { // unroll
            let at = vector_of(thread, n);
            let i = block.first + at.x;
            let column = 8u * c + at.y;
            if (i < p.tokens && column < WIDTH) { write_result(block, part, i, column, scale * sums_of(at)); }
        }
    }
}

#if DISTANCES
#if KEYS
#else
// Rows c.. + 32 of P to the first rows of the stage.
fn stage_positions(thread: u32, c: u32) {
    for (var n = thread; n < 256u * COLUMNS; n += THREADS) {
        let row = n / (8u * COLUMNS);
        let column = n % (8u * COLUMNS);
        let value = positions[min(c + row, p.buckets - 1u) * WIDTH + min(column, WIDTH - 1u)];
        put_row(row * LONG + column * 4u, select(vec4<elem>(), value, column < WIDTH));
    }
}
#end
#end

#if FORWARD
@compute @workgroup_size(THREADS)
fn forward(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = block_of(p.first + linear_index(group, groups, 1u));
    if (block.sequence >= p.sequences) { return; }
    let keys = hull(block);
    stage_qkv(block, thread, 0u, BLOCK, 0u, block.first);
    workgroupBarrier();
    var q: array<Left, ALL>;
    keep_rows(thread, &q);
#if DISTANCES
    for (var c = 0u; c < p.buckets; c += 32u) {
        workgroupBarrier(); // the last rows have been used
        stage_positions(thread, c);
        workgroupBarrier();
        multiply(thread, &q, 0u);
        workgroupBarrier();
        for (var n = 0u; n < PARTS; n++) { // unroll
            let at = vector_of(thread, n);
            let column = c + at.y * 4u;
            let value = narrow4(p.scale * sums_of(at));
            if (block.first + at.x < p.tokens && column < p.buckets) {
                let first = row_of(block, block.first + at.x) * p.buckets + column;
                for (var e = 0u; e < 4u; e++) { // unroll
                    relative[first + e] = value[e];
                }
            }
        }
    }
    storageBarrier();
    workgroupBarrier();
#end
    // Of each row: the largest logit that the invocation saw, and the sum of exponentials relative to it.
    var most: array<f32, PARTS>;
    var total: array<f32, PARTS>;
    for (var n = 0u; n < PARTS; n++) { // unroll
        most[n] = -3.0e38;
    }
    for (var j0 = keys.x; j0 < keys.y; j0 += 64u) {
        workgroupBarrier(); // the last rows have been used
        stage_qkv(block, thread, 0u, 64u, 1u, j0);
        workgroupBarrier();
        for (var half = 0u; half < 64u; half += 32u) {
            multiply(thread, &q, half);
            workgroupBarrier();
            for (var n = 0u; n < PARTS; n++) { // unroll
                let at = vector_of(thread, n);
                let i = block.first + at.x;
                let j = j0 + half + at.y * 4u;
                let there = inside(j, limits_of(block, i));
                var s = sums_of(at);
                for (var c = 0u; c < 4u; c++) { // unroll
                    s[c] = logit(block, i, j + c, s[c]);
                }
                s = select(vec4(-3.0e38), s, there);
                let largest = max(max(most[n], max(s.x, s.y)), max(s.z, s.w));
                let terms = select(vec4<f32>(), exp(s - vec4(largest)), there);
                total[n] = total[n] * exp(most[n] - largest) + (terms.x + terms.y) + (terms.z + terms.w);
                most[n] = largest;
            }
            workgroupBarrier();
        }
    }
    for (var n = 0u; n < PARTS; n++) { // unroll
        let at = vector_of(thread, n);
        sums[at.x * SUMS + at.y] = most[n];
        sums[at.x * SUMS + 8u + at.y] = total[n];
    }
    workgroupBarrier();
    var lse: array<f32, PARTS>;
    for (var n = 0u; n < PARTS; n++) { // unroll
        let at = vector_of(thread, n);
        var largest = sums[at.x * SUMS];
        for (var c = 0u; c < 8u; c++) { // unroll
            largest = max(largest, sums[at.x * SUMS + c]);
        }
        var sum = 0.0;
        for (var c = 0u; c < 8u; c++) { // unroll
            sum += sums[at.x * SUMS + 8u + c] * exp(sums[at.x * SUMS + c] - largest);
        }
        // Where nothing is attended to, no probability is asked for.
        lse[n] = largest + log(select(1.0, sum, sum > 0.0));
        if (at.y == 0u && block.first + at.x < p.tokens) {
            statistics[row_of(block, block.first + at.x)] = vec2(lse[n], 0.0);
        }
    }
    var result: array<Sum, ALL>;
    for (var j0 = keys.x; j0 < keys.y; j0 += 32u) {
        workgroupBarrier(); // the last rows, weights and sums have been used
        stage_qkv(block, thread, 0u, 32u, 1u, j0);
        stage_qkv(block, thread, 32u, 32u, 2u, j0);
        workgroupBarrier();
        multiply(thread, &q, 0u);
        workgroupBarrier();
        for (var n = 0u; n < PARTS; n++) { // unroll
            let at = vector_of(thread, n);
            let i = block.first + at.x;
            let j = j0 + at.y * 4u;
            var s = sums_of(at);
            for (var c = 0u; c < 4u; c++) { // unroll
                s[c] = exp(logit(block, i, j + c, s[c]) - lse[n]) * factor(block, i, j + c);
            }
            s = select(vec4<f32>(), s, inside(j, limits_of(block, i)));
            put_weights(at.x * SHORT + at.y * 4u, narrow4(s));
        }
        workgroupBarrier();
        add_weighted(thread, 32u, &result);
    }
    store(block, thread, 0u, 1.0, &result);
}
#end

#if QUERIES
@compute @workgroup_size(THREADS)
fn queries(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = block_of(p.first + linear_index(group, groups, 1u));
    if (block.sequence >= p.sequences) { return; }
    let keys = hull(block);
    let reach = p.buckets / 2u;
    var q: array<Left, ALL>;
    stage_qkv(block, thread, 0u, BLOCK, 0u, block.first);
    workgroupBarrier();
    keep_rows(thread, &q);
    workgroupBarrier();
    var d: array<Left, ALL>;
    stage_d_y(block, thread, 0u, BLOCK, block.first);
    workgroupBarrier();
    keep_rows(thread, &d);
    var lse: array<f32, PARTS>;
    for (var n = 0u; n < PARTS; n++) { // unroll
        let at = vector_of(thread, n);
        let i = min(block.first + at.x, p.tokens - 1u);
        lse[n] = statistics[row_of(block, i)].x;
        var sum = 0.0;
        let start = origin_y(block) + i * p.heads * WIDTH;
        for (var column = at.y; column < WIDTH; column += 8u) {
            sum += dot(vec4<f32>(y[start + column]), vec4<f32>(d_y[start + column]));
        }
        sums[at.x * SUMS + at.y] = sum;
    }
    workgroupBarrier();
    var delta: array<f32, PARTS>;
    for (var n = 0u; n < PARTS; n++) { // unroll
        let at = vector_of(thread, n);
        for (var c = 0u; c < 8u; c++) { // unroll
            delta[n] += sums[at.x * SUMS + c];
        }
        if (at.y == 0u && block.first + at.x < p.tokens) {
            statistics[row_of(block, block.first + at.x)] = vec2(lse[n], delta[n]);
        }
    }
    // All distances but the two clamped ones have at most one key, so only those two are sums.
    var before: array<f32, PARTS>;
    var after: array<f32, PARTS>;
    var result: array<Sum, ALL>;
    for (var j0 = keys.x; j0 < keys.y; j0 += 32u) {
        workgroupBarrier(); // the last rows, weights and sums have been used
        stage_qkv(block, thread, 0u, 32u, 1u, j0);
        stage_qkv(block, thread, 32u, 32u, 2u, j0);
        workgroupBarrier();
        multiply(thread, &q, 0u);
        workgroupBarrier();
        var products: array<vec4<f32>, PARTS>;
        for (var n = 0u; n < PARTS; n++) { // unroll
            products[n] = sums_of(vector_of(thread, n));
        }
        workgroupBarrier();
        multiply(thread, &d, 32u);
        workgroupBarrier();
        for (var n = 0u; n < PARTS; n++) { // unroll
            let at = vector_of(thread, n);
            let i = block.first + at.x;
            let row = row_of(block, min(i, p.tokens - 1u));
            let there = inside(j0 + at.y * 4u, limits_of(block, i));
            var s = sums_of(at);
            for (var c = 0u; c < 4u; c++) { // unroll
                let j = j0 + at.y * 4u + c;
                let probability = exp(logit(block, i, j, products[n][c]) - lse[n]);
                s[c] = probability * (factor(block, i, j) * s[c] - delta[n]);
            }
            s = select(vec4<f32>(), s, there);
#if RELATIVE
            for (var c = 0u; c < 4u; c++) { // unroll
                let j = j0 + at.y * 4u + c;
                let is_before = j + reach <= i;
                let is_after = j + 1u >= i + reach;
                before[n] += select(0.0, s[c], is_before);
                after[n] += select(0.0, s[c], is_after);
                if (there[c] && !is_before && !is_after) {
                    d_relative[row * p.buckets + bucket(i, j)] = narrow(s[c]);
                }
            }
#end
            put_weights(at.x * SHORT + at.y * 4u, narrow4(s));
        }
        workgroupBarrier();
        add_weighted(thread, 0u, &result);
    }
#if RELATIVE
    workgroupBarrier(); // the last sums have been used
    for (var n = 0u; n < PARTS; n++) { // unroll
        let at = vector_of(thread, n);
        sums[at.x * SUMS + at.y] = before[n];
        sums[at.x * SUMS + 8u + at.y] = after[n];
    }
    workgroupBarrier();
    for (var n = 0u; n < PARTS; n++) { // unroll
        let at = vector_of(thread, n);
        // One invocation has what lies before, another what lies after.
        let side = min(at.y, 1u);
        var sum = 0.0;
        for (var c = 0u; c < 8u; c++) { // unroll
            sum += sums[at.x * SUMS + 8u * side + c];
        }
        if (at.y < 2u && block.first + at.x < p.tokens) {
            d_relative[row_of(block, block.first + at.x) * p.buckets + reach - side] = narrow(sum);
        }
    }
    // The other distances whose key lies out of bounds.
    for (var n = thread; n < BLOCK * p.buckets; n += THREADS) {
        let i = block.first + n / p.buckets;
        let c = n % p.buckets;
        if (i < p.tokens && c != reach && c + 1u != reach) {
            let limits = limits_of(block, i);
            let j = i32(i + c) - select(0, i32(p.buckets), c > reach);
            if (j < i32(limits.x) || j >= i32(limits.y)) { d_relative[row_of(block, i) * p.buckets + c] = elem(0.0); }
        }
    }
#end
#if DISTANCES
    storageBarrier();
    workgroupBarrier();
    for (var c = 0u; c < p.buckets; c += 32u) {
        workgroupBarrier(); // the last rows and weights have been used
        stage_positions(thread, c);
        for (var n = 0u; n < PARTS; n++) { // unroll
            let at = vector_of(thread, n);
            let i = min(block.first + at.x, p.tokens - 1u);
            let column = c + at.y * 4u;
            let first = row_of(block, i) * p.buckets + min(column, p.buckets - 4u);
            let value = vec4(d_relative[first], d_relative[first + 1u], d_relative[first + 2u], d_relative[first + 3u]);
            put_weights(at.x * SHORT + at.y * 4u, select(vec4<elem>(), value, column < p.buckets));
        }
        workgroupBarrier();
        add_weighted(thread, 0u, &result);
    }
#end
    store(block, thread, 0u, p.scale, &result);
}
#end

#if KEYS
@compute @workgroup_size(THREADS)
fn keys(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = block_of(p.first + linear_index(group, groups, 1u));
    if (block.sequence >= p.sequences) { return; }
    let queries = hull(block);
    var k: array<Left, ALL>;
    stage_qkv(block, thread, 0u, BLOCK, 1u, block.first);
    workgroupBarrier();
    keep_rows(thread, &k);
    workgroupBarrier();
    var v: array<Left, ALL>;
    stage_qkv(block, thread, 0u, BLOCK, 2u, block.first);
    workgroupBarrier();
    keep_rows(thread, &v);
    var d_k: array<Sum, ALL>;
    var d_v: array<Sum, ALL>;
    for (var i0 = queries.x; i0 < queries.y; i0 += 32u) {
        workgroupBarrier(); // the last rows and weights have been used
        stage_qkv(block, thread, 0u, 32u, 0u, i0);
        stage_d_y(block, thread, 32u, 32u, i0);
        workgroupBarrier();
        multiply(thread, &k, 0u);
        workgroupBarrier();
        var products: array<vec4<f32>, PARTS>;
        for (var n = 0u; n < PARTS; n++) { // unroll
            products[n] = sums_of(vector_of(thread, n));
        }
        workgroupBarrier();
        multiply(thread, &v, 32u);
        workgroupBarrier();
        for (var n = 0u; n < PARTS; n++) { // unroll
            let at = vector_of(thread, n);
            let j = block.first + at.x;
            let product = products[n];
            var s = sums_of(at);
            var d_logit = vec4<f32>();
            for (var c = 0u; c < 4u; c++) { // unroll
                let i = i0 + at.y * 4u + c;
                let limits = limits_of(block, i);
                let statistic = statistics[row_of(block, min(i, p.tokens - 1u))];
                let probability = exp(logit(block, i, j, product[c]) - statistic.x);
                let kept = factor(block, i, j);
                let there = j >= limits.x && j < limits.y;
                d_logit[c] = select(0.0, probability * (kept * s[c] - statistic.y), there);
                s[c] = select(0.0, kept * probability, there);
            }
            put_weights(at.x * SHORT + at.y * 4u, narrow4(s));
            products[n] = d_logit;
        }
        workgroupBarrier();
        add_weighted(thread, 32u, &d_v);
        workgroupBarrier(); // the weights have been used
        for (var n = 0u; n < PARTS; n++) { // unroll
            let at = vector_of(thread, n);
            put_weights(at.x * SHORT + at.y * 4u, narrow4(products[n]));
        }
        workgroupBarrier();
        add_weighted(thread, 0u, &d_k);
    }
    store(block, thread, 1u, p.scale, &d_k);
    store(block, thread, 2u, 1.0, &d_v);
}
#end

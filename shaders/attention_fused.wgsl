// Attention that never stores its probabilities (Milakov & Gimelshein 2018; Dao et al. 2022): blocks of 32 queries
// meet blocks of 32 keys in workgroup memory, and one number per row, the log-sum-exp, is kept for the gradients.
//   l_ij = scale q_i·k_j + relative_i,bucket(j - i) for j in bounds_i,   s_ij = exp(l_ij - lse_i), 0 elsewhere
//   forward:  y_i = sum_j f_ij s_ij v_j,   lse_i = log sum_j exp(l_ij)
//   delta:    statistics_i = (lse_i, delta_i),   delta_i = d_y_i·y_i
//   queries:  d_l_ij = s_ij (f_ij d_y_i·v_j - delta_i),   d_q_i = scale sum_j d_l_ij k_j,
//             d_relative_i,c = sum of d_l_ij over bucket c
//   keys:     d_k_j = scale sum_i d_l_ij q_i,   d_v_j = sum_i f_ij s_ij d_y_i
// f_ij is dropout's factor of the element (b, h, i, j) of [B, H, T, Tp], Tp = T rounded up to 4 (DROPOUT = 0: always 1).
// Bounds are symmetric: the queries that meet a key are those within the key's own bounds. Blocks outside of what the
// 32 rows of a workgroup need are skipped. Without relative positions (RELATIVE = 0) `relative` is bound but not used;
// so is `key` without dropout.
// The gradients are compiled with SIDES: 1 for queries, 2 for keys, whose workgroup has two sides, each of which forms one of
// the two products and one of the two gradients: one invocation for both would need more registers than some GPUs have.
// Shapes: qkv, d_qkv [B, T, 3, H, D]; y, d_y [B, T, H, D]; relative, d_relative [B, H, T, buckets]; bounds [B, T, 2];
// with RELATIVE = 2 `relative` is [H, buckets], the same for all queries;
// lse [B, H, T]; statistics [B, H, T, 2]. SIZE is D, COLUMNS = D / 32 rounded up.
// Launch: 64 invocations for each side and block of 32 rows (b, h, i), from block `first` on, folded by `linear_index`;
//   delta: an invocation per row.
#import lib/attention

@group(0) @binding(1) var<storage, read> qkv: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read> relative: array<elem>;
@group(0) @binding(3) var<storage, read> bounds: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> key: array<u32>; // [2]

#if SIDES
@group(0) @binding(5) var<storage, read> d_y: array<vec4<elem>>;
#else
const SIDES: u32 = 1u;
#end

// Of a side's 64 invocations, lane n has rows first + n / 8 * 4 .. + 4 of the block, and every eighth vector of their columns.
const BLOCK: u32 = 32u;
const SUMS: u32 = 4u * COLUMNS;

// For each side two [16][32] pieces whose rows lie along the second index, or one [STAGED][32 COLUMNS] piece of rows as
// they lie.
var<workgroup> stage: array<vec4<f32>, 256u * SIDES>;
const STAGED: u32 = 16u / ((COLUMNS + 1u) / 2u);
// Terms that are added at a time: each may take a register more for every sum.
const TERMS: u32 = 4u / (1u + COLUMNS / 3u * 3u);
// For each side [32][32]: weights of 32 terms (first index) in 32 sums.
var<workgroup> tile: array<vec4<f32>, 256u * SIDES>;
// [8][8]: of 4 rows, what each of the 8 invocations that share them tells the others.
var<workgroup> parts: array<vec4<f32>, 64>;

// Where rows are taken from: the three parts of qkv, or d_y.
const QUERIES: u32 = 0u;
const KEYS: u32 = 1u;
const VALUES: u32 = 2u;
const D_Y: u32 = 3u;

// i is below T.
fn logit(block: Block, i: u32, j: u32, product: f32) -> f32 {
    var value = p.scale * product;
    if (RELATIVE != 0u) { value += f32(relative[relative_row(row_of(block, i)) * p.buckets + bucket(i, j)]); }
    return value;
}

// Vector `column` of 4 rows from `first` on, zeros past D; past the last row, of that again.
fn rows_of_qkv(block: Block, part: u32, first: u32, column: u32) -> array<vec4<f32>, 4> {
    var rows: array<vec4<f32>, 4>;
    let apart = 3u * p.heads * WIDTH;
    let start = origin(block, part) + min(column, WIDTH - 1u);
    let last = start + (p.tokens - 1u) * apart;
    for (var i = 0u; i < 4u; i++) { // unroll
        let row = qkv[min(start + first * apart + i * apart, last)];
        rows[i] = select(vec4<f32>(), vec4<f32>(row), column < WIDTH);
    }
    return rows;
}

#if SIDES
fn rows_of_d_y(block: Block, first: u32, column: u32) -> array<vec4<f32>, 4> {
    var rows: array<vec4<f32>, 4>;
    let apart = p.heads * WIDTH;
    let start = origin_y(block) + min(column, WIDTH - 1u);
    let last = start + (p.tokens - 1u) * apart;
    for (var i = 0u; i < 4u; i++) { // unroll
        let row = d_y[min(start + first * apart + i * apart, last)];
        rows[i] = select(vec4<f32>(), vec4<f32>(row), column < WIDTH);
    }
    return rows;
}
#end

// Stages 4 x 4 elements as [k][row]: the first 32 lanes of a side fill the left piece, the others the right one, each 4
// rows of one vector along k. Whole vectors are stored, and unconditionally.
fn put_rows(lane: u32, side: u32, rows: array<vec4<f32>, 4>) {
    let at = 256u * side + lane / 32u * 128u + lane % 4u * 32u + lane % 32u / 4u;
    for (var c = 0u; c < 4u; c++) { // unroll
        stage[at + 8u * c] = vec4(rows[0][c], rows[1][c], rows[2][c], rows[3][c]);
    }
}

fn rows_of(block: Block, source: u32, first: u32, column: u32) -> array<vec4<f32>, 4> {
    var rows: array<vec4<f32>, 4>;
#if SIDES
    if (source == D_Y) {
        rows = rows_of_d_y(block, first, column);
    } else {
        rows = rows_of_qkv(block, source, first, column);
    }
#else
    rows = rows_of_qkv(block, source, first, column);
#end
    return rows;
}

// 4 x 4 of the products of rows with rows: each a source, and the first of 32. The columns of a piece are counted as it is
// read: a loop of 16 turns would be unrolled by drivers, which then keep the address of every column in a register.
fn products(block: Block, lane: u32, side: u32, left: vec2<u32>, right: vec2<u32>) -> array<vec4<f32>, 4> {
    var sums = array<vec4<f32>, 4>();
    let mine = select(right, left, lane < 32u);
    let first = mine.y + lane % 32u / 4u * 4u;
    for (var k = 0u; k < SIZE; k += 16u) {
        let rows = rows_of(block, mine.x, first, k / 4u + lane % 4u);
        workgroupBarrier(); // the last piece has been used
        put_rows(lane, side, rows);
        workgroupBarrier();
        for (var c = 0u; c < min(16u, SIZE - k); c += 4u) {
            let at = 256u * side + c * 8u;
            for (var n = 0u; n < 4u; n++) { // unroll
                let x = stage[at + 8u * n + lane / 8u];
                let y = stage[at + 8u * n + lane % 8u + 128u];
                for (var i = 0u; i < 4u; i++) { // unroll
                    sums[i] = fma(vec4(x[i]), y, sums[i]);
                }
            }
        }
    }
    return sums;
}

// Vector `column` of a row.
fn vector_of(block: Block, source: u32, row: u32, column: u32) -> vec4<f32> {
#if SIDES
    if (source == D_Y) { return vec4<f32>(d_y[origin_y(block) + row * p.heads * WIDTH + column]); }
#end
    return vec4<f32>(qkv[origin(block, source) + row * 3u * p.heads * WIDTH + column]);
}

// 4 x 4 weights, the invocation's terms along the vectors, into `tile`.
fn set_tile(lane: u32, side: u32, w: array<vec4<f32>, 4>) {
    let at = 256u * side + lane % 8u * 32u + lane / 8u;
    for (var c = 0u; c < 4u; c++) { // unroll
        tile[at + 8u * c] = vec4(w[0][c], w[1][c], w[2][c], w[3][c]);
    }
}

// Adds the terms range.x.. + 32, those that lie within the range, by the weights in `tile`.
fn add_rows(block: Block, lane: u32, side: u32, source: u32, range: vec2<u32>, sums: ptr<function, array<vec4<f32>, SUMS>>) {
    let count = min(32u, range.y - range.x);
    for (var k = 0u; k < count; k += STAGED) {
        workgroupBarrier(); // the last piece has been used
        for (var n = lane; n < 8u * COLUMNS * STAGED; n += 64u) {
            let row = min(range.x + k + n / (8u * COLUMNS), p.tokens - 1u);
            let column = min(n % (8u * COLUMNS), WIDTH - 1u);
            stage[256u * side + n] = vector_of(block, source, row, column);
        }
        workgroupBarrier();
        for (var c = 0u; c < min(STAGED, count - k); c += TERMS) {
            for (var t = c; t < c + TERMS; t++) {
                let w = tile[256u * side + (k + t) * 8u + lane / 8u];
                for (var j = 0u; j < COLUMNS; j++) { // unroll
                    let x = stage[256u * side + (t * COLUMNS + j) * 8u + lane % 8u];
                    for (var i = 0u; i < 4u; i++) { // unroll
                        (*sums)[i * COLUMNS + j] = fma(vec4(w[i]), x, (*sums)[i * COLUMNS + j]);
                    }
                }
            }
        }
    }
}

// One value for each of the invocation's 4 rows, for the others that share them.
fn tell(thread: u32, value: vec4<f32>) {
    parts[thread] = value;
}

// The sums of what was told of rows 4 `rows`.. + 4.
fn told_sum(rows: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var i = 0u; i < 8u; i++) { // unroll
        sum += parts[rows * 8u + i];
    }
    return sum;
}

fn told_max(rows: u32) -> vec4<f32> {
    var greatest = parts[rows * 8u];
    for (var i = 0u; i < 8u; i++) { // unroll
        greatest = max(greatest, parts[rows * 8u + i]);
    }
    return greatest;
}

#if SIDES
@group(0) @binding(6) var<storage, read> statistics: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> d_qkv: array<vec4<out_elem>>;
@group(0) @binding(8) var<storage, read_write> d_relative: array<elem>;

// Writes 4 rows of part `part` of d_qkv.
fn store(block: Block, lane: u32, part: u32, scale: f32, sums: ptr<function, array<vec4<f32>, SUMS>>) {
    let first = block.first + lane / 8u * 4u;
    for (var i = 0u; i < 4u; i++) { // unroll
        for (var c = 0u; c < COLUMNS; c++) { // unroll
            let column = lane % 8u + 8u * c;
            if (first + i < p.tokens && column < WIDTH) {
                let at = origin(block, part) + (first + i) * 3u * p.heads * WIDTH + column;
                var value = scale * (*sums)[i * COLUMNS + c];
                if (p.accumulate != 0u) { value += vec4<f32>(d_qkv[at]); }
                d_qkv[at] = narrow_out4(value);
            }
        }
    }
}

@compute @workgroup_size(64)
fn queries(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = block_of(p.first + linear_index(group, groups, 1u));
    if (block.sequence >= p.sequences) { return; }
    let keys = hull(block);
    let i0 = block.first + thread / 8u * 4u;
    let reach = p.buckets / 2u;
    // All distances but the two clamped ones have at most one key, so only those two are sums.
    var before = vec4<f32>();
    var after = vec4<f32>();
    var sums = array<vec4<f32>, SUMS>();
    for (var j0 = keys.x; j0 < keys.y; j0 += 32u) {
        // The first products wait in the invocation's part of `tile`, where its weights will be.
        let s = products(block, thread, 0u, vec2(QUERIES, block.first), vec2(KEYS, j0));
        let own = thread % 8u * 32u + thread / 8u;
        for (var n = 0u; n < 4u; n++) { // unroll
            tile[own + 8u * n] = s[n];
        }
        var d_s = products(block, thread, 0u, vec2(D_Y, block.first), vec2(VALUES, j0));
        let j1 = j0 + thread % 8u * 4u;
        for (var n = 0u; n < 4u; n++) { // unroll
            let i = i0 + n;
            let product = tile[own + 8u * n];
            let limits = limits_of(block, i);
            let row = row_of(block, min(i, p.tokens - 1u));
            for (var c = 0u; c < 4u; c++) { // unroll
                let j = j1 + c;
                var d_logit = 0.0;
                if (j >= limits.x && j < limits.y) {
                    let probability = exp(logit(block, i, j, product[c]) - statistics[row].x);
                    d_logit = probability * (factor(block, i, j) * d_s[n][c] - statistics[row].y);
                    if (RELATIVE != 0u) {
                        if (j + reach <= i) {
                            before[n] += d_logit;
                        } else if (j + 1u >= i + reach) {
                            after[n] += d_logit;
                        } else {
                            d_relative[row * p.buckets + bucket(i, j)] = narrow(d_logit);
                        }
                    }
                }
                d_s[n][c] = d_logit;
            }
        }
        set_tile(thread, 0u, d_s);
        add_rows(block, thread, 0u, KEYS, vec2(j0, keys.y), &sums);
    }
    store(block, thread, QUERIES, p.scale, &sums);
    if (RELATIVE == 0u) { return; }
    for (var side = 0u; side < 2u; side++) {
        workgroupBarrier(); // the other side has been read
        tell(thread, select(before, after, side > 0u));
        workgroupBarrier();
        if (thread < 32u && block.first + thread < p.tokens) {
            let at = row_of(block, block.first + thread) * p.buckets + reach - side;
            d_relative[at] = narrow(told_sum(thread / 4u)[thread % 4u]);
        }
    }
    // The other distances whose key lies out of bounds.
    for (var n = thread; n < 32u * p.buckets; n += 64u) {
        let i = block.first + n / p.buckets;
        let c = n % p.buckets;
        if (i < p.tokens && c != reach && c + 1u != reach) {
            let limits = limits_of(block, i);
            let j = i32(i + c) - select(0, i32(p.buckets), c > reach);
            if (j < i32(limits.x) || j >= i32(limits.y)) { d_relative[row_of(block, i) * p.buckets + c] = elem(0.0); }
        }
    }
}

@compute @workgroup_size(128)
fn keys(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = block_of(p.first + linear_index(group, groups, 1u));
    if (block.sequence >= p.sequences) { return; }
    let queries = hull(block);
    // The one side forms k·q and d_v, the other v·d_y and d_k.
    let side = thread / 64u;
    let lane = thread % 64u;
    let left = vec2(select(KEYS, VALUES, side > 0u), block.first);
    let source = select(QUERIES, D_Y, side > 0u);
    let j0 = block.first + lane / 8u * 4u;
    var sums = array<vec4<f32>, SUMS>();
    for (var i0 = queries.x; i0 < queries.y; i0 += 32u) {
        set_tile(lane, side, products(block, lane, side, left, vec2(source, i0)));
        workgroupBarrier();
        // Each side takes half of the queries and makes weights and gradients of logits of what both have formed.
        for (var c = 2u * side; c < 2u * side + 2u; c++) {
            let i = i0 + lane % 8u * 4u + c;
            let limits = limits_of(block, i);
            let statistic = statistics[row_of(block, min(i, p.tokens - 1u))];
            let at = lane % 8u * 32u + lane / 8u + 8u * c;
            let s = tile[at];
            let d_s = tile[at + 256u];
            var weights = vec4<f32>();
            var d_logits = vec4<f32>();
            for (var n = 0u; n < 4u; n++) { // unroll
                let j = j0 + n;
                if (j >= limits.x && j < limits.y) {
                    let probability = exp(logit(block, i, j, s[n]) - statistic.x);
                    let kept = factor(block, i, j);
                    weights[n] = kept * probability;
                    d_logits[n] = probability * (kept * d_s[n] - statistic.y);
                }
            }
            tile[at] = weights;
            tile[at + 256u] = d_logits;
        }
        add_rows(block, lane, side, select(D_Y, QUERIES, side > 0u), vec2(i0, queries.y), &sums);
    }
    store(block, lane, select(VALUES, KEYS, side > 0u), select(1.0, p.scale, side > 0u), &sums);
}
#else
@group(0) @binding(5) var<storage, read_write> y: array<vec4<elem>>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(64)
fn forward(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = block_of(p.first + linear_index(group, groups, 1u));
    if (block.sequence >= p.sequences) { return; }
    let keys = hull(block);
    let i0 = block.first + thread / 8u * 4u;
    // Running maximum, this invocation's share of the sum of exponentials relative to it, and of y.
    var largest = vec4(-3.0e38);
    var total = vec4<f32>();
    var sums = array<vec4<f32>, SUMS>();
    for (var j0 = keys.x; j0 < keys.y; j0 += 32u) {
        var s = products(block, thread, 0u, vec2(QUERIES, block.first), vec2(KEYS, j0));
        let j = j0 + thread % 8u * 4u;
        var inside = array<vec4<bool>, 4>();
        var most = largest;
        for (var i = 0u; i < 4u; i++) { // unroll
            let limits = limits_of(block, i0 + i);
            for (var c = 0u; c < 4u; c++) { // unroll
                inside[i][c] = j + c >= limits.x && j + c < limits.y;
                if (inside[i][c]) {
                    s[i][c] = logit(block, i0 + i, j + c, s[i][c]);
                    most[i] = max(most[i], s[i][c]);
                }
            }
        }
        tell(thread, most);
        workgroupBarrier();
        most = told_max(thread / 8u);
        let shrunk = exp(largest - most);
        largest = most;
        total *= shrunk;
        for (var i = 0u; i < 4u; i++) { // unroll
            for (var c = 0u; c < 4u; c++) { // unroll
                var weight = 0.0;
                if (inside[i][c]) { weight = exp(s[i][c] - most[i]); }
                total[i] += weight;
                s[i][c] = weight * factor(block, i0 + i, j + c);
            }
            for (var c = 0u; c < COLUMNS; c++) { // unroll
                sums[i * COLUMNS + c] *= shrunk[i];
            }
        }
        set_tile(thread, 0u, s);
        add_rows(block, thread, 0u, VALUES, vec2(j0, keys.y), &sums);
    }
    tell(thread, total);
    workgroupBarrier();
    let all = told_sum(thread / 8u);
    for (var i = 0u; i < 4u; i++) { // unroll
        if (i0 + i < p.tokens) {
            // Where nothing is attended to, the sums are 0.
            let share = 1.0 / select(1.0, all[i], all[i] > 0.0);
            for (var c = 0u; c < COLUMNS; c++) { // unroll
                let column = thread % 8u + 8u * c;
                if (column < WIDTH) {
                    let at = origin_y(block) + (i0 + i) * p.heads * WIDTH + column;
                    y[at] = narrow4(share * sums[i * COLUMNS + c]);
                }
            }
            if (thread % 8u == 0u) { lse[row_of(block, i0 + i)] = largest[i] - log(share); }
        }
    }
}

@group(0) @binding(1) var<storage, read> result: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read> d_result: array<vec4<elem>>;
@group(0) @binding(3) var<storage, read> kept_lse: array<f32>;
@group(0) @binding(4) var<storage, read_write> written: array<vec2<f32>>;

@compute @workgroup_size(64)
fn delta(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 64u);
    if (row >= p.sequences * p.heads * p.tokens) { return; }
    let batch = row / p.tokens;
    let block = Block(batch / p.heads, batch % p.heads, 0u);
    let start = origin_y(block) + row % p.tokens * p.heads * WIDTH;
    var sum = 0.0;
    for (var c = 0u; c < WIDTH; c++) {
        sum += dot(vec4<f32>(result[start + c]), vec4<f32>(d_result[start + c]));
    }
    written[row] = vec2(kept_lse[row], sum);
}
#end

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
// Shapes: qkv, d_qkv [B, T, 3, H, D]; y, d_y [B, T, H, D]; relative, d_relative [B, H, T, buckets]; bounds [B, T, 2];
// with RELATIVE = 2 `relative` is [H, buckets], the same for all queries;
// lse [B, H, T]; statistics [B, H, T, 2]. SIZE is D, COLUMNS = D / 32 rounded up.
// Launch: 64 invocations per block of 32 rows (b, h, i), from block `first` on, folded by `linear_index`; delta: an
//   invocation per row.
#import lib/attention

@group(0) @binding(1) var<storage, read> qkv: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read> relative: array<elem>;
@group(0) @binding(3) var<storage, read> bounds: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> key: array<u32>; // [2]

// Invocation n has rows first + n / 8 * 4 .. + 4 of the block, and every eighth vector of their columns.
const BLOCK: u32 = 32u;
const SUMS: u32 = 4u * COLUMNS;

// Two [16][32] pieces whose rows lie along the second index, or one [16][32 COLUMNS] piece of rows as they lie.
var<workgroup> stage: array<vec4<f32>, 128u * max(2u, COLUMNS)>;
// [32][32]: weights of 32 terms (first index) in 32 sums.
var<workgroup> tile: array<vec4<f32>, 256>;
// [8][8]: of 4 rows, what each of the 8 invocations that share them tells the others.
var<workgroup> parts: array<vec4<f32>, 64>;

// i is below T.
fn logit(block: Block, i: u32, j: u32, product: f32) -> f32 {
    var value = p.scale * product;
    if (RELATIVE != 0u) { value += f32(relative[relative_row(row_of(block, i)) * p.buckets + bucket(i, j)]); }
    return value;
}

// 4 x 4 elements of rows first.. of part `part` of qkv, vector `column` of each; zeros past D.
fn rows_of_qkv(block: Block, part: u32, first: u32, column: u32) -> array<vec4<f32>, 4> {
    var rows: array<vec4<f32>, 4>;
    let start = origin(block, part) + min(column, WIDTH - 1u);
    for (var i = 0u; i < 4u; i++) { // unroll
        let at = start + min(first + i, p.tokens - 1u) * 3u * p.heads * WIDTH;
        rows[i] = select(vec4<f32>(), vec4<f32>(qkv[at]), column < WIDTH);
    }
    return rows;
}

// Stages the invocation's 4 x 4 elements as [k][row]: the first 32 invocations fill the left piece, the others the
// right one, each 4 rows of one vector along k. Whole vectors are stored, and unconditionally.
fn stage_block(thread: u32, rows: array<vec4<f32>, 4>) {
    let at = thread / 32u * 128u + thread % 4u * 32u + thread % 32u / 4u;
    for (var c = 0u; c < 4u; c++) { // unroll
        stage[at + 8u * c] = vec4(rows[0][c], rows[1][c], rows[2][c], rows[3][c]);
    }
}

// sums += left · right over the staged columns, 4 rows of each.
fn multiply(thread: u32, sums: ptr<function, array<vec4<f32>, 4>>) {
    for (var k = 0u; k < 16u; k++) {
        let x = stage[k * 8u + thread / 8u];
        let y = stage[128u + k * 8u + thread % 8u];
        for (var i = 0u; i < 4u; i++) { // unroll
            (*sums)[i] = fma(vec4(x[i]), y, (*sums)[i]);
        }
    }
}

// 4 x 4 of the products of rows left.. of part `a` with rows right.. of part `b`.
fn scores(block: Block, thread: u32, a: u32, left: u32, b: u32, right: u32) -> array<vec4<f32>, 4> {
    var sums = array<vec4<f32>, 4>();
    let first = select(right, left, thread < 32u) + thread % 32u / 4u * 4u;
    for (var k = 0u; k < WIDTH; k += 4u) {
        let rows = rows_of_qkv(block, select(b, a, thread < 32u), first, k + thread % 4u);
        workgroupBarrier(); // the last piece has been used
        stage_block(thread, rows);
        workgroupBarrier();
        multiply(thread, &sums);
    }
    return sums;
}

// 4 x 4 weights, the invocation's terms along the vectors, into `tile`.
fn set_tile(thread: u32, w: array<vec4<f32>, 4>) {
    let at = thread % 8u * 32u + thread / 8u;
    for (var c = 0u; c < 4u; c++) { // unroll
        tile[at + 8u * c] = vec4(w[0][c], w[1][c], w[2][c], w[3][c]);
    }
}

// Adds the staged rows, terms 16 half .. + 16, by their weights.
fn add_rows(thread: u32, half: u32, sums: ptr<function, array<vec4<f32>, SUMS>>) {
    for (var k = 0u; k < 16u; k++) {
        let w = tile[(16u * half + k) * 8u + thread / 8u];
        for (var j = 0u; j < COLUMNS; j++) { // unroll
            let x = stage[(k * COLUMNS + j) * 8u + thread % 8u];
            for (var i = 0u; i < 4u; i++) { // unroll
                (*sums)[i * COLUMNS + j] = fma(vec4(w[i]), x, (*sums)[i * COLUMNS + j]);
            }
        }
    }
}

// sums += tile · rows first.. of part `part`.
fn add_qkv(block: Block, thread: u32, part: u32, first: u32, sums: ptr<function, array<vec4<f32>, SUMS>>) {
    for (var half = 0u; half < 2u; half++) {
        workgroupBarrier(); // the last piece has been used
        for (var n = thread; n < 128u * COLUMNS; n += 64u) {
            let row = min(first + 16u * half + n / (8u * COLUMNS), p.tokens - 1u);
            let column = min(n % (8u * COLUMNS), WIDTH - 1u);
            stage[n] = vec4<f32>(qkv[origin(block, part) + row * 3u * p.heads * WIDTH + column]);
        }
        workgroupBarrier();
        add_rows(thread, half, sums);
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
        var s = scores(block, thread, 0u, block.first, 1u, j0);
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
        set_tile(thread, s);
        add_qkv(block, thread, 2u, j0, &sums);
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

@group(0) @binding(5) var<storage, read> d_y: array<vec4<elem>>;
@group(0) @binding(6) var<storage, read> statistics: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> d_qkv: array<vec4<out_elem>>;
@group(0) @binding(8) var<storage, read_write> d_relative: array<elem>;

// 4 x 4 elements of rows first.. of d_y, vector `column` of each; zeros past D.
fn rows_of_d_y(block: Block, first: u32, column: u32) -> array<vec4<f32>, 4> {
    var rows: array<vec4<f32>, 4>;
    let start = origin_y(block) + min(column, WIDTH - 1u);
    for (var i = 0u; i < 4u; i++) { // unroll
        let at = start + min(first + i, p.tokens - 1u) * p.heads * WIDTH;
        rows[i] = select(vec4<f32>(), vec4<f32>(d_y[at]), column < WIDTH);
    }
    return rows;
}

fn add_d_y(block: Block, thread: u32, first: u32, sums: ptr<function, array<vec4<f32>, SUMS>>) {
    for (var half = 0u; half < 2u; half++) {
        workgroupBarrier(); // the last piece has been used
        for (var n = thread; n < 128u * COLUMNS; n += 64u) {
            let row = min(first + 16u * half + n / (8u * COLUMNS), p.tokens - 1u);
            let column = min(n % (8u * COLUMNS), WIDTH - 1u);
            stage[n] = vec4<f32>(d_y[origin_y(block) + row * p.heads * WIDTH + column]);
        }
        workgroupBarrier();
        add_rows(thread, half, sums);
    }
}

// 4 x 4 products of values with gradients of results: whichever is asked for first is along the rows.
fn d_scores(block: Block, thread: u32, by_query: bool, queries: u32, keys: u32) -> array<vec4<f32>, 4> {
    var sums = array<vec4<f32>, 4>();
    let of_query = (thread < 32u) == by_query;
    let first = select(keys, queries, of_query) + thread % 32u / 4u * 4u;
    for (var k = 0u; k < WIDTH; k += 4u) {
        var rows: array<vec4<f32>, 4>;
        if (of_query) {
            rows = rows_of_d_y(block, first, k + thread % 4u);
        } else {
            rows = rows_of_qkv(block, 2u, first, k + thread % 4u);
        }
        workgroupBarrier(); // the last piece has been used
        stage_block(thread, rows);
        workgroupBarrier();
        multiply(thread, &sums);
    }
    return sums;
}

// Writes 4 rows of part `part` of d_qkv.
fn store(block: Block, thread: u32, part: u32, scale: f32, sums: ptr<function, array<vec4<f32>, SUMS>>) {
    let first = block.first + thread / 8u * 4u;
    for (var i = 0u; i < 4u; i++) { // unroll
        for (var c = 0u; c < COLUMNS; c++) { // unroll
            let column = thread % 8u + 8u * c;
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
        var s = scores(block, thread, 0u, block.first, 1u, j0);
        let d_s = d_scores(block, thread, true, block.first, j0);
        let j1 = j0 + thread % 8u * 4u;
        for (var n = 0u; n < 4u; n++) { // unroll
            let i = i0 + n;
            let limits = limits_of(block, i);
            let row = row_of(block, min(i, p.tokens - 1u));
            for (var c = 0u; c < 4u; c++) { // unroll
                let j = j1 + c;
                var d_logit = 0.0;
                if (j >= limits.x && j < limits.y) {
                    let probability = exp(logit(block, i, j, s[n][c]) - statistics[row].x);
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
                s[n][c] = d_logit;
            }
        }
        set_tile(thread, s);
        add_qkv(block, thread, 1u, j0, &sums);
    }
    store(block, thread, 0u, p.scale, &sums);
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

@compute @workgroup_size(64)
fn keys(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = block_of(p.first + linear_index(group, groups, 1u));
    if (block.sequence >= p.sequences) { return; }
    let queries = hull(block);
    let j0 = block.first + thread / 8u * 4u;
    var d_k = array<vec4<f32>, SUMS>();
    var d_v = array<vec4<f32>, SUMS>();
    for (var i0 = queries.x; i0 < queries.y; i0 += 32u) {
        var s = scores(block, thread, 1u, block.first, 0u, i0);
        var d_s = d_scores(block, thread, false, i0, block.first);
        for (var c = 0u; c < 4u; c++) { // unroll
            let i = i0 + thread % 8u * 4u + c;
            let limits = limits_of(block, i);
            let statistic = statistics[row_of(block, min(i, p.tokens - 1u))];
            for (var n = 0u; n < 4u; n++) { // unroll
                let j = j0 + n;
                var weight = 0.0;
                var d_logit = 0.0;
                if (j >= limits.x && j < limits.y) {
                    let probability = exp(logit(block, i, j, s[n][c]) - statistic.x);
                    let kept = factor(block, i, j);
                    weight = kept * probability;
                    d_logit = probability * (kept * d_s[n][c] - statistic.y);
                }
                s[n][c] = weight;
                d_s[n][c] = d_logit;
            }
        }
        set_tile(thread, s);
        add_d_y(block, thread, i0, &d_v);
        workgroupBarrier(); // the weights have been used
        set_tile(thread, d_s);
        add_qkv(block, thread, 0u, i0, &d_k);
    }
    store(block, thread, 1u, p.scale, &d_k);
    store(block, thread, 2u, 1.0, &d_v);
}

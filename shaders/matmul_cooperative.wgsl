// Matrix product on matrix units, operands `elem`, sums f32. The units take tiles of TILE x TILE (16 on NVIDIA and AMD, 8
// on Apple); the prelude names their types Left, Right and Sum. A subgroup of SUBGROUP invocations computes ROWS x COLS
// tiles; a workgroup is WAVES_M x WAVES_N subgroups side by side, and takes DEPTH = 32 of k at a time through workgroup
// memory, the next ones being fetched into registers meanwhile.
//   nt: c[m,n] = sum_k a[m,k] b[n,k]     nn: c[m,n] = sum_k a[m,k] b[k,n]     tn: c[m,n] = sum_k a[k,m] b[k,n]
// Both operands pass through workgroup memory, where rows and columns past the edge are repeated and everything past
// k is zero, because loads of whole tiles know no bounds. Sums leave through workgroup memory too: nobody else may
// look at the elements of a tile. In nn, columns k.. of a are zero up to the next multiple of 4.
// LOADS_A and LOADS_B are the vectors of a piece over the invocations; STEPS is DEPTH / TILE, PARTS the vectors of a tile
// over the invocations of a subgroup, rounded up. VECTORS says whether tiles are loaded from arrays of vectors, which
// Metal does not take. One of NT, NN and TN is set: control flow must be uniform where units work, which naga does not
// see of conditions on arguments.
// Launch: x: tiles along n; y: tiles along m; z: one per matrix of the batch.
#import lib/epilogue

@group(0) @binding(1) var<storage, read> a: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<elem>>;

const DEPTH: u32 = 32u;
const THREADS: u32 = WAVES_M * WAVES_N * SUBGROUP;
const SIZE_M: u32 = WAVES_M * ROWS * TILE;
const SIZE_N: u32 = WAVES_N * COLS * TILE;

// Rows of 32 along k are 40 apart, rows along m or n 8 more than they are long: neighbours fall into different banks.
const LONG: u32 = DEPTH + 8u;
const WIDE_M: u32 = SIZE_M + 8u;
const WIDE_N: u32 = SIZE_N + 8u;
#if VECTORS
const UNIT: u32 = 4u;
var<workgroup> tile_a: array<vec4<elem>, SIZE_M * LONG / 4u>; // [m][k], tn: [k][m]
var<workgroup> tile_b: array<vec4<elem>, SIZE_N * LONG / 4u>; // [k][n], nt: [n][k]

fn put_a(at: u32, value: vec4<elem>) {
    tile_a[at / 4u] = value;
}

fn put_b(at: u32, value: vec4<elem>) {
    tile_b[at / 4u] = value;
}
#else
const UNIT: u32 = 1u;
var<workgroup> tile_a: array<elem, SIZE_M * LONG>; // [m][k], tn: [k][m]
var<workgroup> tile_b: array<elem, SIZE_N * LONG>; // [k][n], nt: [n][k]

fn put_a(at: u32, value: vec4<elem>) {
    for (var i = 0u; i < 4u; i++) { // unroll
        tile_a[at + i] = value[i];
    }
}

fn put_b(at: u32, value: vec4<elem>) {
    for (var i = 0u; i < 4u; i++) { // unroll
        tile_b[at + i] = value[i];
    }
}
#end
// A tile for each subgroup.
var<workgroup> sums: array<f32, WAVES_M * WAVES_N * TILE * TILE>;

// What an invocation brings of the pieces from k0 on: of rows along k every eighth of a row's vectors, of rows along m or
// n the vectors side by side.
fn fetch_a(thread: u32, batch: u32, m0: u32, k0: u32) -> array<vec4<elem>, LOADS_A> {
    var values: array<vec4<elem>, LOADS_A>;
    let start = a_start(batch);
    for (var i = 0u; i < LOADS_A; i++) { // unroll
        let at = i * THREADS + thread;
#if TN
        let k = k0 + at / (SIZE_M / 4u);
        let column = start + min(m0 + at % (SIZE_M / 4u) * 4u, (p.m - 1u) / 4u * 4u);
        values[i] = select(vec4<elem>(), a[(column + min(k, p.k - 1u) * p.lda) / 4u], k < p.k);
#else
        let k = k0 + at % 8u * 4u;
        let row = start + min(m0 + at / 8u, p.m - 1u) * p.lda;
        values[i] = select(vec4<elem>(), a[(row + min(k, (p.k - 1u) / 4u * 4u)) / 4u], k < p.k);
#end
    }
    return values;
}

fn fetch_b(thread: u32, batch: u32, n0: u32, k0: u32) -> array<vec4<elem>, LOADS_B> {
    var values: array<vec4<elem>, LOADS_B>;
    let start = b_start(batch);
    for (var i = 0u; i < LOADS_B; i++) { // unroll
        let at = i * THREADS + thread;
#if NT
        let k = k0 + at % 8u * 4u;
        let row = start + min(n0 + at / 8u, p.n - 1u) * p.ldb;
        values[i] = select(vec4<elem>(), b[(row + min(k, (p.k - 1u) / 4u * 4u)) / 4u], k < p.k);
#else
        let k = k0 + at / (SIZE_N / 4u);
        let column = start + min(n0 + at % (SIZE_N / 4u) * 4u, (p.n - 1u) / 4u * 4u);
        values[i] = select(vec4<elem>(), b[(column + min(k, p.k - 1u) * p.ldb) / 4u], k < p.k);
#end
    }
    return values;
}

fn product(thread: u32, group: vec3<u32>) {
    let m0 = group.y * SIZE_M;
    let n0 = group.x * SIZE_N;
    let wave = thread / SUBGROUP;
    let wave_m = wave / WAVES_N * ROWS * TILE;
    let wave_n = wave % WAVES_N * COLS * TILE;
    var acc: array<Sum, ROWS * COLS>;
    var next_a = fetch_a(thread, group.z, m0, 0u);
    var next_b = fetch_b(thread, group.z, n0, 0u);
    for (var k0 = 0u; k0 < p.k; k0 += DEPTH) {
        for (var i = 0u; i < LOADS_A; i++) { // unroll
            let at = i * THREADS + thread;
#if TN
            put_a(at / (SIZE_M / 4u) * WIDE_M + at % (SIZE_M / 4u) * 4u, next_a[i]);
#else
            put_a(at / 8u * LONG + at % 8u * 4u, next_a[i]);
#end
        }
        for (var i = 0u; i < LOADS_B; i++) { // unroll
            let at = i * THREADS + thread;
#if NT
            put_b(at / 8u * LONG + at % 8u * 4u, next_b[i]);
#else
            put_b(at / (SIZE_N / 4u) * WIDE_N + at % (SIZE_N / 4u) * 4u, next_b[i]);
#end
        }
        workgroupBarrier();
        if (k0 + DEPTH < p.k) {
            next_a = fetch_a(thread, group.z, m0, k0 + DEPTH);
            next_b = fetch_b(thread, group.z, n0, k0 + DEPTH);
        }
        for (var k = 0u; k < STEPS; k++) { // unroll
            var right: array<Right, COLS>;
            for (var j = 0u; j < COLS; j++) { // unroll
#if NT
                right[j] = coopLoad<Right>(&tile_b[((wave_n + j * TILE) * LONG + k * TILE) / UNIT], LONG / UNIT);
#else
                right[j] = coopLoadT<Right>(&tile_b[(k * TILE * WIDE_N + wave_n + j * TILE) / UNIT], WIDE_N / UNIT);
#end
            }
            for (var i = 0u; i < ROWS; i++) { // unroll
                var left: Left;
#if TN
                left = coopLoad<Left>(&tile_a[(k * TILE * WIDE_M + wave_m + i * TILE) / UNIT], WIDE_M / UNIT);
#else
                left = coopLoadT<Left>(&tile_a[((wave_m + i * TILE) * LONG + k * TILE) / UNIT], LONG / UNIT);
#end
                for (var j = 0u; j < COLS; j++) { // unroll
                    acc[i * COLS + j] = coopMultiplyAdd(left, right[j], acc[i * COLS + j]);
                }
            }
        }
        workgroupBarrier();
    }
    let start = c_start(group.z);
    for (var i = 0u; i < ROWS; i++) { // unroll
        for (var j = 0u; j < COLS; j++) { // unroll
            coopStoreT(acc[i * COLS + j], &sums[wave * TILE * TILE], TILE);
            workgroupBarrier();
            for (var part = 0u; part < PARTS; part++) { // unroll
                let at = part * SUBGROUP + thread % SUBGROUP;
                let m = m0 + wave_m + i * TILE + at / (TILE / 4u);
                let n = n0 + wave_n + j * TILE + at % (TILE / 4u) * 4u;
                if (at < TILE * TILE / 4u && m < p.m && n < p.n) {
                    let first = wave * TILE * TILE + at * 4u;
                    let value = vec4(sums[first], sums[first + 1u], sums[first + 2u], sums[first + 3u]);
                    epilogue_store((start + m * p.ldc + n) / 4u, n, value);
                }
            }
            workgroupBarrier();
        }
    }
}

#if NT
@compute @workgroup_size(THREADS)
fn nt(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    product(thread, group);
}
#end

#if NN
@compute @workgroup_size(THREADS)
fn nn(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    product(thread, group);
}
#end

#if TN
@compute @workgroup_size(THREADS)
fn tn(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    product(thread, group);
}
#end

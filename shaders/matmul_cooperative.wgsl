// Matrix product on matrix units, operands `elem`, sums f32. The units take tiles of TILE x TILE (16 on NVIDIA and AMD, 8
// on Apple); the prelude names their types Left, Right and Sum. A subgroup of SUBGROUP invocations computes ROWS x COLS
// tiles; a workgroup is 2 x 2 subgroups and computes 64 x 64 outputs, 32 terms of their sums at a time.
//   nt: c[m,n] = sum_k a[m,k] b[n,k]     nn: c[m,n] = sum_k a[m,k] b[k,n]     tn: c[m,n] = sum_k a[k,m] b[k,n]
// Both operands pass through workgroup memory, where rows and columns past the edge are repeated and everything past
// k is zero, because loads of whole tiles know no bounds. Sums leave through workgroup memory too: nobody else may
// look at the elements of a tile. In nn, columns k.. of a are zero up to the next multiple of 4.
// LOADS is the vectors of a piece over the invocations; STEPS is 32 / TILE, PARTS the vectors of a tile over the
// invocations of a subgroup, rounded up. VECTORS says whether tiles are loaded from arrays of vectors, which
// Metal does not take. One of NT, NN and TN is set: control flow must be uniform where units work, which naga does not
// see of conditions on arguments.
// Launch: x: tiles along n; y: tiles along m; z: one per matrix of the batch.
#import lib/epilogue

@group(0) @binding(1) var<storage, read> a: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<elem>>;

const DEPTH: u32 = 32u;
const SIZE: u32 = 64u;
const THREADS: u32 = 4u * SUBGROUP;

// Rows of 32 along k are 40 apart, rows of 64 along m or n 72: neighbours fall into different banks.
const LONG: u32 = DEPTH + 8u;
const WIDE: u32 = SIZE + 8u;
#if VECTORS
const UNIT: u32 = 4u;
var<workgroup> tile_a: array<vec4<elem>, SIZE * LONG / 4u>; // [m][k], tn: [k][m]
var<workgroup> tile_b: array<vec4<elem>, SIZE * LONG / 4u>; // [k][n], nt: [n][k]

fn put_a(at: u32, value: vec4<elem>) {
    tile_a[at / 4u] = value;
}

fn put_b(at: u32, value: vec4<elem>) {
    tile_b[at / 4u] = value;
}
#else
const UNIT: u32 = 1u;
var<workgroup> tile_a: array<elem, SIZE * LONG>; // [m][k], tn: [k][m]
var<workgroup> tile_b: array<elem, SIZE * LONG>; // [k][n], nt: [n][k]

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
var<workgroup> sums: array<f32, 4u * TILE * TILE>;

// Brings the pieces from k0 on: of rows along k eight vectors each, of rows along m or n sixteen.
fn stage(thread: u32, batch: u32, m0: u32, n0: u32, k0: u32) {
    for (var i = 0u; i < LOADS; i++) { // unroll
        let at = i * THREADS + thread;
#if TN
        let k = k0 + at / 16u;
        let column = a_start(batch) + min(m0 + at % 16u * 4u, (p.m - 1u) / 4u * 4u);
        let value = a[(column + min(k, p.k - 1u) * p.lda) / 4u];
        put_a(at / 16u * WIDE + at % 16u * 4u, select(vec4<elem>(), value, k < p.k));
#else
        let k = k0 + at % 8u * 4u;
        let row = a_start(batch) + min(m0 + at / 8u, p.m - 1u) * p.lda;
        let value = a[(row + min(k, (p.k - 1u) / 4u * 4u)) / 4u];
        put_a(at / 8u * LONG + at % 8u * 4u, select(vec4<elem>(), value, k < p.k));
#end
    }
    for (var i = 0u; i < LOADS; i++) { // unroll
        let at = i * THREADS + thread;
#if NT
        let k = k0 + at % 8u * 4u;
        let row = b_start(batch) + min(n0 + at / 8u, p.n - 1u) * p.ldb;
        let value = b[(row + min(k, (p.k - 1u) / 4u * 4u)) / 4u];
        put_b(at / 8u * LONG + at % 8u * 4u, select(vec4<elem>(), value, k < p.k));
#else
        let k = k0 + at / 16u;
        let column = b_start(batch) + min(n0 + at % 16u * 4u, (p.n - 1u) / 4u * 4u);
        let value = b[(column + min(k, p.k - 1u) * p.ldb) / 4u];
        put_b(at / 16u * WIDE + at % 16u * 4u, select(vec4<elem>(), value, k < p.k));
#end
    }
}

fn product(thread: u32, group: vec3<u32>) {
    let m0 = group.y * SIZE;
    let n0 = group.x * SIZE;
    let wave = thread / SUBGROUP;
    let wave_m = wave / 2u * ROWS * TILE;
    let wave_n = wave % 2u * COLS * TILE;
    var acc: array<Sum, ROWS * COLS>;
    for (var k0 = 0u; k0 < p.k; k0 += DEPTH) {
        stage(thread, group.z, m0, n0, k0);
        workgroupBarrier();
        for (var k = 0u; k < STEPS; k++) { // unroll
            var right: array<Right, COLS>;
            for (var j = 0u; j < COLS; j++) { // unroll
#if NT
                right[j] = coopLoad<Right>(&tile_b[((wave_n + j * TILE) * LONG + k * TILE) / UNIT], LONG / UNIT);
#else
                right[j] = coopLoadT<Right>(&tile_b[(k * TILE * WIDE + wave_n + j * TILE) / UNIT], WIDE / UNIT);
#end
            }
            for (var i = 0u; i < ROWS; i++) { // unroll
#if TN
                let left = coopLoad<Left>(&tile_a[(k * TILE * WIDE + wave_m + i * TILE) / UNIT], WIDE / UNIT);
#else
                let left = coopLoadT<Left>(&tile_a[((wave_m + i * TILE) * LONG + k * TILE) / UNIT], LONG / UNIT);
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

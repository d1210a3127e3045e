// Matrix product on matrix units, operands f16, sums f32: a workgroup of 4 subgroups of 32 computes 64 x 64 outputs,
// 32 x 32 per subgroup, in steps of 32 along k. The units take tiles of TILE x TILE (16 on NVIDIA and AMD, 8 on
// Apple); the prelude names their types Left, Right and Sum.
//   nt: c[m,n] = sum_k a[m,k] b[n,k]     nn: c[m,n] = sum_k a[m,k] b[k,n]     tn: c[m,n] = sum_k a[k,m] b[k,n]
// Both operands pass through workgroup memory, where rows and columns past the edge are repeated and everything past
// k is zero, because loads of whole tiles know no bounds. Sums leave through workgroup memory too: nobody else may
// look at the elements of a tile. In nn, columns k.. of a are zero up to the next multiple of 4.
// Launch: x: tiles along n; y: tiles along m; z: one per matrix of the batch.
#import lib/epilogue

@group(0) @binding(1) var<storage, read> a: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<elem>>;

// Rows of 32 along k are 40 apart, rows of 64 along m or n 72: neighbours fall into different banks.
var<workgroup> tile_a: array<elem, 2560>; // [m][k], tn: [k][m]
var<workgroup> tile_b: array<elem, 2560>; // [k][n], nt: [n][k]
var<workgroup> sums: array<f32, SUMS>; // a tile for each subgroup

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

// 64 rows of 32 along k, four elements of each invocation four times.
fn fill_a_rows(thread: u32, start: u32, m0: u32, k0: u32) {
    for (var i = 0u; i < 4u; i++) { // unroll
        let at = i * 128u + thread;
        let k = k0 + at % 8u * 4u;
        let row = start + min(m0 + at / 8u, p.m - 1u) * p.lda;
        let value = a[(row + min(k, (p.k - 1u) / 4u * 4u)) / 4u];
        put_a(at / 8u * 40u + at % 8u * 4u, select(vec4<elem>(), value, k < p.k));
    }
}

fn fill_b_rows(thread: u32, start: u32, n0: u32, k0: u32) {
    for (var i = 0u; i < 4u; i++) { // unroll
        let at = i * 128u + thread;
        let k = k0 + at % 8u * 4u;
        let row = start + min(n0 + at / 8u, p.n - 1u) * p.ldb;
        let value = b[(row + min(k, (p.k - 1u) / 4u * 4u)) / 4u];
        put_b(at / 8u * 40u + at % 8u * 4u, select(vec4<elem>(), value, k < p.k));
    }
}

// 32 rows of 64 along m or n.
fn fill_a_columns(thread: u32, start: u32, m0: u32, k0: u32) {
    for (var i = 0u; i < 4u; i++) { // unroll
        let at = i * 128u + thread;
        let k = k0 + at / 16u;
        let column = start + min(m0 + at % 16u * 4u, (p.m - 1u) / 4u * 4u);
        let value = a[(column + min(k, p.k - 1u) * p.lda) / 4u];
        put_a(at / 16u * 72u + at % 16u * 4u, select(vec4<elem>(), value, k < p.k));
    }
}

fn fill_b_columns(thread: u32, start: u32, n0: u32, k0: u32) {
    for (var i = 0u; i < 4u; i++) { // unroll
        let at = i * 128u + thread;
        let k = k0 + at / 16u;
        let column = start + min(n0 + at % 16u * 4u, (p.n - 1u) / 4u * 4u);
        let value = b[(column + min(k, p.k - 1u) * p.ldb) / 4u];
        put_b(at / 16u * 72u + at % 16u * 4u, select(vec4<elem>(), value, k < p.k));
    }
}

// Four elements of a subgroup's tile that lies in `sums`.
fn store(thread: u32, part: u32, m0: u32, n0: u32, start: u32) {
    let m = m0 + part / (TILE / 4u);
    let n = n0 + part % (TILE / 4u) * 4u;
    if (part >= TILE * TILE / 4u || m >= p.m || n >= p.n) { return; }
    let first = thread / 32u * TILE * TILE + part * 4u;
    let value = vec4(sums[first], sums[first + 1u], sums[first + 2u], sums[first + 3u]);
    epilogue_store((start + m * p.ldc + n) / 4u, n, value);
}

@compute @workgroup_size(128)
fn nt(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let m0 = thread / 64u * 32u;
    let n0 = thread / 32u % 2u * 32u;
    var acc: array<Sum, TILES>;
    for (var k0 = 0u; k0 < p.k; k0 += 32u) {
        fill_a_rows(thread, a_start(group.z), group.y * 64u, k0);
        fill_b_rows(thread, b_start(group.z), group.x * 64u, k0);
        workgroupBarrier();
        for (var k = 0u; k < PER; k++) { // unroll
            for (var i = 0u; i < PER; i++) { // unroll
                let x = coopLoadT<Left>(&tile_a[(m0 + i * TILE) * 40u + k * TILE], 40u);
                for (var j = 0u; j < PER; j++) { // unroll
                    let y = coopLoad<Right>(&tile_b[(n0 + j * TILE) * 40u + k * TILE], 40u);
                    acc[i * PER + j] = coopMultiplyAdd(x, y, acc[i * PER + j]);
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < PER; i++) { // unroll
        for (var j = 0u; j < PER; j++) { // unroll
            coopStoreT(acc[i * PER + j], &sums[thread / 32u * TILE * TILE], TILE);
            workgroupBarrier();
            for (var part = 0u; part < 2u; part++) { // unroll
                store(thread, part * 32u + thread % 32u, group.y * 64u + m0 + i * TILE,
                    group.x * 64u + n0 + j * TILE, c_start(group.z));
            }
            workgroupBarrier();
        }
    }
}

@compute @workgroup_size(128)
fn nn(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let m0 = thread / 64u * 32u;
    let n0 = thread / 32u % 2u * 32u;
    var acc: array<Sum, TILES>;
    for (var k0 = 0u; k0 < p.k; k0 += 32u) {
        fill_a_rows(thread, a_start(group.z), group.y * 64u, k0);
        fill_b_columns(thread, b_start(group.z), group.x * 64u, k0);
        workgroupBarrier();
        for (var k = 0u; k < PER; k++) { // unroll
            for (var i = 0u; i < PER; i++) { // unroll
                let x = coopLoadT<Left>(&tile_a[(m0 + i * TILE) * 40u + k * TILE], 40u);
                for (var j = 0u; j < PER; j++) { // unroll
                    let y = coopLoadT<Right>(&tile_b[k * TILE * 72u + n0 + j * TILE], 72u);
                    acc[i * PER + j] = coopMultiplyAdd(x, y, acc[i * PER + j]);
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < PER; i++) { // unroll
        for (var j = 0u; j < PER; j++) { // unroll
            coopStoreT(acc[i * PER + j], &sums[thread / 32u * TILE * TILE], TILE);
            workgroupBarrier();
            for (var part = 0u; part < 2u; part++) { // unroll
                store(thread, part * 32u + thread % 32u, group.y * 64u + m0 + i * TILE,
                    group.x * 64u + n0 + j * TILE, c_start(group.z));
            }
            workgroupBarrier();
        }
    }
}

@compute @workgroup_size(128)
fn tn(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let m0 = thread / 64u * 32u;
    let n0 = thread / 32u % 2u * 32u;
    var acc: array<Sum, TILES>;
    for (var k0 = 0u; k0 < p.k; k0 += 32u) {
        fill_a_columns(thread, a_start(group.z), group.y * 64u, k0);
        fill_b_columns(thread, b_start(group.z), group.x * 64u, k0);
        workgroupBarrier();
        for (var k = 0u; k < PER; k++) { // unroll
            for (var i = 0u; i < PER; i++) { // unroll
                let x = coopLoad<Left>(&tile_a[k * TILE * 72u + m0 + i * TILE], 72u);
                for (var j = 0u; j < PER; j++) { // unroll
                    let y = coopLoadT<Right>(&tile_b[k * TILE * 72u + n0 + j * TILE], 72u);
                    acc[i * PER + j] = coopMultiplyAdd(x, y, acc[i * PER + j]);
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < PER; i++) { // unroll
        for (var j = 0u; j < PER; j++) { // unroll
            coopStoreT(acc[i * PER + j], &sums[thread / 32u * TILE * TILE], TILE);
            workgroupBarrier();
            for (var part = 0u; part < 2u; part++) { // unroll
                store(thread, part * 32u + thread % 32u, group.y * 64u + m0 + i * TILE,
                    group.x * 64u + n0 + j * TILE, c_start(group.z));
            }
            workgroupBarrier();
        }
    }
}

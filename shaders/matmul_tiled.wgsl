// Matrix product for any GPU: a workgroup of 256 computes 64 x 64 outputs, 4 x 4 per invocation, from 64 x 32 pieces of
// both operands in workgroup memory (16 KiB), and holds the next pieces in registers while it multiplies the present ones.
//   nt: c[m,n] = sum_k a[m,k] b[n,k]     nn: c[m,n] = sum_k a[m,k] b[k,n]     tn: c[m,n] = sum_k a[k,m] b[k,n]
// Rows and columns past the edge are computed from the last ones and not stored; past k, zeros are added.
// In nn, columns k.. of a are zero up to the next multiple of 4. Sums run along k in order.
// Launch: x: tiles along n; y: tiles along m; z: one per matrix of the batch.
#import lib/epilogue

@group(0) @binding(1) var<storage, read> a: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<elem>>;

const SIZE: u32 = 64u;
const ACROSS: u32 = SIZE / 4u; // vectors across a piece, along m or n
const DEPTH: u32 = 32u; // elements along k
const DEEP: u32 = DEPTH / 4u;
const PIECE: u32 = DEPTH * ACROSS; // 512 vectors: 4 for each of 128 invocations

// A piece [k][m] of a, then a piece [k][n] of b. Vectors of one row change places with others of the same eight, so that
// neither the stores of transposed blocks nor the loads of rows meet in one bank.
var<workgroup> tile: array<vec4<f32>, 2u * PIECE>;

fn swizzled(across: u32, deep: u32) -> u32 {
    return across ^ deep;
}

alias Block = array<vec4<f32>, 4>;

fn transposed(rows: Block) -> Block {
    return Block(
        vec4(rows[0].x, rows[1].x, rows[2].x, rows[3].x),
        vec4(rows[0].y, rows[1].y, rows[2].y, rows[3].y),
        vec4(rows[0].z, rows[1].z, rows[2].z, rows[3].z),
        vec4(rows[0].w, rows[1].w, rows[2].w, rows[3].w),
    );
}

// 4 x 4 elements from k on of the rows (along m or n) from `first` on, as [k][row], where rows lie along k.
fn rows_of_a(start: u32, first: u32, k: u32) -> Block {
    var rows: Block;
    let column = start + min(k, (p.k - 1u) / 4u * 4u);
    for (var i = 0u; i < 4u; i++) { // unroll
        rows[i] = vec4<f32>(a[(column + min(first + i, p.m - 1u) * p.lda) / 4u]);
        rows[i] = select(vec4<f32>(), rows[i], k < p.k);
    }
    return transposed(rows);
}

fn rows_of_b(start: u32, first: u32, k: u32) -> Block {
    var rows: Block;
    let column = start + min(k, (p.k - 1u) / 4u * 4u);
    for (var i = 0u; i < 4u; i++) { // unroll
        rows[i] = vec4<f32>(b[(column + min(first + i, p.n - 1u) * p.ldb) / 4u]);
        rows[i] = select(vec4<f32>(), rows[i], k < p.k);
    }
    return transposed(rows);
}

// The same where rows of the matrix are rows along m or n already.
fn columns_of_a(start: u32, first: u32, k: u32) -> Block {
    var block: Block;
    let column = start + min(first, (p.m - 1u) / 4u * 4u);
    for (var i = 0u; i < 4u; i++) { // unroll
        block[i] = vec4<f32>(a[(column + min(k + i, p.k - 1u) * p.lda) / 4u]);
        block[i] = select(vec4<f32>(), block[i], k + i < p.k);
    }
    return block;
}

fn columns_of_b(start: u32, first: u32, k: u32) -> Block {
    var block: Block;
    let column = start + min(first, (p.n - 1u) / 4u * 4u);
    for (var i = 0u; i < 4u; i++) { // unroll
        block[i] = vec4<f32>(b[(column + min(k + i, p.k - 1u) * p.ldb) / 4u]);
        block[i] = select(vec4<f32>(), block[i], k + i < p.k);
    }
    return block;
}

// The block that an invocation brings: the first 128 bring a, the others b. `first` is the first row or column of the
// block within the matrix.
fn fetch(thread: u32, batch: u32, first: u32, k: u32, a_rows: bool, b_rows: bool) -> Block {
    if (thread < 128u) {
        if (a_rows) { return rows_of_a(a_start(batch), first, k); }
        return columns_of_a(a_start(batch), first, k);
    }
    if (b_rows) { return rows_of_b(b_start(batch), first, k); }
    return columns_of_b(b_start(batch), first, k);
}

fn product(thread: u32, group: vec3<u32>, a_rows: bool, b_rows: bool) {
    // What it brings: neighbours read neighbours in memory.
    let mine = thread % 128u;
    let along_k = select(b_rows, a_rows, thread < 128u);
    let deep = select(mine / ACROSS, mine % DEEP, along_k);
    let across = select(mine % ACROSS, mine / DEEP, along_k);
    let first = select(group.x, group.y, thread < 128u) * SIZE + across * 4u;
    let place = thread / 128u * PIECE + deep * 4u * ACROSS + swizzled(across, deep);
    // What it computes: 32 neighbours form 4 x 8 blocks.
    let y = thread / 64u * 4u + thread % 32u / 8u;
    let x = thread / 32u % 2u * 8u + thread % 8u;

    var acc = array<vec4<f32>, 4>();
    var next = fetch(thread, group.z, first, deep * 4u, a_rows, b_rows);
    for (var k0 = 0u; k0 < p.k; k0 += DEPTH) {
        for (var i = 0u; i < 4u; i++) { // unroll
            tile[place + i * ACROSS] = next[i];
        }
        workgroupBarrier();
        if (k0 + DEPTH < p.k) {
            next = fetch(thread, group.z, first, k0 + DEPTH + deep * 4u, a_rows, b_rows);
        }
        for (var block = 0u; block < DEEP && k0 + block * 4u < p.k; block++) {
            let left = block * 4u * ACROSS + swizzled(y, block);
            let right = PIECE + block * 4u * ACROSS + swizzled(x, block);
            for (var k = 0u; k < 4u; k++) { // unroll
                let v = tile[left + k * ACROSS];
                let w = tile[right + k * ACROSS];
                for (var i = 0u; i < 4u; i++) { // unroll
                    acc[i] = fma(vec4(v[i]), w, acc[i]);
                }
            }
        }
        workgroupBarrier();
    }
    let n = group.x * SIZE + x * 4u;
    for (var i = 0u; i < 4u; i++) { // unroll
        let m = group.y * SIZE + y * 4u + i;
        if (m < p.m && n < p.n) {
            epilogue_store((c_start(group.z) + m * p.ldc + n) / 4u, n, acc[i]);
        }
    }
}

@compute @workgroup_size(256)
fn nt(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    product(thread, group, true, true);
}

@compute @workgroup_size(256)
fn nn(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    product(thread, group, true, false);
}

@compute @workgroup_size(256)
fn tn(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    product(thread, group, false, false);
}

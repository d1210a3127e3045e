// Matrix product for any GPU: a workgroup of 256 computes 64 x 64 outputs, 4 x 4 per invocation, from
// 64 x 16 pieces of both operands in workgroup memory (8 KiB).
//   nt: c[m,n] = sum_k a[m,k] b[n,k]     nn: c[m,n] = sum_k a[m,k] b[k,n]     tn: c[m,n] = sum_k a[k,m] b[k,n]
// Rows and columns past the edge are computed from the last ones and not stored; past k, zeros are added.
// In nn, columns k.. of a are zero up to the next multiple of 4.
// Launch: x: tiles along n; y: tiles along m; z: one per matrix of the batch.
#import lib/epilogue

@group(0) @binding(1) var<storage, read> a: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<elem>>;

// [k][m] and [k][n], 16 rows of 64.
var<workgroup> tile_a: array<vec4<f32>, 256>;
var<workgroup> tile_b: array<vec4<f32>, 256>;

// Writes 4 consecutive k of one row into a [k][row] tile.
fn scatter_a(row: u32, k: u32, value: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) { // unroll
        tile_a[(k + i) * 16u + row / 4u][row % 4u] = value[i];
    }
}

fn scatter_b(row: u32, k: u32, value: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) { // unroll
        tile_b[(k + i) * 16u + row / 4u][row % 4u] = value[i];
    }
}

fn multiply(thread: u32, acc: ptr<function, array<vec4<f32>, 4>>) {
    for (var k = 0u; k < 16u; k++) {
        let x = tile_a[k * 16u + thread / 16u];
        let y = tile_b[k * 16u + thread % 16u];
        for (var i = 0u; i < 4u; i++) { // unroll
            (*acc)[i] = fma(vec4(x[i]), y, (*acc)[i]);
        }
    }
}

fn store(thread: u32, acc: ptr<function, array<vec4<f32>, 4>>, m0: u32, n0: u32, start: u32) {
    let n = n0 + thread % 16u * 4u;
    for (var i = 0u; i < 4u; i++) { // unroll
        let m = m0 + thread / 16u * 4u + i;
        if (m < p.m && n < p.n) {
            epilogue_store((start + m * p.ldc + n) / 4u, n, (*acc)[i]);
        }
    }
}

@compute @workgroup_size(256)
fn nt(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let m0 = group.y * 64u;
    let n0 = group.x * 64u;
    let row = thread / 4u;
    let part = thread % 4u * 4u;
    let a_row = a_start(group.z) + min(m0 + row, p.m - 1u) * p.lda;
    let b_row = b_start(group.z) + min(n0 + row, p.n - 1u) * p.ldb;
    var acc = array<vec4<f32>, 4>();
    for (var k0 = 0u; k0 < p.k; k0 += 16u) {
        let k = min(k0 + part, p.k - 4u);
        let inside = k0 + part < p.k;
        scatter_a(row, part, select(vec4<f32>(), vec4<f32>(a[(a_row + k) / 4u]), inside));
        scatter_b(row, part, select(vec4<f32>(), vec4<f32>(b[(b_row + k) / 4u]), inside));
        workgroupBarrier();
        multiply(thread, &acc);
        workgroupBarrier();
    }
    store(thread, &acc, m0, n0, c_start(group.z));
}

@compute @workgroup_size(256)
fn nn(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let m0 = group.y * 64u;
    let n0 = group.x * 64u;
    let row = thread / 4u;
    let part = thread % 4u * 4u;
    let a_row = a_start(group.z) + min(m0 + row, p.m - 1u) * p.lda;
    let b_column = b_start(group.z) + min(n0 + thread % 16u * 4u, (p.n - 1u) / 4u * 4u);
    var acc = array<vec4<f32>, 4>();
    for (var k0 = 0u; k0 < p.k; k0 += 16u) {
        let k = min(k0 + part, (p.k - 1u) / 4u * 4u);
        scatter_a(row, part, select(vec4<f32>(), vec4<f32>(a[(a_row + k) / 4u]), k0 + part < p.k));
        let kb = k0 + thread / 16u;
        tile_b[thread] =
            select(vec4<f32>(), vec4<f32>(b[(b_column + min(kb, p.k - 1u) * p.ldb) / 4u]), kb < p.k);
        workgroupBarrier();
        multiply(thread, &acc);
        workgroupBarrier();
    }
    store(thread, &acc, m0, n0, c_start(group.z));
}

@compute @workgroup_size(256)
fn tn(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let m0 = group.y * 64u;
    let n0 = group.x * 64u;
    let a_column = a_start(group.z) + min(m0 + thread % 16u * 4u, (p.m - 1u) / 4u * 4u);
    let b_column = b_start(group.z) + min(n0 + thread % 16u * 4u, (p.n - 1u) / 4u * 4u);
    var acc = array<vec4<f32>, 4>();
    for (var k0 = 0u; k0 < p.k; k0 += 16u) {
        let k = k0 + thread / 16u;
        let row = min(k, p.k - 1u);
        tile_a[thread] = select(vec4<f32>(), vec4<f32>(a[(a_column + row * p.lda) / 4u]), k < p.k);
        tile_b[thread] = select(vec4<f32>(), vec4<f32>(b[(b_column + row * p.ldb) / 4u]), k < p.k);
        workgroupBarrier();
        multiply(thread, &acc);
        workgroupBarrier();
    }
    store(thread, &acc, m0, n0, c_start(group.z));
}

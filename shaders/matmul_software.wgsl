// Matrix product for adapters that are CPUs: 16 x 16 outputs per invocation in registers, no workgroup
// memory, no barrier. All leading dimensions are multiples of 4.
//   nt: c[m,n] = sum_k a[m,k] b[n,k]     nn: c[m,n] = sum_k a[m,k] b[k,n]     tn: c[m,n] = sum_k a[k,m] b[k,n]
// Launch: one invocation per 16 x 16 tile, tiles along n first, folded by `linear_index`.
#import lib/grid

struct Params { m: u32, n: u32, k: u32, lda: u32, ldb: u32, ldc: u32, accumulate: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;

// Rows past the edge are computed from the last row and not stored.
fn store(acc: ptr<function, array<vec4<f32>, 64>>, m0: u32, n0: u32) {
    for (var i = 0u; i < 16u; i++) { // unroll
        for (var j = 0u; j < 4u; j++) { // unroll
            if (m0 + i < p.m && n0 + 4u * j < p.n) {
                let at = ((m0 + i) * p.ldc + n0) / 4u + j;
                c[at] = select(vec4<f32>(0.0), c[at], p.accumulate != 0u) + (*acc)[i * 4u + j];
            }
        }
    }
}

@compute @workgroup_size(8)
fn nn(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = linear_index(id, groups, 8u);
    let tiles = (p.n + 15u) / 16u;
    let m0 = tile / tiles * 16u;
    let n0 = tile % tiles * 16u;
    if (m0 >= p.m) { return; }
    var acc = array<vec4<f32>, 64>();
    let last = p.ldb / 4u - 1u;
    for (var k = 0u; k < p.k; k += 4u) {
        for (var j = 0u; j < 4u; j++) { // unroll
            let column = min(n0 / 4u + j, last);
            let b0 = b[k * (p.ldb / 4u) + column];
            let b1 = b[min(k + 1u, p.k - 1u) * (p.ldb / 4u) + column];
            let b2 = b[min(k + 2u, p.k - 1u) * (p.ldb / 4u) + column];
            let b3 = b[min(k + 3u, p.k - 1u) * (p.ldb / 4u) + column];
            for (var i = 0u; i < 16u; i++) { // unroll
                let x = a[(min(m0 + i, p.m - 1u) * p.lda + k) / 4u];
                let at = i * 4u + j;
                acc[at] = fma(vec4(x.x), b0, acc[at]);
                acc[at] = fma(vec4(x.y), b1, acc[at]);
                acc[at] = fma(vec4(x.z), b2, acc[at]);
                acc[at] = fma(vec4(x.w), b3, acc[at]);
            }
        }
    }
    store(&acc, m0, n0);
}

@compute @workgroup_size(8)
fn tn(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = linear_index(id, groups, 8u);
    let tiles = (p.n + 15u) / 16u;
    let m0 = tile / tiles * 16u;
    let n0 = tile % tiles * 16u;
    if (m0 >= p.m) { return; }
    var acc = array<vec4<f32>, 64>();
    let last_a = p.lda / 4u - 1u;
    let last_b = p.ldb / 4u - 1u;
    for (var k = 0u; k < p.k; k++) {
        var y: array<vec4<f32>, 4>;
        for (var j = 0u; j < 4u; j++) { // unroll
            y[j] = b[k * (p.ldb / 4u) + min(n0 / 4u + j, last_b)];
        }
        for (var i = 0u; i < 4u; i++) { // unroll
            let x = a[k * (p.lda / 4u) + min(m0 / 4u + i, last_a)];
            for (var j = 0u; j < 4u; j++) { // unroll
                let at = i * 16u + j;
                acc[at] = fma(vec4(x.x), y[j], acc[at]);
                acc[at + 4u] = fma(vec4(x.y), y[j], acc[at + 4u]);
                acc[at + 8u] = fma(vec4(x.z), y[j], acc[at + 8u]);
                acc[at + 12u] = fma(vec4(x.w), y[j], acc[at + 12u]);
            }
        }
    }
    store(&acc, m0, n0);
}

@compute @workgroup_size(8)
fn nt(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = linear_index(id, groups, 8u);
    let tiles = (p.n + 15u) / 16u;
    let m0 = tile / tiles * 16u;
    let n0 = tile % tiles * 16u;
    if (m0 >= p.m) { return; }
    var acc = array<vec4<f32>, 64>();
    for (var k = 0u; k < p.k; k += 4u) {
        for (var j = 0u; j < 4u; j++) { // unroll
            let n = n0 + 4u * j;
            let b0 = b[(min(n, p.n - 1u) * p.ldb + k) / 4u];
            let b1 = b[(min(n + 1u, p.n - 1u) * p.ldb + k) / 4u];
            let b2 = b[(min(n + 2u, p.n - 1u) * p.ldb + k) / 4u];
            let b3 = b[(min(n + 3u, p.n - 1u) * p.ldb + k) / 4u];
            let t = transpose(mat4x4<f32>(b0, b1, b2, b3));
            for (var i = 0u; i < 16u; i++) { // unroll
                let x = a[(min(m0 + i, p.m - 1u) * p.lda + k) / 4u];
                let at = i * 4u + j;
                acc[at] = fma(vec4(x.x), t[0], acc[at]);
                acc[at] = fma(vec4(x.y), t[1], acc[at]);
                acc[at] = fma(vec4(x.z), t[2], acc[at]);
                acc[at] = fma(vec4(x.w), t[3], acc[at]);
            }
        }
    }
    store(&acc, m0, n0);
}

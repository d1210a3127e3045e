// Matrix product for adapters that are CPUs: 16 x 16 outputs per invocation in registers, no workgroup
// memory, no barrier. Operands come through textures (their elements in order, 1024 texels of 4 a row):
// lavapipe fetches texels with vector instructions, but storage buffers one lane at a time.
//   nt: c[m,n] = sum_k a[m,k] b[n,k]     nn: c[m,n] = sum_k a[m,k] b[k,n]     tn: c[m,n] = sum_k a[k,m] b[k,n]
// Rows and columns past the edge are computed from the last ones and not stored. In nn, columns k.. of a
// are zero up to the next multiple of 4.
// Launch: x, y: one invocation per 16 x 16 tile, tiles along n first; z: one per matrix of the batch.
#import lib/grid
#import lib/epilogue

@group(0) @binding(1) var a: texture_2d<f32>;
@group(0) @binding(2) var b: texture_2d<f32>;

fn load_a(i: u32) -> vec4<f32> {
    return textureLoad(a, vec2<u32>(i & 1023u, i >> 10u), 0);
}

fn load_b(i: u32) -> vec4<f32> {
    return textureLoad(b, vec2<u32>(i & 1023u, i >> 10u), 0);
}

fn store(acc: ptr<function, array<vec4<f32>, 64>>, m0: u32, n0: u32, start: u32) {
    for (var i = 0u; i < 16u; i++) { // unroll
        for (var j = 0u; j < 4u; j++) { // unroll
            if (m0 + i < p.m && n0 + 4u * j < p.n) {
                let at = start / 4u + ((m0 + i) * p.ldc + n0) / 4u + j;
                epilogue_store(at, n0 + 4u * j, (*acc)[i * 4u + j]);
            }
        }
    }
}

@compute @workgroup_size(8)
fn nt(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = linear_index(id, groups, 8u);
    let tiles = (p.n + 15u) / 16u;
    let m0 = tile / tiles * 16u;
    let n0 = tile % tiles * 16u;
    if (m0 >= p.m) { return; }
    var acc = array<vec4<f32>, 64>();
    var row = array<u32, 16>();
    var column = array<u32, 16>();
    for (var i = 0u; i < 16u; i++) { // unroll
        row[i] = (a_start(id.z) + min(m0 + i, p.m - 1u) * p.lda) / 4u;
        column[i] = (b_start(id.z) + min(n0 + i, p.n - 1u) * p.ldb) / 4u;
    }
    for (var k = 0u; k < p.k / 4u; k++) {
        var x = array<vec4<f32>, 16>();
        for (var i = 0u; i < 16u; i++) { // unroll
            x[i] = load_a(row[i] + k);
        }
        for (var j = 0u; j < 4u; j++) { // unroll
            let y = transpose(mat4x4<f32>(load_b(column[4u * j] + k), load_b(column[4u * j + 1u] + k),
                load_b(column[4u * j + 2u] + k), load_b(column[4u * j + 3u] + k)));
            for (var i = 0u; i < 16u; i++) { // unroll
                acc[i * 4u + j] = fma(vec4(x[i].w), y[3],
                    fma(vec4(x[i].z), y[2], fma(vec4(x[i].y), y[1], fma(vec4(x[i].x), y[0], acc[i * 4u + j]))));
            }
        }
    }
    store(&acc, m0, n0, c_start(id.z));
}

@compute @workgroup_size(8)
fn nn(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = linear_index(id, groups, 8u);
    let tiles = (p.n + 15u) / 16u;
    let m0 = tile / tiles * 16u;
    let n0 = tile % tiles * 16u;
    if (m0 >= p.m) { return; }
    var acc = array<vec4<f32>, 64>();
    var row = array<u32, 16>();
    var column = array<u32, 4>();
    for (var i = 0u; i < 16u; i++) { // unroll
        row[i] = (a_start(id.z) + min(m0 + i, p.m - 1u) * p.lda) / 4u;
    }
    for (var j = 0u; j < 4u; j++) { // unroll
        column[j] = b_start(id.z) / 4u + min(n0 / 4u + j, (p.n - 1u) / 4u);
    }
    for (var k = 0u; k < p.k; k += 4u) {
        var x = array<vec4<f32>, 16>();
        for (var i = 0u; i < 16u; i++) { // unroll
            x[i] = load_a(row[i] + k / 4u);
        }
        for (var j = 0u; j < 4u; j++) { // unroll
            let y0 = load_b(column[j] + k * p.ldb / 4u);
            let y1 = load_b(column[j] + min(k + 1u, p.k - 1u) * p.ldb / 4u);
            let y2 = load_b(column[j] + min(k + 2u, p.k - 1u) * p.ldb / 4u);
            let y3 = load_b(column[j] + min(k + 3u, p.k - 1u) * p.ldb / 4u);
            for (var i = 0u; i < 16u; i++) { // unroll
                acc[i * 4u + j] = fma(vec4(x[i].w), y3,
                    fma(vec4(x[i].z), y2, fma(vec4(x[i].y), y1, fma(vec4(x[i].x), y0, acc[i * 4u + j]))));
            }
        }
    }
    store(&acc, m0, n0, c_start(id.z));
}

@compute @workgroup_size(8)
fn tn(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = linear_index(id, groups, 8u);
    let tiles = (p.n + 15u) / 16u;
    let m0 = tile / tiles * 16u;
    let n0 = tile % tiles * 16u;
    if (m0 >= p.m) { return; }
    var acc = array<vec4<f32>, 64>();
    var row = array<u32, 4>();
    var column = array<u32, 4>();
    for (var j = 0u; j < 4u; j++) { // unroll
        row[j] = a_start(id.z) / 4u + min(m0 / 4u + j, (p.m - 1u) / 4u);
        column[j] = b_start(id.z) / 4u + min(n0 / 4u + j, (p.n - 1u) / 4u);
    }
    for (var k = 0u; k < p.k; k += 4u) {
        // Four rows at once: an accumulator is read and written once for the four.
        var x = array<vec4<f32>, 16>();
        for (var t = 0u; t < 4u; t++) { // unroll
            for (var i = 0u; i < 4u; i++) { // unroll
                let value = load_a(row[i] + min(k + t, p.k - 1u) * p.lda / 4u);
                x[t * 4u + i] = select(vec4(0.0), value, k + t < p.k);
            }
        }
        for (var j = 0u; j < 4u; j++) { // unroll
            let y0 = load_b(column[j] + k * p.ldb / 4u);
            let y1 = load_b(column[j] + min(k + 1u, p.k - 1u) * p.ldb / 4u);
            let y2 = load_b(column[j] + min(k + 2u, p.k - 1u) * p.ldb / 4u);
            let y3 = load_b(column[j] + min(k + 3u, p.k - 1u) * p.ldb / 4u);
            for (var i = 0u; i < 4u; i++) { // unroll
                for (var r = 0u; r < 4u; r++) { // unroll
                    let at = i * 16u + r * 4u + j;
                    acc[at] = fma(vec4(x[12u + i][r]), y3,
                        fma(vec4(x[8u + i][r]), y2, fma(vec4(x[4u + i][r]), y1, fma(vec4(x[i][r]), y0, acc[at]))));
                }
            }
        }
    }
    store(&acc, m0, n0, c_start(id.z));
}

// What all variants of the matrix product share: parameters, and where a matrix of the batch begins.
// Sizes and strides are in elements; leading dimensions, strides and bases are multiples of 4.
struct Params {
    m: u32, n: u32, k: u32,
    lda: u32, ldb: u32, ldc: u32,
    inner: u32, // matrices are numbered outer * inner + i
    a_base: u32, a_outer: u32, a_inner: u32,
    b_base: u32, b_outer: u32, b_inner: u32,
    c_base: u32, c_outer: u32, c_inner: u32,
    column: u32, // of the whole product, where this piece of it begins
    accumulate: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;

fn a_start(batch: u32) -> u32 {
    return p.a_base + batch / p.inner * p.a_outer + batch % p.inner * p.a_inner;
}

fn b_start(batch: u32) -> u32 {
    return p.b_base + batch / p.inner * p.b_outer + batch % p.inner * p.b_inner;
}

fn c_start(batch: u32) -> u32 {
    return p.c_base + batch / p.inner * p.c_outer + batch % p.inner * p.c_inner;
}

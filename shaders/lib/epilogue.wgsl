// What a matrix product makes of its sums on their way out, four of a row at a time.
//   v = scale sum (+ c) (+ bias) (+ other)
//   SLOPE: c = v gelu'(other)     GELU: c = v Φ(v), and v is kept where KEEP is set     else c = v
// `other` and `kept` are laid out as c is. RESULT is the binding of c: what is read stands before it.
#import lib/matmul
#import lib/narrow
#if GELU
#import lib/gelu
#end
#if SLOPE
#import lib/gelu
#end

@group(0) @binding(RESULT) var<storage, read_write> c: array<vec4<out_elem>>;
#if BIAS
@group(0) @binding(3) var<storage, read> bias: array<f32>;

// A piece of the whole product begins at column `p.column`.
fn epilogue_bias(n: u32) -> f32 {
    return bias[p.column + min(n, p.n - 1u)];
}
#end
#if OTHER
@group(0) @binding(RESULT - 1u) var<storage, read> other: array<vec4<elem>>;
#end
#if KEEP
@group(0) @binding(RESULT + 1u) var<storage, read_write> kept: array<vec4<elem>>;
#end

// Stores four sums, from column `n` on, as elements 4 `at`.. of c.
fn epilogue_store(at: u32, n: u32, sums: vec4<f32>) {
    var value = p.scale * sums;
    if (p.accumulate != 0u) { value += vec4<f32>(c[at]); }
#if BIAS
    value += vec4(epilogue_bias(n), epilogue_bias(n + 1u), epilogue_bias(n + 2u), epilogue_bias(n + 3u));
#end
#if SLOPE
    let x = vec4<f32>(other[at]);
    value *= vec4(gelu_slope(x.x), gelu_slope(x.y), gelu_slope(x.z), gelu_slope(x.w));
#else
#if OTHER
    value += vec4<f32>(other[at]);
#end
#end
#if KEEP
    kept[at] = narrow4(value);
#end
#if GELU
    value *= vec4(gelu_share(value.x), gelu_share(value.y), gelu_share(value.z), gelu_share(value.w));
#end
    c[at] = narrow_out4(value);
}

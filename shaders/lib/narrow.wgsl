// From f32 to what is stored: `elem`, or `out_elem` for what may be the gradient of a parameter.
// What rounds beyond 65504, the largest f16, becomes infinite here: of a conversion of 65520 or more, drivers may make
// 65504 as well, and a loss scale that waits for infinity would never learn of it.

#if HALVES_ARE_STORED
fn overflowing(x: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(x);
    let size = bits & vec4(0x7fffffffu);
    // 65520 and infinity; what lies beyond is NaN and stays that.
    let beyond = (size >= vec4(0x477ff000u)) & (size <= vec4(0x7f800000u));
    return bitcast<vec4<f32>>(select(bits, (bits & vec4(0x80000000u)) | vec4(0x7f800000u), beyond));
}

#if SATURATE
// As a driver converts whose f16 saturates: only infinity becomes infinite.
fn converted(x: vec4<f32>) -> vec4<f16> {
    let infinite = (bitcast<vec4<u32>>(x) & vec4(0x7fffffffu)) == vec4(0x7f800000u);
    return vec4<f16>(select(clamp(x, vec4(-65504.0), vec4(65504.0)), x, infinite));
}
#else
fn converted(x: vec4<f32>) -> vec4<f16> {
    return vec4<f16>(x);
}
#end
#end

#if F16
fn narrow4(x: vec4<f32>) -> vec4<elem> {
    return converted(overflowing(x));
}

fn narrow(x: f32) -> elem {
    return narrow4(vec4(x)).x;
}
#else
fn narrow4(x: vec4<f32>) -> vec4<elem> {
    return x;
}

fn narrow(x: f32) -> elem {
    return x;
}
#end

#if OUT_F16
fn narrow_out4(x: vec4<f32>) -> vec4<out_elem> {
    return converted(overflowing(x));
}

fn narrow_out(x: f32) -> out_elem {
    return narrow_out4(vec4(x)).x;
}
#else
fn narrow_out4(x: vec4<f32>) -> vec4<out_elem> {
    return x;
}

fn narrow_out(x: f32) -> out_elem {
    return x;
}
#end

// erf(x) as a rational function on |x| <= 3.8325, where it reaches 1 in f32.
fn erf(x: f32) -> f32 {
    let a = clamp(x, -3.8325069, 3.8325069);
    let s = a * a;
    var p = -2.7261423e-10;
    p = fma(p, s, 2.7706815e-08);
    p = fma(p, s, -2.101024e-06);
    p = fma(p, s, -5.6925062e-05);
    p = fma(p, s, -7.3499064e-04);
    p = fma(p, s, -2.954600e-03);
    p = fma(p, s, -1.6096033e-02);
    var q = -1.4566072e-05;
    q = fma(q, s, -2.1337405e-04);
    q = fma(q, s, -1.6828270e-03);
    q = fma(q, s, -7.3733293e-03);
    q = fma(q, s, -1.4264739e-02);
    return a * p / q;
}

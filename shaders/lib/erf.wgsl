// erf(x) as a ratio of polynomials up to the argument where it rounds to 1 in f32; exactly +-1 beyond.
fn erf(x: f32) -> f32 {
    let s = x * x;
    if (s >= 14.688109) { return sign(x); }
    var p = -2.72614225801306e-10;
    p = fma(p, s, 2.77068142495902e-08);
    p = fma(p, s, -2.10102402082508e-06);
    p = fma(p, s, -5.69250639462346e-05);
    p = fma(p, s, -7.34990630326855e-04);
    p = fma(p, s, -2.95459980854025e-03);
    p = fma(p, s, -1.60960333262415e-02);
    var q = -1.45660718464996e-05;
    q = fma(q, s, -2.13374055278905e-04);
    q = fma(q, s, -1.68282697438203e-03);
    q = fma(q, s, -7.37332916720468e-03);
    q = fma(q, s, -1.42647390514189e-02);
    return clamp(x * p / q, -1.0, 1.0);
}

// The exact Gaussian error linear unit, x Φ(x) (Hendrycks & Gimpel 2016), Φ the normal distribution function.
#import lib/erf

fn gelu_share(x: f32) -> f32 {
    return 0.5 + 0.5 * erf(x * 0.70710678);
}

fn gelu_slope(x: f32) -> f32 {
    let density = 0.39894228 * exp(-0.5 * x * x);
    return gelu_share(x) + x * density;
}

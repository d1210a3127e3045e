// Activation functions, one of them per variant, and their slopes.
//   RELU: max(x, 0), whose slope at 0 is 0     SILU: x s(x), s(x) = 1 / (1 + exp(-x)) (Elfwing et al. 2018)
//   GELU: x Φ(x) (Hendrycks & Gimpel 2016)
//   else: x s(2u), u = sqrt(2 / pi) (x + 0.044715 x^3): GELU with a hyperbolic tangent for its distribution function,
//         as 0.5 (1 + tanh(u)) = s(2u)
#import lib/gelu

// Its exponential never overflows.
fn activation_sigmoid(value: f32) -> f32 {
    let e = exp(-abs(value));
    return select(e, 1.0, value >= 0.0) / (1.0 + e);
}

// How steep 2u is.
fn activation_steepness(value: f32) -> f32 {
    return 1.5957691 * (1.0 + 0.134145 * value * value);
}

fn activation_value(value: f32) -> f32 {
#if RELU
    return max(value, 0.0);
#else
#if SILU
    return value * activation_sigmoid(value);
#else
#if GELU
    return value * gelu_share(value);
#else
    return value * activation_sigmoid(1.5957691 * value * (1.0 + 0.044715 * value * value));
#end
#end
#end
}

fn activation_slope(value: f32) -> f32 {
#if RELU
    return select(0.0, 1.0, value > 0.0);
#else
#if SILU
    let s = activation_sigmoid(value);
    return s + value * s * (1.0 - s);
#else
#if GELU
    return gelu_slope(value);
#else
    let s = activation_sigmoid(1.5957691 * value * (1.0 + 0.044715 * value * value));
    // Far from 0 the sigmoid is flat, however steep its argument.
    return s + value * s * (1.0 - s) * activation_steepness(value);
#end
#end
#end
}

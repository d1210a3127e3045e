// Activation functions beside the exact GELU and the hyperbolic tangent, one of them per variant.
//   RELU: y = max(x, 0)           SILU: y = x s(x), s(x) = 1 / (1 + exp(-x)) (Elfwing et al. 2018)
//   else: y = x s(2u), u = sqrt(2 / pi) (x + 0.044715 x^3): GELU with a hyperbolic tangent for its distribution function,
//         as 0.5 (1 + tanh(u)) = s(2u) (Hendrycks & Gimpel 2016)
//   d_x = d_y (slope of y at x); that of RELU at 0 is 0
// Launch: one invocation per element, folded by `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { elements: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>;
@group(0) @binding(2) var<storage, read_write> y: array<elem>;

// Its exponential never overflows.
fn sigmoid(value: f32) -> f32 {
    let e = exp(-abs(value));
    return select(e, 1.0, value >= 0.0) / (1.0 + e);
}

// How steep 2u is.
fn steepness(value: f32) -> f32 {
    return 1.5957691 * (1.0 + 0.134145 * value * value);
}

fn activated(value: f32) -> f32 {
#if RELU
    return max(value, 0.0);
#else
#if SILU
    return value * sigmoid(value);
#else
    return value * sigmoid(1.5957691 * value * (1.0 + 0.044715 * value * value));
#end
#end
}

fn slope(value: f32) -> f32 {
#if RELU
    return select(0.0, 1.0, value > 0.0);
#else
#if SILU
    let s = sigmoid(value);
    return s + value * s * (1.0 - s);
#else
    let s = sigmoid(1.5957691 * value * (1.0 + 0.044715 * value * value));
    // Far from 0 the sigmoid is flat, however steep its argument.
    return s + value * s * (1.0 - s) * steepness(value);
#end
#end
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.elements) { return; }
    y[i] = narrow(activated(f32(x[i])));
}

@group(0) @binding(2) var<storage, read> d_y: array<elem>;
@group(0) @binding(3) var<storage, read_write> d_x: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.elements) { return; }
    d_x[i] = narrow(f32(d_y[i]) * slope(f32(x[i])));
}

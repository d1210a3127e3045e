// Product of the two halves of each row, of which one goes through an activation function: a gated linear unit (Dauphin et
// al. 2017; Shazeer 2020).
//   y = act(g) u           g = x[.., gate..], u = x[.., up..], of F columns each
//   d_g = d_y u act'(g)    d_u = d_y act(g)
// Launch: one invocation per element of y, folded by `linear_index`.
#import lib/activation
#import lib/grid
#import lib/narrow

struct Params { elements: u32, columns: u32, gate: u32, up: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>; // [N, 2F]
@group(0) @binding(2) var<storage, read_write> y: array<elem>; // [N, F]

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.elements) { return; }
    let start = 2u * (i / p.columns) * p.columns + i % p.columns;
    y[i] = narrow(activation_value(f32(x[start + p.gate])) * f32(x[start + p.up]));
}

@group(0) @binding(2) var<storage, read> d_y: array<elem>; // [N, F]
@group(0) @binding(3) var<storage, read_write> d_x: array<elem>; // [N, 2F]

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.elements) { return; }
    let start = 2u * (i / p.columns) * p.columns + i % p.columns;
    let gate = f32(x[start + p.gate]);
    let d = f32(d_y[i]);
    d_x[start + p.gate] = narrow(d * f32(x[start + p.up]) * activation_slope(gate));
    d_x[start + p.up] = narrow(d * activation_value(gate));
}

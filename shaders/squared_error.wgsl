// Squared error of the first column of each row against a number.
//   loss = w (x[0] - target)^2       d_x[0] = 2 d_loss w (x[0] - target), the other columns 0
// Where w = 0, loss and gradient are 0 whatever x is.
// Launch: forward: one invocation per row; backward: one per element of x. Folded by `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { rows: u32, stride: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>; // [M, S]
@group(0) @binding(2) var<storage, read> targets: array<f32>; // [M]
@group(0) @binding(3) var<storage, read> weights: array<f32>; // [M]
@group(0) @binding(4) var<storage, read_write> loss: array<f32>; // [M]

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, WORKGROUP);
    if (row >= p.rows) { return; }
    let difference = f32(x[row * p.stride]) - targets[row];
    loss[row] = select(weights[row] * difference * difference, 0.0, weights[row] == 0.0);
}

@group(0) @binding(4) var<storage, read> d_loss: array<f32>; // [M]
@group(0) @binding(5) var<storage, read_write> d_x: array<elem>; // [M, S]

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.rows * p.stride) { return; }
    let row = i / p.stride;
    let used = i % p.stride == 0u && weights[row] != 0.0;
    d_x[i] = narrow(select(0.0, 2.0 * d_loss[row] * weights[row] * (f32(x[i]) - targets[row]), used));
}

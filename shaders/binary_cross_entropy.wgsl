// Binary cross entropy of each row's first K columns (the other columns of the S are ignored), the mean over them.
//   loss = w / K sum (ln(1 + exp(x)) - target x)      d_x = d_loss w / K (1 / (1 + exp(-x)) - target)
// Where w = 0, loss and gradient are 0 whatever x is.
// Launch: a workgroup of LANES invocations per row.
#import lib/grid
#import lib/reduce
#import lib/narrow

struct Params { rows: u32, stride: u32, labels: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>; // [M, S]
@group(0) @binding(2) var<storage, read> targets: array<f32>; // [M, K]
@group(0) @binding(3) var<storage, read> weights: array<f32>; // [M]
@group(0) @binding(4) var<storage, read_write> loss: array<f32>; // [M]

@compute @workgroup_size(LANES)
fn forward(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = linear_index(group, groups, 1u);
    if (row >= p.rows) { return; }
    let weight = weights[row];
    let labels = select(p.labels, 0u, weight == 0.0);
    var sum = 0.0;
    for (var k = lane; k < labels; k += LANES) {
        let value = f32(x[row * p.stride + k]);
        // No exponential overflows: ln(1 + exp(x)) = max(x, 0) + ln(1 + exp(-|x|)).
        sum += max(value, 0.0) + log(1.0 + exp(-abs(value))) - targets[row * p.labels + k] * value;
    }
    sum = reduce_sum(sum, lane);
    if (lane != 0u) { return; }
    loss[row] = select(weight * sum / f32(p.labels), 0.0, weight == 0.0);
}

@group(0) @binding(4) var<storage, read> d_loss: array<f32>; // [M]
@group(0) @binding(5) var<storage, read_write> d_x: array<elem>; // [M, S]

@compute @workgroup_size(LANES)
fn backward(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = linear_index(group, groups, 1u);
    if (row >= p.rows) { return; }
    let weight = weights[row];
    let labels = select(p.labels, 0u, weight == 0.0);
    let scale = select(d_loss[row] * weight / f32(p.labels), 0.0, weight == 0.0);
    for (var k = lane; k < p.stride; k += LANES) {
        let value = f32(x[row * p.stride + k]);
        let small = exp(-abs(value));
        let share = select(small, 1.0, value > 0.0) / (1.0 + small);
        let target_share = targets[row * p.labels + min(k, p.labels - 1u)];
        d_x[row * p.stride + k] = narrow(select(0.0, scale * (share - target_share), k < labels));
    }
}

// Cross entropy of the softmax of each row's first V columns (the other columns of the S are ignored).
//   loss = w (ln sum exp(l - max) - (l[label] - max))       d_l = d_loss w (softmax(l) - onehot(label))
//   correct = 1 where the greatest logit, the first of equals, is the label's and w > 0
// Where w = 0, loss and gradient are 0 whatever the logits are. A label past V counts as V - 1.
// Launch: a workgroup of LANES invocations per row.
#import lib/grid
#import lib/reduce

struct Params { rows: u32, stride: u32, classes: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> logits: array<elem>; // [M, S]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [M]
@group(0) @binding(3) var<storage, read> weights: array<f32>; // [M]
@group(0) @binding(4) var<storage, read_write> loss: array<f32>; // [M]
@group(0) @binding(5) var<storage, read_write> correct: array<f32>; // [M]
@group(0) @binding(6) var<storage, read_write> stats: array<vec2<f32>>; // [M]: max, ln sum exp(l - max)

@compute @workgroup_size(LANES)
fn forward(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = linear_index(group, groups, 1u);
    if (row >= p.rows) { return; }
    let start = row * p.stride;
    let weight = weights[row];
    let classes = select(p.classes, 0u, weight == 0.0);
    // Eight columns at a time: more loads under way, and sums of sums, which keep the digits of late terms.
    var greatest = f32(logits[start]);
    for (var block = lane; block < classes; block += 8u * LANES) {
        for (var k = 0u; k < 8u; k++) { // unroll
            greatest = max(greatest, f32(logits[start + min(block + k * LANES, classes - 1u)]));
        }
    }
    greatest = reduce_max(greatest, lane);
    let label = min(labels[row], p.classes - 1u);
    let chosen = f32(logits[start + label]);
    var sum = 0.0;
    var ahead = 0.0; // positive when a logit comes before the label's; NaN does
    for (var block = lane; block < classes; block += 8u * LANES) {
        var part = 0.0;
        for (var k = 0u; k < 8u; k++) { // unroll
            let c = block + k * LANES;
            let logit = f32(logits[start + min(c, classes - 1u)]);
            part += select(0.0, exp(logit - greatest), c < classes);
            ahead += select(1.0, 0.0, logit < chosen || (logit == chosen && c >= label));
        }
        sum += part;
    }
    let log_sum = log(reduce_sum(sum, lane));
    ahead = reduce_sum(ahead, lane);
    if (lane != 0u) { return; }
    stats[row] = vec2(greatest, log_sum);
    loss[row] = select(weight * (log_sum - (chosen - greatest)), 0.0, weight == 0.0);
    correct[row] = select(0.0, 1.0, ahead == 0.0 && weight > 0.0);
}

@group(0) @binding(4) var<storage, read> saved: array<vec2<f32>>; // stats
@group(0) @binding(5) var<storage, read> d_loss: array<f32>; // [M]
@group(0) @binding(6) var<storage, read_write> d_logits: array<elem>; // [M, S]

@compute @workgroup_size(LANES)
fn backward(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = linear_index(group, groups, 1u);
    if (row >= p.rows) { return; }
    let start = row * p.stride;
    let stat = saved[row];
    let weight = weights[row];
    let scale = select(weight * d_loss[row], 0.0, weight == 0.0);
    let label = min(labels[row], p.classes - 1u);
    let classes = select(p.classes, 0u, weight == 0.0);
    for (var block = lane; block < p.stride; block += 8u * LANES) {
        for (var k = 0u; k < 8u; k++) { // unroll
            let c = block + k * LANES;
            if (c < p.stride) {
                var gradient = 0.0;
                if (c < classes) {
                    gradient = exp(f32(logits[start + c]) - stat.x - stat.y) - select(0.0, 1.0, c == label);
                }
                d_logits[start + c] = elem(scale * gradient);
            }
        }
    }
}

// Cross entropy of the softmax of each row's first V columns (the other columns of the S are ignored).
//   loss = w (ln sum exp(l - max) - (l[label] - max))       d_l = d_loss w (softmax(l) - onehot(label))
//   correct = 1 where the greatest logit, the first of equals, is the label's and w > 0
// Where w = 0, loss and gradient are 0 whatever the logits are. A label past V counts as V - 1.
// in_place: as backward, and the gradient takes the place of the logits.
// Launch: a workgroup of LANES invocations per row.
#import lib/grid
#import lib/reduce
#import lib/narrow

struct Params { rows: u32, stride: u32, classes: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> labels: array<u32>; // [M]
@group(0) @binding(2) var<storage, read> weights: array<f32>; // [M]
@group(0) @binding(3) var<storage, read> logits: array<elem>; // [M, S]
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

@group(0) @binding(3) var<storage, read> saved: array<vec2<f32>>; // stats
@group(0) @binding(4) var<storage, read> d_loss: array<f32>; // [M]
@group(0) @binding(5) var<storage, read> kept: array<elem>; // logits
@group(0) @binding(6) var<storage, read_write> d_logits: array<elem>; // [M, S]

// What the gradients of a row's logits have in common.
struct Row { start: u32, label: u32, classes: u32, scale: f32, stat: vec2<f32> }

fn row_of(row: u32) -> Row {
    let weight = weights[row];
    return Row(
        row * p.stride,
        min(labels[row], p.classes - 1u),
        select(p.classes, 0u, weight == 0.0),
        select(weight * d_loss[row], 0.0, weight == 0.0),
        saved[row],
    );
}

// The gradient of the logit of class c; of a column that is none, 0.
fn gradient(row: Row, c: u32, logit: elem) -> elem {
    let share = exp(f32(logit) - row.stat.x - row.stat.y);
    return narrow(select(0.0, row.scale * (share - select(0.0, 1.0, c == row.label)), c < row.classes));
}

@compute @workgroup_size(LANES)
fn backward(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = linear_index(group, groups, 1u);
    if (index >= p.rows) { return; }
    let row = row_of(index);
    for (var block = lane; block < p.stride; block += 8u * LANES) {
        for (var k = 0u; k < 8u; k++) { // unroll
            let c = block + k * LANES;
            if (c < p.stride) { d_logits[row.start + c] = gradient(row, c, kept[row.start + c]); }
        }
    }
}

@group(0) @binding(5) var<storage, read_write> replaced: array<elem>; // logits, then their gradient

@compute @workgroup_size(LANES)
fn in_place(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = linear_index(group, groups, 1u);
    if (index >= p.rows) { return; }
    let row = row_of(index);
    for (var block = lane; block < p.stride; block += 8u * LANES) {
        for (var k = 0u; k < 8u; k++) { // unroll
            let c = block + k * LANES;
            if (c < p.stride) { replaced[row.start + c] = gradient(row, c, replaced[row.start + c]); }
        }
    }
}

// Sum over rows, and its gradient.
//   forward:  y_w = sum_r x_rw      backward: d_x_rw = d_y_w
// PARTS invocations of a workgroup share a column: each sums every PARTS-th row in order, then the parts are summed in
// order. With TWO, columns from `first` on go into a second result.
// Launch: forward: WORKGROUP invocations for each WORKGROUP / PARTS columns; backward: one per element of x. Folded by
//   `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { rows: u32, width: u32, first: u32, accumulate: u32, accumulate_rest: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>; // [R, W]
@group(0) @binding(2) var<storage, read_write> y: array<out_elem>; // [W], or its first columns
#if TWO
@group(0) @binding(3) var<storage, read_write> rest: array<out_elem>; // [W - first]
#end

#if PARTS
const COLUMNS = WORKGROUP / PARTS;
var<workgroup> sums: array<f32, WORKGROUP>;
#end

// In the order of the rows; four are read at once, for each read takes long.
fn sum_of_rows(column: u32, first: u32, step: u32) -> f32 {
    var total = 0.0;
    var row = first;
    for (; row + 3u * step < p.rows; row += 4u * step) {
        var four: array<f32, 4>;
        for (var i = 0u; i < 4u; i++) { // unroll
            four[i] = f32(x[(row + i * step) * p.width + column]);
        }
        for (var i = 0u; i < 4u; i++) { // unroll
            total += four[i];
        }
    }
    for (; row < p.rows; row += step) { total += f32(x[row * p.width + column]); }
    return total;
}

fn store(column: u32, sum: f32) {
#if TWO
    if (column >= p.first) {
        let c = column - p.first;
        var total = sum;
        if (p.accumulate_rest != 0u) { total += f32(rest[c]); }
        rest[c] = narrow_out(total);
        return;
    }
#end
    var total = sum;
    if (p.accumulate != 0u) { total += f32(y[column]); }
    y[column] = narrow_out(total);
}

@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
#if PARTS
    let column = linear_index(group, groups, 1u) * COLUMNS + lane % COLUMNS;
    var part = 0.0;
    if (column < p.width) { part = sum_of_rows(column, lane / COLUMNS, PARTS); }
    sums[lane] = part;
    workgroupBarrier();
    if (lane >= COLUMNS || column >= p.width) { return; }
    var total = 0.0;
    for (var i = lane; i < WORKGROUP; i += COLUMNS) { total += sums[i]; }
    store(column, total);
#else
    let column = linear_index(group, groups, 1u) * WORKGROUP + lane;
    if (column < p.width) { store(column, sum_of_rows(column, 0u, 1u)); }
#end
}

@group(0) @binding(1) var<storage, read> d_y: array<elem>;
@group(0) @binding(2) var<storage, read_write> d_x: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.rows * p.width) { d_x[i] = d_y[i % p.width]; }
}

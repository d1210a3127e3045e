// Sum over rows, and its gradient.
//   forward:  y_w = sum_r x_rw, in the order of the rows      backward: d_x_rw = d_y_w
// Launch: forward: one invocation per column; backward: one per element of x. Folded by `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { rows: u32, width: u32, accumulate: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>;
@group(0) @binding(2) var<storage, read_write> y: array<out_elem>;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let column = linear_index(id, groups, WORKGROUP);
    if (column >= p.width) { return; }
    var total = 0.0;
    for (var row = 0u; row < p.rows; row++) { total += f32(x[row * p.width + column]); }
    if (p.accumulate != 0u) { total += f32(y[column]); }
    y[column] = narrow_out(total);
}

@group(0) @binding(1) var<storage, read> d_y: array<elem>;
@group(0) @binding(2) var<storage, read_write> d_x: array<elem>;

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i < p.rows * p.width) { d_x[i] = d_y[i % p.width]; }
}

// What lib/epilogue adds to the sums of a matrix product, in a pass of its own.
//   c = c (+ bias) (+ other)
// Rows are `stride` wide; the columns from `columns` on (padding) stay as they are.
// Launch: one invocation per element, folded by `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { rows: u32, columns: u32, stride: u32 }
@group(0) @binding(0) var<uniform> p: Params;

#if BIAS
@group(0) @binding(1) var<storage, read> bias: array<f32>; // [C]
#end
#if OTHER
@group(0) @binding(RESULT - 1u) var<storage, read> other: array<elem>; // [N, S]
#end
@group(0) @binding(RESULT) var<storage, read_write> c: array<elem>; // [N, S]

@compute @workgroup_size(WORKGROUP)
fn add(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    let column = i % p.stride;
    if (i >= p.rows * p.stride || column >= p.columns) { return; }
    var value = f32(c[i]);
#if BIAS
    value += bias[column];
#end
#if OTHER
    value += f32(other[i]);
#end
    c[i] = narrow(value);
}

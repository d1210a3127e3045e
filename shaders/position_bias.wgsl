// A bias to each head and distance, from a table of fewer buckets (Raffel et al. 2020), and sums over queries for its gradient.
//   forward:  y_hr = table_map(r),h
//   backward: d_table_kh (+)= sum of d_y_hr over the distances r with map(r) = k
//   queries:  sums_nr = sum over t of x_ntr
// Launch: forward: one invocation per element of y; backward: per element of the table; queries: per element of the sums.
#import lib/grid
#import lib/narrow

struct Params { buckets: u32, heads: u32, distances: u32, tokens: u32, rows: u32, accumulate: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> table: array<elem>; // [K, H]
@group(0) @binding(2) var<storage, read> bucket_of: array<u32>; // [R]
@group(0) @binding(3) var<storage, read_write> y: array<elem>; // [H, R]

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.heads * p.distances) { return; }
    let bucket = min(bucket_of[i % p.distances], p.buckets - 1u);
    y[i] = table[bucket * p.heads + i / p.distances];
}

@group(0) @binding(1) var<storage, read> d_y: array<elem>; // [H, R]
@group(0) @binding(3) var<storage, read_write> d_table: array<out_elem>; // [K, H]

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.buckets * p.heads) { return; }
    let bucket = i / p.heads;
    var sum = 0.0;
    if (p.accumulate != 0u) { sum = f32(d_table[i]); }
    for (var r = 0u; r < p.distances; r++) {
        if (min(bucket_of[r], p.buckets - 1u) == bucket) { sum += f32(d_y[i % p.heads * p.distances + r]); }
    }
    d_table[i] = narrow_out(sum);
}

@group(0) @binding(1) var<storage, read> x: array<elem>; // [N, T, R]
@group(0) @binding(2) var<storage, read_write> sums: array<f32>; // [N, R]

@compute @workgroup_size(WORKGROUP)
fn queries(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, WORKGROUP);
    if (i >= p.rows * p.distances) { return; }
    let start = i / p.distances * p.tokens * p.distances + i % p.distances;
    var sum = 0.0;
    for (var t = 0u; t < p.tokens; t++) { sum += f32(x[start + t * p.distances]); }
    sums[i] = sum;
}

// Each row divided by its L2 norm.
//   y = x / |x|        d_x = (d_y - y (y . d_y)) / |x|        where |x| > 1e-12; else y = 0, d_x = 0
// Launch: one invocation per row, folded by `linear_index`.
#import lib/grid
#import lib/narrow

struct Params { rows: u32, columns: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<elem>; // [N, C]
@group(0) @binding(2) var<storage, read_write> y: array<elem>; // [N, C]

// 1 / |x| of the row that begins at `start`, or 0.
fn inverse_norm(start: u32) -> f32 {
    var largest = 0.0;
    for (var c = 0u; c < p.columns; c++) { largest = max(largest, abs(f32(x[start + c]))); }
    if (largest <= 1.0e-12) { return 0.0; }
    // Squares of the quotients neither overflow nor vanish.
    var squares = 0.0;
    for (var c = 0u; c < p.columns; c++) {
        let quotient = f32(x[start + c]) / largest;
        squares += quotient * quotient;
    }
    return 1.0 / (largest * sqrt(squares));
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, WORKGROUP);
    if (row >= p.rows) { return; }
    let start = row * p.columns;
    let scale = inverse_norm(start);
    for (var c = 0u; c < p.columns; c++) { y[start + c] = narrow(f32(x[start + c]) * scale); }
}

@group(0) @binding(2) var<storage, read> d_y: array<elem>; // [N, C]
@group(0) @binding(3) var<storage, read_write> d_x: array<elem>; // [N, C]

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, WORKGROUP);
    if (row >= p.rows) { return; }
    let start = row * p.columns;
    let scale = inverse_norm(start);
    var along = 0.0;
    for (var c = 0u; c < p.columns; c++) { along += f32(x[start + c]) * scale * f32(d_y[start + c]); }
    for (var c = 0u; c < p.columns; c++) {
        d_x[start + c] = narrow(scale * (f32(d_y[start + c]) - f32(x[start + c]) * scale * along));
    }
}

// What the device makes of f32 values that f16 cannot hold: its own conversion, which kernels reach through lib/narrow.
//   y_i = f16(x_i)
// Launch: one invocation per element.
struct Params { elements: u32 }
@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<elem>;

fn converted(value: f32) -> elem {
    return elem(value);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < p.elements) { y[id.x] = converted(x[id.x]); }
}

// One index per invocation from a grid folded into two dimensions.
// id: global_invocation_id; groups: num_workgroups; size: invocations per workgroup along x.
fn linear_index(id: vec3<u32>, groups: vec3<u32>, size: u32) -> u32 {
    return id.y * (groups.x * size) + id.x;
}

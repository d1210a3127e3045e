// The sum or the greatest of one value per lane, over the LANES lanes (a power of two) of a row; every lane gets
// it. For workgroups of (LANES, ROWS); the order of the additions is fixed. One lane needs no barrier.
// lane: local_invocation_id. Every invocation of the workgroup must arrive.
var<workgroup> reduce_values: array<f32, LANES * ROWS>;

fn reduce_sum(value: f32, lane: vec3<u32>) -> f32 {
    if (LANES == 1u) { return value; }
    let at = lane.y * LANES + lane.x;
    workgroupBarrier(); // the previous result has been read
    reduce_values[at] = value;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if (lane.x < step) { reduce_values[at] += reduce_values[at + step]; }
        workgroupBarrier();
    }
    return reduce_values[lane.y * LANES];
}

fn reduce_max(value: f32, lane: vec3<u32>) -> f32 {
    if (LANES == 1u) { return value; }
    let at = lane.y * LANES + lane.x;
    workgroupBarrier(); // the previous result has been read
    reduce_values[at] = value;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if (lane.x < step) { reduce_values[at] = max(reduce_values[at], reduce_values[at + step]); }
        workgroupBarrier();
    }
    return reduce_values[lane.y * LANES];
}

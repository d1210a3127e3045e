// The sum or the greatest of one value per lane, over a workgroup of LANES lanes (a power of two); every lane gets
// it. The order of the additions is fixed. Every lane must arrive.
// lane: local_invocation_index.
var<workgroup> reduce_values: array<f32, LANES>;

fn reduce_sum(value: f32, lane: u32) -> f32 {
    workgroupBarrier(); // the previous result has been read
    reduce_values[lane] = value;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if (lane < step) { reduce_values[lane] += reduce_values[lane + step]; }
        workgroupBarrier();
    }
    return reduce_values[0];
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    workgroupBarrier(); // the previous result has been read
    reduce_values[lane] = value;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if (lane < step) { reduce_values[lane] = max(reduce_values[lane], reduce_values[lane + step]); }
        workgroupBarrier();
    }
    return reduce_values[0];
}

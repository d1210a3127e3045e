// The sum or the greatest of one value per lane, over a workgroup of LANES lanes (a multiple of 8); every lane gets it.
// The order of the additions is fixed. Every lane must arrive, and every lane stores what the others load: where only
// some lanes store before a barrier, some of Metal's compilers have lost the barrier.
// lane: local_invocation_index.
var<workgroup> reduce_values: array<f32, LANES>;
var<workgroup> reduce_parts: array<f32, LANES>;

fn reduce_sum(value: f32, lane: u32) -> f32 {
    workgroupBarrier(); // the previous result has been read
    reduce_values[lane] = value;
    workgroupBarrier();
    // Every eighth value from lane % 8 on: the first eight lanes hold all parts, the others hold them again.
    var part = 0.0;
    for (var i = lane % 8u; i < LANES; i += 8u) { part += reduce_values[i]; }
    reduce_parts[lane] = part;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < 8u; i++) { sum += reduce_parts[i]; }
    return sum;
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    workgroupBarrier(); // the previous result has been read
    reduce_values[lane] = value;
    workgroupBarrier();
    var part = reduce_values[lane % 8u];
    for (var i = lane % 8u + 8u; i < LANES; i += 8u) { part = max(part, reduce_values[i]); }
    reduce_parts[lane] = part;
    workgroupBarrier();
    var greatest = reduce_parts[0];
    for (var i = 1u; i < 8u; i++) { greatest = max(greatest, reduce_parts[i]); }
    return greatest;
}

// Random bits that are counted, not drawn in turn: uniform over 32 bits, a function of (key, site, i) alone.
// `random_mix` is Wellons's lowbias32.
fn random_mix(value: u32) -> u32 {
    var x = value;
    x ^= x >> 16u;
    x *= 0x7feb352du;
    x ^= x >> 15u;
    x *= 0x846ca68bu;
    return x ^ (x >> 16u);
}

fn random_bits(key: vec2<u32>, site: u32, i: u32) -> u32 {
    return random_mix(random_mix(i ^ random_mix(key.x ^ site)) ^ key.y);
}

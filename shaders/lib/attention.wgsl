// What the kernels of fused attention share: where things lie, and what a logit and a probability are made of. The file
// that imports this declares `bounds`, and `key` of dropout.
#import lib/grid
#import lib/random
#import lib/narrow

struct Params {
    sequences: u32, tokens: u32, heads: u32, stride: u32, buckets: u32,
    first: u32, accumulate: u32, // block of the first workgroup
    site: u32, threshold: u32, kept: f32, // dropout
    scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;

const WIDTH: u32 = SIZE / 4u; // vectors in a row of a head

// BLOCK rows of one head.
struct Block { sequence: u32, head: u32, first: u32 }

fn block_of(group: u32) -> Block {
    let blocks = (p.tokens + BLOCK - 1u) / BLOCK;
    let batch = group / blocks;
    return Block(batch / p.heads, batch % p.heads, group % blocks * BLOCK);
}

// Where row 0 of queries (0), keys (1) or values (2) begins, in vectors; rows are 3 H WIDTH apart.
fn origin(block: Block, part: u32) -> u32 {
    return ((block.sequence * p.tokens * 3u + part) * p.heads + block.head) * WIDTH;
}

// The same in y and d_y, whose rows are H WIDTH apart.
fn origin_y(block: Block) -> u32 {
    return (block.sequence * p.tokens * p.heads + block.head) * WIDTH;
}

// Row i of the block's head among the rows of all heads.
fn row_of(block: Block, i: u32) -> u32 {
    return (block.sequence * p.heads + block.head) * p.tokens + i;
}

// What token i attends to; nothing past the end of the sequence.
fn limits_of(block: Block, i: u32) -> vec2<u32> {
    let limits = bounds[block.sequence * p.tokens + min(i, p.tokens - 1u)];
    return select(vec2<u32>(), vec2(limits.x, min(limits.y, p.tokens)), i < p.tokens);
}

// The range that holds everything the block's rows attend to.
fn hull(block: Block) -> vec2<u32> {
    var range = vec2(p.tokens, 0u);
    for (var row = 0u; row < BLOCK; row++) {
        let limits = limits_of(block, block.first + row);
        if (limits.x < limits.y) { range = vec2(min(range.x, limits.x), max(range.y, limits.y)); }
    }
    return range;
}

// Shaw et al. 2018: distances are clamped, negative ones wrap around.
fn bucket(i: u32, j: u32) -> u32 {
    let half = i32(p.buckets / 2u);
    let distance = clamp(i32(j) - i32(i), -half, half - 1);
    return u32(distance + select(0, i32(p.buckets), distance < 0));
}

// Where `relative` has the row of a query.
fn relative_row(row: u32) -> u32 {
    if (RELATIVE == 2u) { return row / p.tokens % p.heads; }
    return row;
}

fn factor(block: Block, i: u32, j: u32) -> f32 {
    if (DROPOUT == 0u) { return 1.0; }
    let drawn = random_bits(vec2(key[0], key[1]), p.site, row_of(block, i) * p.stride + j);
    return select(0.0, p.kept, drawn >= p.threshold);
}

//! How products are laid over matrix units: the constants of `matmul_cooperative.wgsl`.

use crate::gpu::{Constant, F16, TILE};
use crate::ops::units::Units;

/// Elements along k that a workgroup takes at once: `DEPTH` of the shader.
const DEPTH: u32 = 32;

/// The constants for workgroups of 64 x 64 outputs: 2 x 2 subgroups of 32 x 32.
pub(super) const fn constants(units: Units) -> [Constant; 9] {
    let Units { tile, subgroup, half, vectors } = units;
    let tiles = 32 / tile;
    [
        (F16, half as u32),
        (TILE, tile),
        ("SUBGROUP", subgroup),
        ("ROWS", tiles),
        ("COLS", tiles),
        ("LOADS", 64 * DEPTH / 4 / (4 * subgroup)),
        ("STEPS", DEPTH / tile),
        ("PARTS", (tile * tile / 4).div_ceil(subgroup)),
        ("VECTORS", vectors as u32),
    ]
}

/// All that products of a layout take, for the shader tests.
pub(super) const fn example(units: Units, layout: Constant, [a, b, c, d]: [Constant; 4]) -> [Constant; 14] {
    let [e, f, g, h, i, j, k, l, m] = constants(units);
    [layout, a, b, c, d, e, f, g, h, i, j, k, l, m]
}

//! How products are laid over matrix units: the constants of `matmul_cooperative.wgsl`.

use crate::gpu::{Constant, F16, TILE};

/// The units of a device, and how their invocations go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Units {
    /// The edge of the tiles they take: 16 or 8.
    pub tile: u32,
    /// Invocations of a subgroup.
    pub subgroup: u32,
    /// Whether operands are f16; else f32.
    pub half: bool,
    /// Whether tiles are loaded from arrays of vectors; Metal takes scalars alone.
    pub vectors: bool,
}

/// Elements along k that a workgroup takes at once: `DEPTH` of the shader.
const DEPTH: u32 = 32;

impl Units {
    /// The constants for workgroups of 64 x 64 outputs: 2 x 2 subgroups of 32 x 32.
    pub(super) const fn constants(self) -> [Constant; 9] {
        let Units { tile, subgroup, half, vectors } = self;
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
    pub(super) const fn example(self, layout: Constant, [a, b, c, d]: [Constant; 4]) -> [Constant; 14] {
        let [e, f, g, h, i, j, k, l, m] = self.constants();
        [layout, a, b, c, d, e, f, g, h, i, j, k, l, m]
    }
}

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
    /// Whether workgroups of 128 x 128 outputs are written for these units, and fit so many bytes of workgroup memory.
    pub fn has_large(self, workgroup_bytes: u32) -> bool {
        let waves = if self.subgroup <= 32 { 8 } else { 4 };
        let bytes = 2 * 128 * (DEPTH + 8) * 2 + waves * self.tile * self.tile * 4;
        self.tile == 16 && self.half && bytes <= workgroup_bytes
    }

    /// The constants for workgroups of 64 x 64 outputs, or of 128 x 128.
    pub const fn constants(self, large: bool) -> [Constant; 12] {
        let Units { tile, subgroup, half, vectors } = self;
        // Tiles of a subgroup, and subgroups of a workgroup, along m and n.
        let (rows, cols, waves_m, waves_n) = match (large, tile) {
            (false, 16) => (2, 2, 2, 2),
            (false, _) => (4, 4, 2, 2),
            // 256 invocations at most.
            (true, _) if subgroup <= 32 => (4, 2, 2, 4),
            (true, _) => (4, 4, 2, 2),
        };
        let threads = waves_m * waves_n * subgroup;
        let vectors_of_tile = tile * tile / 4;
        [
            (F16, half as u32),
            (TILE, tile),
            ("SUBGROUP", subgroup),
            ("ROWS", rows),
            ("COLS", cols),
            ("WAVES_M", waves_m),
            ("WAVES_N", waves_n),
            ("LOADS_A", waves_m * rows * tile * DEPTH / 4 / threads),
            ("LOADS_B", waves_n * cols * tile * DEPTH / 4 / threads),
            ("STEPS", DEPTH / tile),
            ("PARTS", vectors_of_tile.div_ceil(subgroup)),
            ("VECTORS", vectors as u32),
        ]
    }

    /// All that products of a layout take, for the shader tests.
    pub const fn example(self, large: bool, layout: Constant, [a, b, c, d]: [Constant; 4]) -> [Constant; 17] {
        let [e, f, g, h, i, j, k, l, m, n, o, p] = self.constants(large);
        [layout, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

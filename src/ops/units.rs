//! The matrix units of a device, as kernels are compiled for them.

use crate::gpu::Capabilities;
use crate::tensor::DType;

/// Matrix units, and how their invocations go together.
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

/// NVIDIA's and AMD's units, Apple's for f16 and f32, and those that lavapipe has.
pub(super) const NVIDIA: Units = Units { tile: 16, subgroup: 32, half: true, vectors: true };
pub(super) const AMD: Units = Units { subgroup: 64, ..NVIDIA };
pub(super) const APPLE: Units = Units { tile: 8, subgroup: 32, half: true, vectors: false };
pub(super) const APPLE_F32: Units = Units { half: false, ..APPLE };
pub(super) const LAVAPIPE: Units = Units { tile: 8, subgroup: 8, half: true, vectors: true };

impl Units {
    /// Those of a device that products of what is stored as `storage` run on.
    pub(super) fn of(capabilities: &Capabilities, storage: DType) -> Option<Units> {
        let operands = DType::from(capabilities.matrix_operands?);
        let (tile, subgroup) = (capabilities.matrix_tile?, capabilities.matrix_subgroup?);
        let (half, vectors) = (operands == DType::F16, capabilities.backend != "metal");
        (operands == storage).then_some(Units { tile, subgroup, half, vectors })
    }
}

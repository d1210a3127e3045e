//! Which form of attention is recorded.

use serde::Serialize;

use crate::gpu::{AdapterKind, Capabilities};
use crate::tensor::DType;

/// The forms of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Matrix products with a softmax between them; the probabilities `[B, H, T, Tp]` are stored.
    Unfused,
    /// One kernel each way that keeps a number per row.
    Fused,
}

impl Form {
    /// The widest head (D) that is fused.
    pub const WIDEST_FUSED: usize = 128;

    /// The form for sequences of `tokens` (T) and heads of `size` (D). Dropout is the same work in both.
    ///
    /// - On adapters that are CPUs the unfused form, several times as fast on lavapipe: its products read through
    ///   textures.
    /// - On GPUs the fused one: it moves and keeps O(T) where the other stores T² per head.
    /// - With matrix units the products of the unfused form run on them, and short rows of probabilities are cheap to
    ///   store as f16; from 256 tokens on their memory weighs more.
    ///
    /// No GPU has measured the last two yet.
    pub fn choose(capabilities: &Capabilities, storage: DType, tokens: usize, size: usize) -> Self {
        let units = capabilities.matrix_tile.is_some() && storage == DType::F16;
        Self::of(capabilities.kind, units, tokens, size)
    }

    fn of(kind: AdapterKind, units: bool, tokens: usize, size: usize) -> Self {
        match kind {
            AdapterKind::Software => Form::Unfused,
            AdapterKind::Plain if size > Self::WIDEST_FUSED || (units && tokens < LONG) => Form::Unfused,
            AdapterKind::Plain => Form::Fused,
        }
    }
}

/// T from which probabilities take more memory than matrix units are worth.
const LONG: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_units_keep_short_sequences() {
        use AdapterKind::{Plain, Software};
        assert_eq!(Form::of(Plain, false, 128, 64), Form::Fused);
        assert_eq!(Form::of(Plain, true, 128, 64), Form::Unfused);
        assert_eq!(Form::of(Plain, true, 512, 64), Form::Fused);
        assert_eq!(Form::of(Plain, false, 128, 132), Form::Unfused);
        assert_eq!(Form::of(Software, false, 512, 64), Form::Unfused);
    }
}

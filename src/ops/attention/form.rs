//! Which form of attention is recorded.

use serde::Serialize;

use crate::gpu::AdapterKind;

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
    /// - On GPUs the fused one from 256 tokens on: it keeps O(T) where the other keeps T² per head. Shorter rows of
    ///   probabilities take little memory, and products run on matrix units where there are some.
    ///
    /// No GPU has measured where the fused form becomes the faster one.
    pub fn choose(kind: AdapterKind, tokens: usize, size: usize) -> Self {
        match kind {
            AdapterKind::Plain if tokens >= LONG && size <= Self::WIDEST_FUSED => Form::Fused,
            AdapterKind::Plain | AdapterKind::Software => Form::Unfused,
        }
    }
}

/// T from which on the memory of probabilities weighs more.
const LONG: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sequences_are_fused_on_gpus() {
        use AdapterKind::{Plain, Software};
        assert_eq!(Form::choose(Plain, 128, 64), Form::Unfused);
        assert_eq!(Form::choose(Plain, 512, 64), Form::Fused);
        assert_eq!(Form::choose(Plain, 512, 132), Form::Unfused);
        assert_eq!(Form::choose(Software, 512, 64), Form::Unfused);
    }
}

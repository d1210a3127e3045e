//! What one step is computed on: plain arrays.

use super::masking::Masked;

/// B sequences of T tokens, of which M are to be guessed. Flat arrays are row-major: row `b·T + t`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// B.
    pub sequences: usize,
    /// T.
    pub seq_len: usize,
    /// `[B·T]` token ids, padded with `[PAD]`.
    pub input_ids: Vec<u32>,
    /// `[B·T]` the half-open range of positions within the sequence to which the token attends: those of its segment,
    /// at whose start positions are counted from 0. A padding row has `[0, 0]`: it attends to nothing. With
    /// `mask_padding` off every row has `[0, T]`.
    pub bounds: Vec<[u32; 2]>,
    /// `[M]` the rows to guess, ascending.
    pub masked_rows: Vec<u32>,
    /// `[M]` the tokens that were there.
    pub labels: Vec<u32>,
    /// How many tokens are real, `[CLS]` and `[SEP]` counted.
    pub tokens: usize,
    /// How many tokens were left out because a sequence was longer than T.
    pub truncated: usize,
}

impl Batch {
    /// Lays sequences out, padded with `pad` to `seq_len` tokens; longer ones are truncated, and that is counted.
    ///
    /// A batch without a masked token, without a real token or without a sequence is well formed.
    pub fn new(sequences: &[Masked], seq_len: usize, pad: u32, mask_padding: bool) -> Self {
        Self::lay_out(sequences.iter().map(std::slice::from_ref), seq_len, pad, mask_padding)
    }

    /// [`Batch::new`] of sequences that may be packed: the segments of each stand one after the other, and each
    /// attends to itself alone.
    pub(super) fn lay_out<'a>(
        sequences: impl ExactSizeIterator<Item = &'a [Masked]>,
        seq_len: usize,
        pad: u32,
        mask_padding: bool,
    ) -> Self {
        let rows = sequences.len() * seq_len;
        let mut batch = Batch {
            sequences: sequences.len(),
            seq_len,
            input_ids: vec![pad; rows],
            bounds: vec![if mask_padding { [0, 0] } else { [0, seq_len as u32] }; rows],
            ..Batch::default()
        };
        for (index, segments) in sequences.enumerate() {
            let row = index * seq_len;
            let mut start = 0;
            for segment in segments {
                let length = segment.input_ids.len().min(seq_len - start);
                let (first, end) = (row + start, start + length);
                batch.input_ids[first..first + length].copy_from_slice(&segment.input_ids[..length]);
                if mask_padding {
                    batch.bounds[first..first + length].fill([start as u32, end as u32]);
                }
                for (&position, &label) in segment.positions.iter().zip(&segment.labels) {
                    if (position as usize) < length {
                        batch.masked_rows.push(first as u32 + position);
                        batch.labels.push(label);
                    }
                }
                batch.tokens += length;
                batch.truncated += segment.input_ids.len() - length;
                start = end;
            }
        }
        batch
    }
}

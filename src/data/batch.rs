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
    /// `[B·T]` the half-open range of positions within the sequence to which the token attends. A padding row has
    /// `[0, 0]`: it attends to nothing. With `mask_padding` off every row has `[0, T]`.
    pub bounds: Vec<[u32; 2]>,
    /// `[M]` the rows to guess, ascending.
    pub masked_rows: Vec<u32>,
    /// `[M]` the tokens that were there.
    pub labels: Vec<u32>,
    /// How many tokens are real, `[CLS]` and `[SEP]` counted.
    pub tokens: usize,
    /// How many tokens were cut off because a sequence was longer than T.
    pub truncated: usize,
}

impl Batch {
    /// Lays sequences out, padded with `pad` to `seq_len` tokens; longer ones are cut, and that is counted.
    ///
    /// A batch without a masked token, without a real token or without a sequence is well formed.
    pub fn new(sequences: &[Masked], seq_len: usize, pad: u32, mask_padding: bool) -> Self {
        let rows = sequences.len() * seq_len;
        let mut batch = Batch {
            sequences: sequences.len(),
            seq_len,
            input_ids: vec![pad; rows],
            bounds: vec![if mask_padding { [0, 0] } else { [0, seq_len as u32] }; rows],
            ..Batch::default()
        };
        for (index, sequence) in sequences.iter().enumerate() {
            let first = index * seq_len;
            let length = sequence.input_ids.len().min(seq_len);
            batch.input_ids[first..first + length].copy_from_slice(&sequence.input_ids[..length]);
            if mask_padding {
                batch.bounds[first..first + length].fill([0, length as u32]);
            }
            for (&position, &label) in sequence.positions.iter().zip(&sequence.labels) {
                if (position as usize) < length {
                    batch.masked_rows.push(first as u32 + position);
                    batch.labels.push(label);
                }
            }
            batch.tokens += length;
            batch.truncated += sequence.input_ids.len() - length;
        }
        batch
    }
}

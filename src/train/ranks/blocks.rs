//! Who computes which block, and which micro-batches are in it.

use std::ops::Range;

use crate::{Error, Result};

/// Which of `micro_batches` are in each of so many blocks: contiguous, in their order, the first blocks one more where they
/// cannot be equal. Blocks beyond the number of micro-batches are empty.
pub fn blocks_of(micro_batches: usize, blocks: usize) -> Vec<Range<usize>> {
    let (each, more) = (micro_batches / blocks.max(1), micro_batches % blocks.max(1));
    let start = |block: usize| block * each + block.min(more);
    (0..blocks).map(|block| start(block)..start(block + 1)).collect()
}

/// Which of so many blocks each rank computes: contiguous, in the order of the ranks, by their shares of the work. The blocks
/// that do not come out even go to the first ranks.
///
/// # Errors
/// [`Error::Config`] for fewer blocks than ranks.
pub fn shares(blocks: usize, shares: &[u32]) -> Result<Vec<Range<usize>>> {
    if blocks < shares.len() {
        let expected = format!("at least as many as ranks ({})", shares.len());
        return Err(Error::config("blocks", expected, format!("{blocks}: start at most {blocks} ranks")));
    }
    let total: u64 = shares.iter().map(|&share| u64::from(share.max(1))).sum();
    let (mut before, mut start) = (0, 0);
    let mut parts = Vec::with_capacity(shares.len());
    for &share in shares {
        before += u64::from(share.max(1));
        let end = (blocks as u64 * before).div_ceil(total) as usize;
        parts.push(start..end);
        start = end;
    }
    Ok(parts)
}

/// Part `number` of so many of `elements`, as equal as can be where each begins at a multiple of `unit`.
pub(super) fn slice(elements: usize, unit: usize, number: usize, parts: usize) -> Range<usize> {
    let units = elements.div_ceil(unit);
    let at = |number: usize| {
        let units = (units as u128 * number as u128 / parts.max(1) as u128) as usize;
        elements.min(unit * units)
    };
    at(number)..at(number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_micro_batch_is_in_one_block_and_every_block_of_one_rank() {
        assert_eq!(blocks_of(7, 3), [0..3, 3..5, 5..7]);
        assert_eq!(blocks_of(2, 4), [0..1, 1..2, 2..2, 2..2]);
        assert_eq!(blocks_of(0, 2), [0..0, 0..0]);
        assert_eq!(shares(4, &[1, 1]).unwrap(), [0..2, 2..4]);
        assert_eq!(shares(5, &[1, 1, 1]).unwrap(), [0..2, 2..4, 4..5]);
        assert_eq!(shares(6, &[3, 1, 2]).unwrap(), [0..3, 3..4, 4..6]);
        assert!(shares(2, &[1, 1, 1]).unwrap_err().to_string().contains("start at most 2 ranks"));
        for (elements, parts) in [(0, 2), (1, 3), (10, 4), (128, 1), (7, 7)] {
            for unit in [1, 3, 64] {
                let slices = || (0..parts).map(|part| slice(elements, unit, part, parts));
                assert!(slices().all(|slice| slice.start % unit == 0 || slice.is_empty()));
                assert_eq!(slices().flatten().collect::<Vec<_>>(), (0..elements).collect::<Vec<_>>());
            }
        }
        for blocks in 1..9 {
            for ranks in 1..=blocks {
                let parts = shares(blocks, &vec![1; ranks]).unwrap();
                assert!(parts.iter().all(|part| !part.is_empty()), "{parts:?}");
                assert_eq!(parts.into_iter().flatten().collect::<Vec<_>>(), (0..blocks).collect::<Vec<_>>());
            }
        }
    }
}

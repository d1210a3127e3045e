//! Batches of texts of about one length, so that padding costs little.

use crate::data::Order;

/// Batches that are sorted by length among themselves.
const WINDOW: usize = 32;

/// The length to which a batch is padded whose longest text has `tokens`: one of a few, so that few recordings
/// serve all, and never more than `longest`.
pub fn padded(tokens: usize, longest: usize) -> usize {
    let step = match tokens {
        0..=64 => 16,
        65..=128 => 32,
        _ => 64,
    };
    tokens.max(1).next_multiple_of(step).min(longest)
}

/// All texts once, in batches of `size`, shuffled anew in each epoch; `lengths` are in tokens. The shuffled texts
/// are sorted by length within windows of 32 batches, and the batches of a window shuffled again.
pub fn batches(lengths: &[usize], size: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let size = size.max(1);
    let order = Order::new(lengths.len() as u64, seed, epoch);
    let shuffled: Vec<usize> = (0..order.len()).map(|i| order.at(i) as usize).collect();
    let mut all: Vec<Vec<usize>> = Vec::new();
    for (number, window) in shuffled.chunks(WINDOW * size).enumerate() {
        let mut window = window.to_vec();
        // Stable, so that texts of one length stay shuffled.
        window.sort_by_key(|&i| lengths[i]);
        let batches: Vec<Vec<usize>> = window.chunks(size).map(<[usize]>::to_vec).collect();
        // A seed of its own: the order within a window must not follow that of the texts.
        let order =
            Order::new(batches.len() as u64, seed ^ 0x0062_6174_6368_6573, (epoch << 20) | number as u64);
        all.extend((0..order.len()).map(|i| batches[order.at(i) as usize].clone()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_once_an_epoch_and_little_is_padded() {
        let lengths: Vec<usize> = (0..1001).map(|i| 5 + i * 7919 % 120).collect();
        let first = batches(&lengths, 16, 3, 0);
        assert_eq!(first.len(), 63);
        let mut seen: Vec<usize> = first.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..1001));
        assert_eq!(first.iter().filter(|batch| batch.len() != 16).count(), 1);

        assert_eq!(first, batches(&lengths, 16, 3, 0));
        assert_ne!(first, batches(&lengths, 16, 3, 1));
        assert_ne!(first, batches(&lengths, 16, 4, 0));

        let longest = |batch: &Vec<usize>| batch.iter().map(|&i| lengths[i]).max().unwrap_or(0) * batch.len();
        let computed: usize = first.iter().map(longest).sum();
        let tokens: usize = lengths.iter().sum();
        assert!(computed as f64 / tokens as f64 <= 1.2, "{computed} for {tokens}");
        // Long and short batches come mixed.
        let lengths: Vec<usize> = first.iter().map(longest).collect();
        assert!(!lengths[..32].is_sorted());
        assert_eq!(batches(&[], 4, 0, 0), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn lengths_are_few() {
        for (tokens, expected) in [(1, 16), (16, 16), (17, 32), (65, 96), (128, 128), (129, 192), (500, 512)]
        {
            assert_eq!(padded(tokens, 512), expected);
        }
        assert_eq!(padded(60, 62), 62);
    }
}

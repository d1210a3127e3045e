//! Which texts are computed together. What a text is computed with follows from its own length alone, so that its
//! bits do not depend on its neighbours.

use std::collections::BTreeMap;

/// Texts computed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Which texts.
    pub texts: Vec<usize>,
    /// B: a power of two. The sequences that no text fills are padding.
    pub sequences: usize,
    /// T: the tokens that each has room for.
    pub tokens: usize,
}

/// T for a text of `length` tokens: rounded up by at most an eighth, so that there are few shapes to record, but not
/// beyond `longest`, the positions that the model has.
pub(super) fn room(length: usize, longest: usize) -> usize {
    let step = (length.next_power_of_two() / 16).max(4);
    length.next_multiple_of(step).min(longest.max(length)).max(1)
}

/// Divides texts of `lengths` into buckets of one T each, longest first: memory that does not suffice shows at once.
/// `capacity` says how many sequences of T tokens may be computed at once, and `spare` how many tokens of whole
/// sequences may be padding where that saves a bucket.
pub(super) fn buckets(
    lengths: &[usize],
    longest: usize,
    capacity: impl Fn(usize) -> usize,
    spare: usize,
) -> Vec<Bucket> {
    let mut by_tokens: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (text, &length) in lengths.iter().enumerate() {
        by_tokens.entry(room(length, longest)).or_default().push(text);
    }
    let mut buckets = Vec::new();
    for (tokens, texts) in by_tokens.into_iter().rev() {
        let mut rest = texts.as_slice();
        while !rest.is_empty() {
            let sequences = sequences(rest.len(), capacity(tokens).max(1), spare / tokens);
            let (now, later) = rest.split_at(sequences.min(rest.len()));
            buckets.push(Bucket { texts: now.to_vec(), sequences, tokens });
            rest = later;
        }
    }
    buckets
}

/// B for the first of the buckets that hold `texts`: the next power of two where that is at most `spare` too many, or
/// else the one before it.
fn sequences(texts: usize, capacity: usize, spare: usize) -> usize {
    let above = texts.next_power_of_two();
    if above <= capacity && above - texts <= spare {
        return above;
    }
    1 << texts.min(capacity).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths() -> Vec<usize> {
        (0..500).map(|n| 2 + n * 7919 % 255).collect()
    }

    #[test]
    fn every_text_is_in_one_bucket_with_room_for_it() {
        let lengths = lengths();
        for spare in [0, 16, 1024] {
            let buckets = buckets(&lengths, 256, |tokens| 1024 / tokens, spare);
            let mut seen: Vec<usize> = buckets.iter().flat_map(|bucket| bucket.texts.clone()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..500).collect::<Vec<_>>());
            for Bucket { texts, sequences, tokens } in &buckets {
                assert!(sequences.is_power_of_two() && *sequences <= (1024 / tokens).max(1));
                assert!(texts.len() <= *sequences && (sequences - texts.len()) * tokens <= spare);
                assert!(*tokens <= 256);
                assert!(texts.iter().all(|&text| lengths[text] <= *tokens));
            }
            assert!(buckets.is_sorted_by(|a, b| a.tokens >= b.tokens));
        }
        let computed: usize =
            buckets(&lengths, 256, |_| 8, 0).iter().map(|bucket| bucket.tokens * bucket.sequences).sum();
        let real: usize = lengths.iter().sum();
        assert!(computed * 100 <= real * 106, "{computed} for {real}");
    }

    #[test]
    fn the_room_of_a_text_follows_from_its_length() {
        let lengths = lengths();
        for bucket in buckets(&lengths, 250, |_| 8, 1024) {
            assert!(bucket.texts.iter().all(|&text| room(lengths[text], 250) == bucket.tokens));
        }
        for (length, longest, expected) in [
            (0, 256, 1),
            (1, 256, 4),
            (64, 256, 64),
            (65, 256, 72),
            (250, 256, 256),
            (249, 250, 250),
            (9, 7, 9),
        ] {
            assert_eq!(room(length, longest), expected, "{length} of {longest}");
        }
    }

    /// Short texts in windows of 1024 and of 8192, on a GPU.
    #[test]
    fn a_large_window_fills_its_buckets() {
        let lengths: Vec<usize> = (0..8192).map(|n| 4 + n * 7919 % 60).collect();
        let replays = |window: usize| -> usize {
            let buckets_of = |lengths| buckets(lengths, 256, |tokens| 8192 / tokens, 1024).len();
            lengths.chunks(window).map(buckets_of).sum()
        };
        assert_eq!((replays(1024), replays(8192)), (216, 64));
    }

    #[test]
    fn one_long_text_does_not_pad_the_short_ones() {
        let mut lengths = vec![6; 20];
        lengths[7] = 250;
        let shapes = |spare| {
            let buckets = buckets(&lengths, 256, |tokens| 1024 / tokens, spare);
            buckets.iter().map(|b| (b.texts.len(), b.sequences, b.tokens)).collect::<Vec<_>>()
        };
        assert_eq!(shapes(0), [(1, 1, 256), (16, 16, 8), (2, 2, 8), (1, 1, 8)]);
        assert_eq!(shapes(8), [(1, 1, 256), (16, 16, 8), (3, 4, 8)]);
        assert_eq!(shapes(1024), [(1, 1, 256), (19, 32, 8)]);
        assert!(buckets(&[], 256, |_| 8, 0).is_empty());
        // No capacity is still one text at a time.
        assert_eq!(buckets(&[5, 5], 256, |_| 0, 100).len(), 2);
    }
}

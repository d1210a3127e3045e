//! Which texts are computed together: those of about one length, so that padding is never the cost.

/// Texts computed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Which texts.
    pub texts: Vec<usize>,
    /// T: the tokens that each has room for.
    pub tokens: usize,
}

/// T for a text of `length` tokens: rounded up by at most an eighth, so that there are few shapes to record.
fn room(length: usize) -> usize {
    let step = (length.next_power_of_two() / 16).max(4);
    length.next_multiple_of(step)
}

/// Divides texts of `lengths` into buckets, longest first. T is never more than `longest`, and `capacity` says how
/// many sequences of T tokens may be computed at once.
pub(super) fn buckets(lengths: &[usize], longest: usize, capacity: impl Fn(usize) -> usize) -> Vec<Bucket> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&text| std::cmp::Reverse(lengths[text]));
    let mut buckets: Vec<Bucket> = Vec::new();
    for text in order {
        let length = lengths[text];
        let joins = buckets.last_mut().filter(|bucket| {
            let fits = room(length) + room(length) / 8 + 4 >= bucket.tokens;
            fits && bucket.texts.len() < capacity(bucket.tokens).max(1)
        });
        match joins {
            Some(bucket) => bucket.texts.push(text),
            None => {
                buckets.push(Bucket { texts: vec![text], tokens: room(length).min(longest.max(length)) });
            }
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_in_one_bucket_with_room_for_it() {
        let lengths: Vec<usize> = (0..500).map(|n| 2 + n * 7919 % 255).collect();
        let buckets = buckets(&lengths, 256, |tokens| 1024 / tokens);
        let mut seen: Vec<usize> = buckets.iter().flat_map(|bucket| bucket.texts.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        for bucket in &buckets {
            assert!(bucket.texts.len() <= (1024 / bucket.tokens).max(1));
            assert!(bucket.tokens <= 256);
            assert!(bucket.texts.iter().all(|&text| lengths[text] <= bucket.tokens));
        }
        let computed: usize = buckets.iter().map(|bucket| bucket.tokens * bucket.texts.len()).sum();
        let real: usize = lengths.iter().sum();
        assert!(computed * 100 <= real * 112, "{computed} for {real}");
    }

    #[test]
    fn one_long_text_does_not_pad_the_short_ones() {
        let mut lengths = vec![6; 20];
        lengths[7] = 250;
        let buckets = buckets(&lengths, 256, |tokens| 1024 / tokens);
        assert_eq!(
            buckets.iter().map(|b| (b.texts.len(), b.tokens)).collect::<Vec<_>>(),
            [(1, 256), (19, 8)]
        );
        assert!(super::buckets(&[], 256, |_| 8).is_empty());
        // No capacity is still one text at a time.
        assert_eq!(super::buckets(&[5, 5], 256, |_| 0).len(), 2);
    }
}

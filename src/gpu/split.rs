//! Splitting work, so that no dispatch runs long or exceeds a limit.

use std::ops::Range;

/// Splits `count` items into as few ranges as there must be for none to hold more than `room`, all but the last equally
/// long. They begin at multiples of `unit` items, and a range of one unit is never split.
///
/// Whoever splits by a device's speed must leave each result to one range, so that no bit depends on where they end.
pub(crate) fn split(count: usize, unit: usize, room: f64) -> impl Iterator<Item = Range<usize>> {
    let units = count.div_ceil(unit);
    let most = ((room / unit as f64) as usize).max(1);
    let step = units.div_ceil(units.div_ceil(most).max(1)).max(1) * unit;
    (0..count).step_by(step).map(move |start| start..count.min(start + step))
}

#[cfg(test)]
mod tests {
    use super::split;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_few_and_alike() {
        let ends = |count, unit, room| split(count, unit, room).map(|range| range.end).collect::<Vec<_>>();
        assert_eq!(ends(100, 1, 100.0), [100]);
        assert_eq!(ends(100, 16, 70.0), [64, 100]);
        assert_eq!(ends(101, 1, 50.0), [34, 68, 101]);
        assert_eq!(ends(20, 16, 0.0), [16, 20]);
        assert_eq!(ends(7, 4, f64::INFINITY), [7]);
        assert!(ends(0, 4, 1.0).is_empty());
    }

    proptest! {
        #[test]
        fn every_item_is_in_one_range(count in 0usize..5000, unit in 1usize..80, room in 0.0..1e4f64) {
            let ranges: Vec<_> = split(count, unit, room).collect();
            let mut end = 0;
            for range in &ranges {
                prop_assert!(range.start == end && range.start % unit == 0 && !range.is_empty());
                prop_assert!(range.len() <= unit || range.len() as f64 <= room);
                prop_assert!(range.len() == ranges[0].len() || range.end == count);
                end = range.end;
            }
            prop_assert_eq!(end, count);
            let most = ((room / unit as f64) as usize).max(1) * unit;
            prop_assert_eq!(ranges.len(), count.div_ceil(most), "more ranges than there must be");
        }
    }
}

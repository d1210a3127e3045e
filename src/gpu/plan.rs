//! Which transient buffers may share memory.

use std::ops::RangeInclusive;

/// A transient buffer: its size in bytes and the commands, first to last, that use it.
#[derive(Debug, Clone)]
pub(crate) struct Lifetime {
    pub bytes: u64,
    pub used: Option<RangeInclusive<usize>>,
}

/// The outcome: one slot per lifetime (none for buffers that no command uses), and the bytes of each slot.
#[derive(Debug)]
pub(crate) struct Plan {
    pub slots: Vec<Option<usize>>,
    pub bytes: Vec<u64>,
}

/// Assigns each lifetime a slot, reusing the smallest free one that is large enough, else enlarging the
/// largest free one. Whole buffers are shared, never parts: one dispatch may not read and write one buffer.
pub(super) fn plan(lifetimes: &[Lifetime], reuse: bool) -> Plan {
    let mut order: Vec<usize> = (0..lifetimes.len()).filter(|&i| lifetimes[i].used.is_some()).collect();
    let start = |i: usize| lifetimes[i].used.as_ref().map_or(0, |used| *used.start());
    let end = |i: usize| lifetimes[i].used.as_ref().map_or(0, |used| *used.end());
    order.sort_by_key(|&i| (start(i), i));
    let mut plan = Plan { slots: vec![None; lifetimes.len()], bytes: Vec::new() };
    let mut free_after: Vec<usize> = Vec::new(); // for each slot, the last command that uses it
    for i in order {
        let bytes = lifetimes[i].bytes;
        let free = |slot: &usize| reuse && free_after[*slot] < start(i);
        let slots = 0..plan.bytes.len();
        let chosen = slots
            .clone()
            .filter(free)
            .filter(|&slot| plan.bytes[slot] >= bytes)
            .min_by_key(|&slot| plan.bytes[slot])
            .or_else(|| slots.filter(free).max_by_key(|&slot| plan.bytes[slot]));
        let slot = chosen.unwrap_or_else(|| {
            plan.bytes.push(0);
            free_after.push(0);
            plan.bytes.len() - 1
        });
        plan.bytes[slot] = plan.bytes[slot].max(bytes);
        free_after[slot] = end(i);
        plan.slots[i] = Some(slot);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_two_live_buffers_share_a_slot(
            raw in prop::collection::vec((1u64..1000, 0usize..50, 0usize..10), 0..60)
        ) {
            let lifetimes: Vec<_> = raw
                .iter()
                .map(|&(bytes, first, length)| Lifetime { bytes, used: Some(first..=first + length) })
                .collect();
            let plan = plan(&lifetimes, true);
            for (i, a) in lifetimes.iter().enumerate() {
                let slot = plan.slots[i].unwrap();
                prop_assert!(plan.bytes[slot] >= a.bytes);
                for (j, b) in lifetimes.iter().enumerate().skip(i + 1) {
                    let (a, b) = (a.used.clone().unwrap(), b.used.clone().unwrap());
                    let overlap = a.start() <= b.end() && b.start() <= a.end();
                    prop_assert!(!(overlap && plan.slots[j] == Some(slot)));
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_slots() {
        let lifetimes: Vec<_> = (0..10).map(|i| Lifetime { bytes: 64, used: Some(i..=i + 1) }).collect();
        assert_eq!(plan(&lifetimes, true).bytes, vec![64, 64]);
        assert_eq!(plan(&lifetimes, false).bytes.len(), 10);
    }
}

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
            raw in prop::collection::vec(
                (1u64..1000, 0usize..50, prop::option::weighted(0.9, 0usize..10)), 0..60
            )
        ) {
            let lifetime = |&(bytes, first, length): &(u64, usize, Option<usize>)| {
                Lifetime { bytes, used: length.map(|length| first..=first + length) }
            };
            let lifetimes: Vec<_> = raw.iter().map(lifetime).collect();
            let (shared, alone) = (plan(&lifetimes, true), plan(&lifetimes, false));
            for (i, a) in lifetimes.iter().enumerate() {
                // What no command uses takes no memory.
                prop_assert_eq!(shared.slots[i].is_some(), a.used.is_some());
                let Some((slot, used)) = shared.slots[i].zip(a.used.clone()) else { continue };
                prop_assert!(shared.bytes[slot] >= a.bytes);
                for (j, b) in lifetimes.iter().enumerate().skip(i + 1) {
                    let meets = |b: RangeInclusive<usize>| used.start() <= b.end() && b.start() <= used.end();
                    let overlap = b.used.clone().is_some_and(meets);
                    prop_assert!(!(overlap && shared.slots[j] == Some(slot)));
                }
            }
            // A slot is as large as the largest of its buffers, so that to share costs nothing.
            for (slot, &bytes) in shared.bytes.iter().enumerate() {
                let in_it = (0..lifetimes.len()).filter(|&i| shared.slots[i] == Some(slot));
                prop_assert_eq!(in_it.map(|i| lifetimes[i].bytes).max(), Some(bytes));
            }
            prop_assert!(shared.bytes.len() <= alone.bytes.len());
            // As many slots suffice as there are buffers in use at once.
            let live = |at: usize| {
                lifetimes.iter().filter(|a| a.used.clone().is_some_and(|used| used.contains(&at))).count()
            };
            prop_assert_eq!(shared.bytes.len(), (0..60).map(live).max().unwrap_or(0));
        }
    }

    #[test]
    fn a_chain_needs_two_slots() {
        let lifetimes: Vec<_> = (0..10).map(|i| Lifetime { bytes: 64, used: Some(i..=i + 1) }).collect();
        assert_eq!(plan(&lifetimes, true).bytes, vec![64, 64]);
        assert_eq!(plan(&lifetimes, false).bytes.len(), 10);
    }
}

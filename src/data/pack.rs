//! Pieces of documents packed into sequences, none of which sees the others.
//!
//! Best fit, the longest first within a window: of every so many pieces, from the longest to the shortest, each goes
//! where the least room is left beside it, and where none has room it begins a sequence. A sequence is done when no
//! piece fits any more, or when too many are begun: then the fullest goes. So memory is bounded, the text is read once,
//! and the same pieces in the same order give the same sequences.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// `[CLS]`, a token, `[SEP]`: less room than that takes no piece.
const SMALLEST: usize = 3;

/// Sequences being filled, and pieces in a window, at most; fewer where sequences are so long that as many held more
/// tokens than [`MOST_TOKENS`].
const MOST_OPEN: usize = 1024;
const MOST_TOKENS: usize = 1 << 22;

/// A sequence of segments, each `[CLS]`, a piece of a document, `[SEP]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Packed {
    pub tokens: Vec<u32>,
    /// Where each segment begins, and its number.
    pub segments: Vec<(usize, u64)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Waiting {
    tokens: Vec<u32>,
    number: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Packer {
    seq_len: usize,
    most_open: usize,
    window: Vec<Waiting>,
    /// Sequences being filled, by their age.
    open: BTreeMap<u64, Packed>,
    /// The room left in each and its age: the least room, and of these the oldest, comes first.
    rooms: BTreeSet<(usize, u64)>,
    begun: u64,
    numbered: u64,
}

impl Packer {
    /// Packs into sequences of at most `seq_len` tokens.
    pub(super) fn new(seq_len: usize) -> Self {
        let most_open = (MOST_TOKENS / seq_len.max(1)).clamp(1, MOST_OPEN);
        let (open, rooms) = (BTreeMap::new(), BTreeSet::new());
        Packer { seq_len, most_open, window: Vec::new(), open, rooms, begun: 0, numbered: 0 }
    }

    /// Takes a segment of `seq_len` tokens at most and gives out the sequences that are done. Segments are numbered as
    /// they come.
    pub(super) fn push(&mut self, segment: &[u32]) -> Vec<Packed> {
        self.window.push(Waiting { tokens: segment.to_vec(), number: self.numbered });
        self.numbered += 1;
        if self.window.len() < self.most_open { Vec::new() } else { self.empty_window() }
    }

    fn empty_window(&mut self) -> Vec<Packed> {
        let mut window = std::mem::take(&mut self.window);
        // Stable: equal lengths stay in order.
        window.sort_by_key(|waiting| std::cmp::Reverse(waiting.tokens.len()));
        window.into_iter().filter_map(|waiting| self.place(waiting)).collect()
    }

    /// Puts a segment where it fits best, and gives out a sequence that is done, if that made one.
    fn place(&mut self, Waiting { tokens, number }: Waiting) -> Option<Packed> {
        let needed = tokens.len();
        let (room, age) = match self.rooms.range((needed, 0)..).next().copied() {
            Some(place) => {
                self.rooms.remove(&place);
                place
            }
            None => {
                self.begun += 1;
                (self.seq_len, self.begun)
            }
        };
        let sequence = self.open.entry(age).or_default();
        let start = sequence.tokens.len();
        sequence.segments.push((start, number));
        sequence.tokens.extend(tokens);
        let left = room.saturating_sub(needed);
        if left < SMALLEST {
            return self.open.remove(&age);
        }
        self.rooms.insert((left, age));
        if self.rooms.len() <= self.most_open {
            return None;
        }
        let (_, fullest) = self.rooms.pop_first()?;
        self.open.remove(&fullest)
    }

    /// Everything else: what became full, then what did not, oldest first.
    pub(super) fn finish(mut self) -> impl Iterator<Item = Packed> {
        self.empty_window().into_iter().chain(self.open.into_values())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack(lengths: &[usize], most_open: usize) -> Vec<Packed> {
        let mut packer = Packer { most_open, ..Packer::new(128) };
        let mut done: Vec<_> = lengths.iter().flat_map(|&length| packer.push(&vec![7; length])).collect();
        assert!(packer.open.len() <= most_open && packer.open.len() == packer.rooms.len());
        done.extend(packer.finish());
        done
    }

    fn numbers(done: &[Packed]) -> Vec<Vec<u64>> {
        done.iter().map(|sequence| sequence.segments.iter().map(|&(_, number)| number).collect()).collect()
    }

    proptest! {
        /// Every segment is in one sequence, whole and where it is said to be; nothing is too long; what waits is bounded; and
        /// a packer that was stored in between goes on as one that was not.
        #[test]
        fn nothing_is_lost_doubled_or_cut(
            lengths in prop::collection::vec(SMALLEST..=64, 0..200),
            most_open in 1_usize..9,
            stored_at in 0_usize..200,
        ) {
            let segment = |number: usize| -> Vec<u32> {
                (0..lengths[number] as u32).map(|at| at + 100 * number as u32).collect()
            };
            let run = |stored_at: usize| {
                let mut packer = Packer { most_open, ..Packer::new(64) };
                let mut done = Vec::new();
                for number in 0..lengths.len() {
                    if number == stored_at {
                        packer = serde_json::from_str(&serde_json::to_string(&packer).unwrap()).unwrap();
                    }
                    done.extend(packer.push(&segment(number)));
                    assert!(packer.open.len() <= most_open && packer.window.len() < most_open);
                    assert_eq!(packer.open.len(), packer.rooms.len());
                }
                done.extend(packer.finish());
                done
            };
            let done = run(usize::MAX);
            let mut seen = vec![0; lengths.len()];
            for sequence in &done {
                prop_assert!(sequence.tokens.len() <= 64);
                let mut expected = Vec::new();
                for &(start, number) in &sequence.segments {
                    prop_assert_eq!(start, expected.len());
                    expected.extend(segment(number as usize));
                    seen[number as usize] += 1;
                }
                prop_assert_eq!(&sequence.tokens, &expected);
            }
            prop_assert!(seen.into_iter().all(|count| count == 1));
            prop_assert_eq!(run(stored_at), done);
        }
    }

    #[test]
    fn the_longest_come_first_and_take_the_tightest_room() {
        // 100 and 90 begin; 35 fits beside 90 alone, 28 fills the other to the end, and 4 finds no room.
        let done = pack(&[28, 4, 90, 35, 100], 8);
        assert_eq!(numbers(&done), [vec![4, 0], vec![2, 3], vec![1]].as_slice());
        assert_eq!(done[1].segments[1], (90, 3));
    }

    #[test]
    fn of_too_many_the_fullest_goes() {
        // A window of two: 70 and 80 begin; then 90 begins too, and goes at once; 38 fills what 80 left.
        let done = pack(&[70, 80, 90, 38], 2);
        assert_eq!(numbers(&done), [vec![2], vec![1, 3], vec![0]].as_slice());
    }

    #[test]
    fn short_pieces_leave_next_to_no_room() {
        // Lengths as of sentences: 5 to 54 tokens.
        let lengths: Vec<_> =
            (0..20_000).map(|index| 5 + (crate::random::mix(index) % 50) as usize).collect();
        let done = pack(&lengths, MOST_OPEN);
        let full = lengths.iter().sum::<usize>() as f64 / (done.len() * 128) as f64;
        assert!(full > 0.99, "{full}");
    }
}

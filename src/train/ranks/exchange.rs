//! Sums over the blocks of all ranks, each element added in the order of the blocks.

use std::ops::Range;

use super::blocks::slice;
use super::link::Link;
use super::wire::{float_bytes, floats};
use crate::{Error, Result};

/// What the first byte of a message between two ranks says. Each sends every other one gradients and sums, and then, once, that it
/// is done or that it has failed: so nobody waits for what does not come, and nothing is left unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Part {
    /// The other's slice of a piece of a block, piece by piece and block by block.
    Gradients,
    /// The sum of the own slice of a piece, piece by piece.
    Sums,
    /// All was sent.
    Done,
    /// Nothing more is sent, and nobody gets a sum.
    Failed,
}

impl Part {
    const ALL: [Part; 4] = [Part::Gradients, Part::Sums, Part::Done, Part::Failed];

    fn message(self, values: &[f32]) -> Vec<u8> {
        let mut message = Vec::with_capacity(1 + 4 * values.len());
        message.push(self as u8);
        message.extend_from_slice(float_bytes(values));
        message
    }
}

/// Pieces that may be under way before the first of them is waited for: while one is added, others travel.
const AHEAD: usize = 2;

/// The sum of the gradients of the blocks of all ranks, piece by piece, while they are being computed. Each rank adds one slice
/// of each piece for all, so that none sends or receives much more than twice what it holds, however many there are.
pub(super) struct Exchange<'a> {
    link: &'a mut dyn Link,
    /// Which elements each piece has, the same on all ranks.
    pieces: &'a [Range<usize>],
    /// How many blocks each rank has.
    counts: &'a [usize],
    /// How many pieces of how many own blocks there were.
    put: usize,
    /// How many pieces were added.
    added: usize,
    /// This rank's slices of its own pieces, block by block. Rank 0, whose blocks are the first of all, adds them up.
    own: Vec<Vec<f32>>,
    others: Vec<Other>,
    /// The sum, or what of it there is.
    whole: Vec<f32>,
    failed: bool,
    /// What went wrong with the link, after which nobody can be told anything.
    broken: Option<Error>,
}

/// What came from a rank.
#[derive(Debug, Default)]
struct Other {
    /// As in [`Exchange::own`], with the first byte of each message; empty once they were added.
    gradients: Vec<Vec<u8>>,
    /// How many sums.
    sums: usize,
    ended: bool,
}

impl<'a> Exchange<'a> {
    /// Begins to add so many `elements`, which are in `pieces`; `counts` says how many blocks each rank has.
    pub(super) fn new(
        link: &'a mut dyn Link,
        elements: usize,
        pieces: &'a [Range<usize>],
        counts: &'a [usize],
    ) -> Self {
        let others = (0..link.size()).map(|_| Other::default()).collect();
        let whole = vec![0.0; elements];
        let (own, broken) = (Vec::new(), None);
        Exchange { link, pieces, counts, put: 0, added: 0, own, others, whole, failed: false, broken }
    }

    /// Whether there will be no sum, so that what is computed for it is of no use.
    pub(super) fn is_over(&self) -> bool {
        self.failed || self.broken.is_some()
    }

    /// Sends a piece of this rank's next block, in the order of the pieces, and adds one that was sent before.
    pub(super) fn put(&mut self, values: &[f32]) {
        if !self.is_over()
            && let Err(error) = self.try_put(values)
        {
            self.broken = Some(error);
        }
    }

    fn try_put(&mut self, values: &[f32]) -> Result<()> {
        let rank = self.link.rank();
        let (block, number) = (self.put / self.pieces.len(), self.put % self.pieces.len());
        self.put += 1;
        let last = block + 1 == self.counts[rank];
        let piece = self.pieces[number].clone();
        // The first blocks of all: their sum begins that of the whole, and they travel as one.
        let first = rank == 0 && self.counts[0] > 1;
        if first {
            let sum = &mut self.whole[piece.clone()];
            match block {
                0 => sum.copy_from_slice(values),
                _ => sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
            }
            if !last {
                return Ok(());
            }
        }
        let values = if first { &self.whole[piece] } else { values };
        let ranks = self.link.size();
        for to in (0..ranks).filter(|&to| to != rank) {
            self.link.send(to, Part::Gradients.message(&values[slice(values.len(), to, ranks)]))?;
        }
        self.own.push(values[slice(values.len(), rank, ranks)].to_vec());
        if last && number >= AHEAD { self.add() } else { Ok(()) }
    }

    /// How many blocks of a rank travel.
    fn travelling(&self, rank: usize) -> usize {
        if rank == 0 { self.counts[0].min(1) } else { self.counts[rank] }
    }

    /// The elements of a rank's slice of a piece.
    fn slice_of(&self, piece: usize, rank: usize) -> Range<usize> {
        let Range { start, end } = self.pieces[piece];
        let within = slice(end - start, rank, self.link.size());
        start + within.start..start + within.end
    }

    /// Adds the next piece, and sends the sum.
    fn add(&mut self) -> Result<()> {
        let (rank, ranks) = (self.link.rank(), self.link.size());
        let piece = self.added;
        let mine = self.slice_of(piece, rank);
        let mut sum: Option<Vec<f32>> = None;
        for from in 0..ranks {
            for block in 0..self.travelling(from) {
                let place = block * self.pieces.len() + piece;
                if from == rank {
                    let own = self.own.get_mut(place).map(std::mem::take).unwrap_or_default();
                    add(&mut sum, own.into_iter());
                    continue;
                }
                while !self.is_over() && self.others[from].gradients.len() <= place {
                    self.take(from)?;
                }
                if self.is_over() {
                    return Ok(());
                }
                let bytes = std::mem::take(&mut self.others[from].gradients[place]);
                self.is_whole(from, bytes.len() - 1, mine.len())?;
                add(&mut sum, floats(&bytes[1..]));
            }
        }
        self.added += 1;
        // Where nobody has a block, nothing was learned.
        let sum = sum.unwrap_or_else(|| vec![0.0; mine.len()]);
        for to in (0..ranks).filter(|&to| to != rank) {
            self.link.send(to, Part::Sums.message(&sum))?;
        }
        self.whole[mine].copy_from_slice(&sum);
        Ok(())
    }

    /// Takes the next message of a rank.
    fn take(&mut self, from: usize) -> Result<()> {
        let broken =
            |message: &str| Error::Rank { rank: from, message: format!("{message}: this is a defect") };
        if self.others[from].ended {
            return Err(broken("it sent less of its gradients than it has"));
        }
        let bytes = self.link.receive(from)?;
        let part = bytes.first().and_then(|&byte| Part::ALL.get(usize::from(byte)));
        match part.ok_or_else(|| broken("it sent what is no gradient"))? {
            Part::Done => self.others[from].ended = true,
            Part::Failed => {
                self.others[from].ended = true;
                self.failed = true;
            }
            // What nobody will add.
            _ if self.failed => {}
            Part::Gradients => self.others[from].gradients.push(bytes),
            Part::Sums => {
                let piece = self.others[from].sums;
                if piece == self.pieces.len() {
                    return Err(broken("it sent more sums than there are"));
                }
                let theirs = self.slice_of(piece, from);
                self.is_whole(from, bytes.len() - 1, theirs.len())?;
                self.whole[theirs].iter_mut().zip(floats(&bytes[1..])).for_each(|(sum, value)| *sum = value);
                self.others[from].sums += 1;
            }
        }
        Ok(())
    }

    fn is_whole(&self, from: usize, bytes: usize, elements: usize) -> Result<()> {
        if bytes == 4 * elements {
            return Ok(());
        }
        let message =
            format!("it sent {bytes} bytes of gradients instead of {}: this is a defect", 4 * elements);
        Err(Error::Rank { rank: from, message })
    }

    /// The sum, once all have added their slices; none where a rank has failed. `computed` says whether this one has put all
    /// pieces of all its blocks, and they count.
    ///
    /// # Errors
    /// Those of the link; [`Error::Rank`] where a rank sends another number of elements.
    pub(super) fn end(mut self, computed: bool) -> Result<Option<Vec<f32>>> {
        self.failed |= !computed;
        while !self.is_over() && self.added < self.pieces.len() {
            self.add()?;
        }
        if let Some(error) = self.broken {
            return Err(error);
        }
        let (rank, ranks) = (self.link.rank(), self.link.size());
        let last = if self.failed { Part::Failed } else { Part::Done };
        for to in (0..ranks).filter(|&to| to != rank) {
            self.link.send(to, last.message(&[]))?;
        }
        for from in (0..ranks).filter(|&from| from != rank) {
            while !self.others[from].ended {
                self.take(from)?;
            }
        }
        let sums = |other: &Other| other.sums == self.pieces.len();
        let missing = (0..ranks).find(|&from| from != rank && !sums(&self.others[from]));
        match missing {
            _ if self.failed => Ok(None),
            None => Ok(Some(self.whole)),
            Some(rank) => {
                Err(Error::Rank { rank, message: "it sent too few sums: this is a defect".to_owned() })
            }
        }
    }
}

/// Takes no part in the sum of the others, of which nothing is known here but that there will be one.
///
/// # Errors
/// Those of the link.
pub(super) fn refuse(link: &mut dyn Link) -> Result<()> {
    Exchange::new(link, 0, &[], &[]).end(false).map(drop)
}

/// What the gradients of the blocks of all ranks add up to: an [`Exchange`] of one piece, when all is there. `own` are those of
/// this rank's blocks, in their order; `counts` says how many each rank has.
///
/// # Errors
/// Those of the link; [`Error::Rank`] where a rank sends another number of elements, or has failed.
pub(super) fn sum_in_order(
    link: &mut dyn Link,
    elements: usize,
    counts: &[usize],
    own: Vec<Vec<f32>>,
) -> Result<Vec<f32>> {
    let rank = link.rank();
    let all = 0..elements;
    let mut exchange = Exchange::new(link, elements, std::slice::from_ref(&all), counts);
    own.iter().for_each(|block| exchange.put(block));
    let failed = || Error::Rank { rank, message: "another rank has failed".to_owned() };
    exchange.end(true)?.ok_or_else(failed)
}

/// `sum + addend`, or the addend where there is no sum yet.
fn add(sum: &mut Option<Vec<f32>>, addend: impl Iterator<Item = f32>) {
    match sum {
        None => *sum = Some(addend.collect()),
        Some(sum) => sum.iter_mut().zip(addend).for_each(|(sum, addend)| *sum += addend),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::super::link::{Local, locals};
    use super::*;

    /// Of very unequal sizes, so that every order of a sum has bits of its own.
    fn gradient(block: usize, elements: usize) -> Vec<f32> {
        let value = |at: usize| {
            let bits = crate::random::mix((block * 1000 + at) as u64);
            (bits as f32 / u64::MAX as f32 - 0.5) * 10f32.powi((bits % 7) as i32)
        };
        (0..elements).map(value).collect()
    }

    fn add_up(blocks: impl Iterator<Item = Vec<f32>>) -> Vec<f32> {
        let mut sum = None;
        blocks.for_each(|block| add(&mut sum, block.into_iter()));
        sum.unwrap()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// Pieces in an order that is not theirs, the last shorter.
    fn pieces(elements: usize, most: usize) -> Vec<Range<usize>> {
        let mut pieces: Vec<_> = (0..elements).step_by(most).map(|at| at..elements.min(at + most)).collect();
        pieces.sort_by_key(|piece| crate::random::mix(piece.start as u64));
        pieces
    }

    #[test]
    fn the_sum_does_not_depend_on_who_has_which_block() {
        for (elements, most) in [(1, 1), (2, 1), (3, 2), (1000, 1000), (1000, 90)] {
            let blocks: Vec<_> = (0..5).map(|block| gradient(block, elements)).collect();
            let expected = add_up(blocks.clone().into_iter());
            assert!(elements < 1000 || expected != add_up(blocks.clone().into_iter().rev()));
            let pieces = pieces(elements, most);
            for counts in [vec![5], vec![2, 3], vec![2, 2, 1], vec![1, 0, 4, 0], vec![0, 5], vec![3, 2]] {
                let links = locals(counts.len(), Duration::from_secs(30));
                let mut rest = blocks.clone();
                let own: Vec<Vec<Vec<f32>>> =
                    counts.iter().map(|&count| rest.drain(..count).collect()).collect();
                thread::scope(|scope| {
                    for (mut link, own) in links.into_iter().zip(own) {
                        let (counts, expected, pieces) = (&counts, &expected, &pieces);
                        scope.spawn(move || {
                            let mut exchange = Exchange::new(&mut link, elements, pieces, counts);
                            for block in &own {
                                pieces.iter().for_each(|piece| exchange.put(&block[piece.clone()]));
                            }
                            let found = exchange.end(true).unwrap().unwrap();
                            assert_eq!(bits(&found), bits(expected), "{counts:?} {pieces:?}");
                        });
                    }
                });
            }
        }
    }

    /// Wherever a rank stops, all learn of it, none waits, and the next sum is that of all.
    #[test]
    fn a_rank_that_fails_leaves_nothing_behind() {
        let (elements, counts) = (100, [1, 2, 1]);
        let pieces = pieces(elements, 17);
        let blocks: Vec<_> = (0..4).map(|block| gradient(block, elements)).collect();
        let expected = bits(&add_up(blocks.clone().into_iter()));
        let first = [0, 1, 3];
        for fails in 0..3 {
            for after in 0..=counts[fails] * pieces.len() {
                let links = locals(3, Duration::from_secs(30));
                thread::scope(|scope| {
                    for (rank, mut link) in links.into_iter().enumerate() {
                        let (pieces, blocks, expected) = (&pieces, &blocks, &expected);
                        scope.spawn(move || {
                            let mut exchange = |left: usize, computed: bool| {
                                let own = &blocks[first[rank]..first[rank] + counts[rank]];
                                let mut exchange = Exchange::new(&mut link, elements, pieces, &counts);
                                let all = own
                                    .iter()
                                    .flat_map(|block| pieces.iter().map(move |at| &block[at.clone()]));
                                all.take(left).for_each(|piece| exchange.put(piece));
                                exchange.end(computed).unwrap()
                            };
                            let found =
                                if rank == fails { exchange(after, false) } else { exchange(99, true) };
                            assert!(found.is_none());
                            assert_eq!(bits(&exchange(99, true).unwrap()), *expected);
                        });
                    }
                });
            }
        }
    }

    #[test]
    fn who_has_ended_or_is_silent_is_told() {
        let told = |patience: Duration, other: fn(Local)| {
            let mut links = locals(2, patience);
            let (last, mut first) = (links.pop().unwrap(), links.pop().unwrap());
            other(last);
            sum_in_order(&mut first, 4, &[1, 1], vec![vec![1.0; 4]]).unwrap_err().to_string()
        };
        assert_eq!(told(Duration::from_secs(60), drop), "rank 1: it has ended");
        let silent = told(Duration::from_millis(300), std::mem::forget);
        assert!(silent.starts_with("rank 1: nothing was heard of it"), "{silent}");
        let sends = |message: Vec<u8>| {
            let mut links = locals(2, Duration::from_secs(60));
            let (mut last, mut first) = (links.pop().unwrap(), links.pop().unwrap());
            last.send(0, message).unwrap();
            last.send(0, Part::Done.message(&[])).unwrap();
            sum_in_order(&mut first, 4, &[1, 1], vec![vec![1.0; 4]]).unwrap_err().to_string()
        };
        let wrong = sends(Part::Gradients.message(&[0.0]));
        assert!(wrong.contains("4 bytes of gradients instead of 8"), "{wrong}");
        let less = sends(Part::Sums.message(&[0.0; 2]));
        assert!(less.contains("less of its gradients than it has"), "{less}");
        let few = sends(Part::Gradients.message(&[0.0; 2]));
        assert!(few.contains("too few sums"), "{few}");
        assert!(
            sends(vec![9]).contains("what is no gradient") && sends(vec![]).contains("what is no gradient")
        );
    }
}

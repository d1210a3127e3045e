//! Sums over the blocks of all ranks, each element added in the order of the blocks.

use std::ops::Range;
use std::time::Instant;

use super::blocks::slice;
use super::link::Link;
use super::times::{StepTimes, timed};
use crate::train::wire_format::WireFormat;
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

    fn message(self, wire: WireFormat, values: &[f32]) -> Vec<u8> {
        let mut message = Vec::with_capacity(1 + wire.bytes(values.len()));
        message.push(self as u8);
        wire.put(values, &mut message);
        message
    }
}

/// Pieces that may be under way before the first of them is waited for: while one is added, others travel.
const AHEAD: usize = 2;

/// The sum of the gradients of the blocks of all ranks, piece by piece, while they are being computed. Each rank adds one slice
/// of each piece for all, so that none sends or receives much more than twice what it holds, however many there are.
pub(super) struct Exchange<'a> {
    link: &'a mut dyn Link,
    /// How gradients and sums travel.
    wire: WireFormat,
    /// Which elements each piece has, the same on all ranks.
    pieces: &'a [Range<usize>],
    /// How many blocks each rank has.
    counts: &'a [usize],
    /// How many pieces of how many own blocks there were.
    put: usize,
    /// How many pieces were added.
    added: usize,
    /// What each rank has sent. Of this one its slices of its own pieces; but rank 0, whose blocks are the first of all, adds its own
    /// up in the place of the whole.
    others: Vec<Other>,
    /// The sum, or what of it there is.
    whole: Vec<f32>,
    /// What it waits for.
    pub times: &'a mut StepTimes,
    failed: bool,
    /// What went wrong with the link, after which nobody can be told anything.
    broken: Option<Error>,
}

/// What came from a rank.
#[derive(Debug, Default)]
struct Other {
    /// This rank's slices of its pieces, block by block, as they travel, with the first byte of each message; empty once they were
    /// added.
    gradients: Vec<Vec<u8>>,
    /// How many sums.
    sums: usize,
    ended: bool,
}

impl<'a> Exchange<'a> {
    /// Begins to add so many `elements`, which are in `pieces`; `counts` says how many blocks each rank has.
    pub(super) fn new(
        (link, wire): (&'a mut dyn Link, WireFormat),
        elements: usize,
        pieces: &'a [Range<usize>],
        counts: &'a [usize],
        times: &'a mut StepTimes,
    ) -> Self {
        let others = (0..link.size()).map(|_| Other::default()).collect();
        let (whole, failed, broken) = (vec![0.0; elements], false, None);
        Exchange { link, wire, pieces, counts, put: 0, added: 0, others, whole, times, failed, broken }
    }

    /// Whether there will be no sum, so that what is computed for it is of no use.
    pub(super) fn is_over(&self) -> bool {
        self.failed || self.broken.is_some()
    }

    /// Sends a piece of this rank's next block, in the order of the pieces, and adds one that was sent before.
    pub(super) fn put(&mut self, values: &[f32]) {
        if !self.is_over()
            && let Err(error) = self.working(|this| this.try_put(values))
        {
            self.broken = Some(error);
        }
    }

    /// Counts what `work` takes, but for what it waits for, as time of adding.
    fn working<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let (began, waited) = (Instant::now(), self.times.exchanging());
        let done = work(self);
        let waited = self.times.exchanging() - waited;
        self.times.add += (began.elapsed().as_secs_f64() - waited).max(0.0);
        done
    }

    fn try_put(&mut self, values: &[f32]) -> Result<()> {
        let (rank, ranks, wire) = (self.link.rank(), self.link.size(), self.wire);
        let (block, number) = (self.put / self.pieces.len(), self.put % self.pieces.len());
        self.put += 1;
        let last = block + 1 == self.counts[rank];
        let piece = self.pieces[number].clone();
        let part = |of: usize| slice(piece.len(), wire.unit(), of, ranks);
        // The first blocks of all, whose sum begins that of the whole.
        let joined = rank == 0 && self.joins();
        if rank == 0 {
            let own = if joined { 0..piece.len() } else { part(0) };
            let sum = &mut self.whole[piece.start + own.start..piece.start + own.end];
            wire.rounded(&values[own], |at, values| add(block == 0, &mut sum[at..], values));
            if joined && !last {
                return Ok(());
            }
        }
        for to in usize::from(rank == 0)..ranks {
            let values = if joined { &self.whole[piece.clone()] } else { values };
            let message = Part::Gradients.message(wire, &values[part(to)]);
            match to == rank {
                true => self.others[rank].gradients.push(message),
                false => self.send(to, message)?,
            }
        }
        if last && number >= AHEAD { self.add() } else { Ok(()) }
    }

    /// Whether the blocks of rank 0 travel as one, their sum, as they may where nothing is rounded on the way.
    fn joins(&self) -> bool {
        self.counts[0] > 1 && self.wire == WireFormat::F32
    }

    /// How many blocks of a rank travel to this one.
    fn travelling(&self, rank: usize) -> usize {
        if rank == 0 && self.joins() { 1 } else { self.counts[rank] }
    }

    fn send(&mut self, to: usize, message: Vec<u8>) -> Result<()> {
        timed(&mut self.times.send, || self.link.send(to, message))
    }

    /// The elements of a rank's slice of a piece.
    fn slice_of(&self, piece: usize, rank: usize) -> Range<usize> {
        let Range { start, end } = self.pieces[piece];
        let within = slice(end - start, self.wire.unit(), rank, self.link.size());
        start + within.start..start + within.end
    }

    /// Adds the next piece, and sends the sum.
    fn add(&mut self) -> Result<()> {
        let (rank, ranks) = (self.link.rank(), self.link.size());
        let piece = self.added;
        let mine = self.slice_of(piece, rank);
        // Where nobody has a block, nothing was learned.
        let mut sum = vec![0.0; mine.len()];
        let mut begins = true;
        if rank == 0 && self.counts[0] > 0 {
            sum.copy_from_slice(&self.whole[mine.clone()]);
            begins = false;
        }
        for from in usize::from(rank == 0)..ranks {
            for block in 0..self.travelling(from) {
                let place = block * self.pieces.len() + piece;
                while from != rank && !self.is_over() && self.others[from].gradients.len() <= place {
                    self.take(from)?;
                }
                if self.is_over() {
                    return Ok(());
                }
                let bytes =
                    self.others[from].gradients.get_mut(place).map(std::mem::take).unwrap_or_default();
                let bytes = self.whole_of(from, &bytes, mine.len())?;
                self.wire.lend(bytes, |at, values| add(begins, &mut sum[at..], values));
                begins = false;
            }
        }
        self.added += 1;
        let message = Part::Sums.message(self.wire, &sum);
        // What the others get is the sum of this one, too.
        let whole = &mut self.whole[mine];
        self.wire.lend(&message[1..], |at, values| whole[at..at + values.len()].copy_from_slice(values));
        (0..ranks).filter(|&to| to != rank).try_for_each(|to| self.send(to, message.clone()))
    }

    /// Takes the next message of a rank.
    fn take(&mut self, from: usize) -> Result<()> {
        let broken =
            |message: &str| Error::Rank { rank: from, message: format!("{message}: this is a defect") };
        if self.others[from].ended {
            return Err(broken("it sent less of its gradients than it has"));
        }
        let adds = self.added < self.pieces.len();
        let waited = if adds { &mut self.times.gradients } else { &mut self.times.sums };
        let bytes = timed(waited, || self.link.receive(from))?;
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
                let bytes = self.whole_of(from, &bytes, theirs.len())?;
                let whole = &mut self.whole[theirs];
                self.wire.lend(bytes, |at, values| whole[at..at + values.len()].copy_from_slice(values));
                self.others[from].sums += 1;
            }
        }
        Ok(())
    }

    /// What a message of so many elements holds behind its first byte.
    fn whole_of<'b>(&self, from: usize, message: &'b [u8], elements: usize) -> Result<&'b [u8]> {
        let (bytes, expected) = (message.get(1..).unwrap_or_default(), self.wire.bytes(elements));
        if bytes.len() == expected {
            return Ok(bytes);
        }
        let found = bytes.len();
        let message = format!("it sent {found} bytes of gradients instead of {expected}: this is a defect");
        Err(Error::Rank { rank: from, message })
    }

    /// The sum, once all have added their slices; none where a rank has failed. `computed` says whether this one has put all
    /// pieces of all its blocks, and they count.
    ///
    /// # Errors
    /// Those of the link; [`Error::Rank`] where a rank sends another number of elements.
    pub(super) fn end(mut self, computed: bool) -> Result<Option<Vec<f32>>> {
        self.failed |= !computed;
        self.working(Self::try_end)?;
        Ok((!self.failed).then_some(self.whole))
    }

    fn try_end(&mut self) -> Result<()> {
        while !self.is_over() && self.added < self.pieces.len() {
            self.add()?;
        }
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let (rank, ranks) = (self.link.rank(), self.link.size());
        let last = if self.failed { Part::Failed } else { Part::Done };
        for to in (0..ranks).filter(|&to| to != rank) {
            self.send(to, vec![last as u8])?;
        }
        for from in (0..ranks).filter(|&from| from != rank) {
            while !self.others[from].ended {
                self.take(from)?;
            }
        }
        let sums = |other: &Other| other.sums == self.pieces.len();
        let missing = (0..ranks).find(|&from| from != rank && !sums(&self.others[from]));
        match missing.filter(|_| !self.failed) {
            None => Ok(()),
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
    let mut times = StepTimes::default();
    Exchange::new((link, WireFormat::F32), 0, &[], &[], &mut times).end(false).map(drop)
}

/// What the gradients of the blocks of all ranks add up to: an [`Exchange`] of one piece, when all is there. `own` are those of
/// this rank's blocks, in their order; `counts` says how many each rank has.
///
/// # Errors
/// Those of the link; [`Error::Rank`] where a rank sends another number of elements, or has failed.
pub(super) fn sum_in_order(
    (link, wire): (&mut dyn Link, WireFormat),
    elements: usize,
    counts: &[usize],
    own: Vec<Vec<f32>>,
    times: &mut StepTimes,
) -> Result<Vec<f32>> {
    let rank = link.rank();
    let all = 0..elements;
    let mut exchange = Exchange::new((link, wire), elements, std::slice::from_ref(&all), counts, times);
    own.iter().for_each(|block| exchange.put(block));
    let failed = || Error::Rank { rank, message: "another rank has failed".to_owned() };
    exchange.end(true)?.ok_or_else(failed)
}

/// The first elements of `sum` and their addends; or these alone, where the sum begins.
fn add(begins: bool, sum: &mut [f32], addends: &[f32]) {
    match begins {
        true => sum[..addends.len()].copy_from_slice(addends),
        false => sum.iter_mut().zip(addends).for_each(|(sum, addend)| *sum += addend),
    }
}

#[cfg(test)]
mod tests;

//! What the micro-batches of a step add up on the device, and the proof that all of them did.

use crate::gpu::{Buffer, Gpu, Recorder, Region};
use crate::{Error, Result};

/// Regions of a buffer begin at multiples of this.
const REGION: u64 = 256;

/// Sums over the replays since they were last cleared: weighted losses, right answers, tickets; one f32 each.
#[derive(Clone)]
pub struct Totals(Buffer);

/// What the totals held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sums {
    /// Weighted losses.
    pub loss: f32,
    /// Right answers.
    pub correct: f32,
}

impl Totals {
    /// All zeros.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Totals(gpu.buffer("the totals", 3 * REGION)?))
    }

    fn region(&self, index: u64) -> Region {
        Region { buffer: self.0.clone(), offset: index * REGION, bytes: 16 }
    }

    /// Where weighted losses are added up.
    pub fn loss(&self) -> Region {
        self.region(0)
    }

    /// Where right answers are counted.
    pub fn correct(&self) -> Region {
        self.region(1)
    }

    /// Where tickets are added up.
    pub fn tickets(&self) -> Region {
        self.region(2)
    }

    /// Records zeroing all of them.
    pub fn clear(&self, recorder: &mut Recorder) {
        let all = recorder.bind(&(&self.0).into());
        recorder.clear(all);
    }

    /// Reads the sums over the replays that were given `tickets`.
    ///
    /// # Errors
    /// [`Error::Gpu`] when not all of them ran; as [`Gpu::read`].
    pub async fn read(&self, gpu: &Gpu, tickets: &Tickets) -> Result<Sums> {
        let stride = REGION as usize / 4;
        let words: Vec<f32> = gpu.read(&self.0, 0, 2 * stride + 1).await?;
        tickets.verify("measuring", words[2 * stride])?;
        Ok(Sums { loss: words[0], correct: words[stride] })
    }
}

/// One number for each replay, which adds it to the totals. Some drivers drop a submission and report it as done;
/// the sum of the tickets then is another.
#[derive(Debug, Default)]
pub struct Tickets {
    issued: u32,
    sum: f32,
}

impl Tickets {
    /// The next replay's: small, so that f32 adds up the tickets of a million replays exactly.
    pub fn issue(&mut self) -> f32 {
        let ticket = (self.issued % 16 + 1) as f32;
        self.issued += 1;
        self.sum += ticket;
        ticket
    }

    /// The sum of those issued.
    pub fn sum(&self) -> f32 {
        self.sum
    }

    /// Compares with what the device added up in `operation`.
    pub(super) fn verify(&self, operation: &str, found: f32) -> Result<()> {
        if found == self.sum {
            return Ok(());
        }
        Err(Error::Gpu {
            operation: operation.into(),
            message: format!(
                "the tickets of {} micro-batches add up to {found} instead of {}: not all of them were computed",
                self.issued, self.sum
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Tickets;

    #[test]
    fn every_missing_or_repeated_ticket_shows() {
        let mut tickets = Tickets::default();
        let issued: Vec<f32> = (0..40).map(|_| tickets.issue()).collect();
        tickets.verify("test", tickets.sum()).unwrap();
        for ticket in issued {
            for found in [tickets.sum() - ticket, tickets.sum() + ticket, f32::NAN] {
                let error = tickets.verify("test", found).unwrap_err().to_string();
                assert!(error.contains("not all of them were computed"), "{error}");
            }
        }
    }

    #[test]
    fn a_million_tickets_are_added_exactly() {
        let mut tickets = Tickets::default();
        let exact: u64 = (0..1 << 20).map(|_| tickets.issue() as u64).sum();
        assert_eq!(tickets.sum() as u64, exact);
    }
}

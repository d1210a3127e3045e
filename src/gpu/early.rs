//! Reading what a recording has computed while the rest of it runs.

use std::ops::Range;
use std::sync::Arc;

use super::buffer::Buffer;
use super::readback::ReadBack;
use super::recording::Recording;
use crate::{Error, Result};

/// A part of a buffer that is to be read: elements of four bytes.
#[derive(Debug, Clone)]
pub struct Part {
    /// The buffer.
    pub buffer: Buffer,
    /// Which of its elements.
    pub elements: Range<usize>,
}

impl Part {
    fn bytes(&self) -> Range<u64> {
        4 * self.elements.start as u64..4 * self.elements.end as u64
    }
}

impl Recording {
    /// After how many of its commands nothing in it writes to a part any more; 0 for what it never writes to.
    pub fn final_after(&self, part: &Part) -> usize {
        let Range { start, end } = part.bytes();
        let overlaps = self.written.iter().filter(|(region, _)| {
            Arc::ptr_eq(&region.buffer.0, &part.buffer.0)
                && region.offset < end
                && start < region.offset + region.bytes
        });
        overlaps.map(|(_, commands)| *commands).max().unwrap_or(0)
    }

    /// [`Recording::replay`] that begins to read each part as soon as it is final, so that it arrives while the rest runs. It is
    /// cut into a submission more for each moment at which one is.
    ///
    /// None for parts whose reading was not begun: as many as the device has no memory for any more, and all where submissions
    /// are timed. They are final when all has run.
    ///
    /// # Errors
    /// As [`Recording::replay`] and [`Gpu::begin_read`](super::Gpu::begin_read).
    pub fn replay_reading(&self, parts: &[Part]) -> Result<Vec<Option<ReadBack>>> {
        let finals: Vec<usize> = parts.iter().map(|part| self.final_after(part)).collect();
        // What delivers a proof stays with what follows it.
        let mut cuts: Vec<usize> = finals.iter().copied().filter(|&cut| cut <= self.together()).collect();
        cuts.sort_unstable();
        let mut begun: Vec<Option<ReadBack>> = parts.iter().map(|_| None).collect();
        let mut full = false;
        self.replay_in_parts(&cuts, &mut |submitted| {
            for ((part, place), &after) in parts.iter().zip(&mut begun).zip(&finals) {
                if full || place.is_some() || after > submitted {
                    continue;
                }
                match self.gpu.begin_part(part) {
                    Ok(read) => *place = Some(read),
                    Err(Error::OutOfMemory { .. }) => full = true,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })?;
        Ok(begun)
    }
}

impl super::Gpu {
    /// Begins to read a part.
    ///
    /// # Errors
    /// As [`Gpu::begin_read`](super::Gpu::begin_read).
    pub fn begin_part(&self, part: &Part) -> Result<ReadBack> {
        let Range { start, end } = part.bytes();
        self.begin_read(&part.buffer, start, end - start)
    }
}

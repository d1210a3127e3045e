//! A rank's part of a step: its blocks, whose gradients are added to those of all while they are being computed.

use std::ops::Range;
use std::time::Instant;

use super::exchange::Exchange;
use super::link::Link;
use super::times::StepTimes;
use crate::Result;
use crate::optim::Sums;
use crate::train::objective::Objective;
use crate::train::trainer::{Trainer, Whole};
use crate::train::wire_format::WireFormat;

/// What all ranks know of a step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shared {
    pub whole: Whole,
    /// How many blocks each rank has.
    pub counts: Vec<usize>,
    /// The gradients in the order in which they are added.
    pub pieces: Vec<Range<usize>>,
    /// How they travel.
    pub wire: WireFormat,
}

/// What a rank has after its part.
#[derive(Debug)]
pub(super) struct Learned {
    /// The sums of its blocks, or why it has none.
    pub sums: Result<Vec<Sums>>,
    /// The gradient of all blocks of all ranks; none where one of them has failed.
    pub gradient: Option<Vec<f32>>,
}

/// Learns from the blocks of this rank, each of which comes with how many keys of dropout were used before it. What that waits for
/// is added to `times`.
///
/// # Errors
/// Those of the link, after which nobody can be told.
pub(super) fn learn<O: Objective>(
    trainer: &mut Trainer<O>,
    link: &mut dyn Link,
    shared: &Shared,
    blocks: &[(u64, impl AsRef<[O::Batch]>)],
    times: &mut StepTimes,
) -> Result<Learned> {
    let Shared { whole, counts, pieces, wire } = shared;
    let mut exchange = Exchange::new((link, *wire), trainer.gradient_elements(), pieces, counts, times);
    let mut sums = Ok(Vec::with_capacity(blocks.len()));
    for (keys, batches) in blocks {
        if exchange.is_over() {
            break;
        }
        trainer.set_keys_used(*keys);
        let mut since = Instant::now();
        let each = |number: usize, values: &[f32]| {
            let waited = since.elapsed().as_secs_f64();
            *if number == 0 { &mut exchange.times.compute } else { &mut exchange.times.read } += waited;
            exchange.put(values);
            since = Instant::now();
        };
        let learned = pollster::block_on(trainer.learn_block(whole, batches.as_ref(), pieces, each));
        exchange.times.read += since.elapsed().as_secs_f64();
        match (&mut sums, learned) {
            (Ok(all), Ok(sums)) => all.push(sums),
            (_, Err(error)) => {
                sums = Err(error);
                break;
            }
            (Err(_), _) => break,
        }
    }
    let gradient = exchange.end(sums.is_ok())?;
    Ok(Learned { sums, gradient })
}

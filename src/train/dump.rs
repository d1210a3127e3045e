//! The batches of a run as one safetensors file, so that another program can train on exactly them.
//!
//! For S steps of B sequences of T tokens with at most M masked rows: `input_ids` [S, B, T], `bounds` [S, B, T, 2],
//! `masked_rows` [S, M], `labels` [S, M] as 32-bit integers, -1 where a step has fewer than M; `lr` `[S]` as f64; the
//! same but `lr` below `held_out/` for the held-out sequences, whose last batch is filled up with empty sequences.

use std::sync::Arc;

use safetensors::tensor::{Dtype, TensorView};

use super::config::TrainConfig;
use super::pretrain::held_out_batches;
use crate::data::{Batch, Batcher, BatcherOptions, Dataset, Split};
use crate::{Error, Result};

/// Runs with more tokens than this are not written: the arrays are put together in memory.
const TOKENS: u64 = 1 << 27;

/// The bytes of a file with the batches, learning rates and held-out batches that a run of `config` on `dataset` sees.
///
/// # Errors
/// [`Error::Config`] when the batch size changes during the run or the run is longer than 2^27 tokens; those of
/// the recipe and the data.
pub fn dump_batches(config: &TrainConfig, dataset: &Arc<Dataset>) -> Result<Vec<u8>> {
    config.check()?;
    let plan = config.plan()?;
    if plan.largest_batch() != config.batch_sequences {
        return Err(Error::config("dump-batches", "a run with `ramp` `constant`", config.ramp));
    }
    let tokens = plan.total_sequences().saturating_mul(dataset.seq_len() as u64);
    if tokens > TOKENS {
        return Err(Error::config("dump-batches", format!("a run of at most {TOKENS} tokens"), tokens));
    }
    let options = BatcherOptions {
        seed: config.seed,
        masking: config.masking,
        mask_padding: config.model.mask_padding,
    };
    let batcher = Batcher::new(dataset.clone(), options)?;
    let steps = plan.steps_from(0);
    let train = steps.map(|step| batcher.train(step.first_sequence..step.first_sequence + step.sequences));
    let train = train.collect::<Result<Vec<_>>>()?;
    let held_out = config.evaluate.sequences.min(dataset.len(Split::HeldOut));
    let held_out = held_out_batches(&batcher, held_out, config.micro_batch_sequences())?;

    let mut arrays = arrays("", &train);
    let rates = plan.steps_from(0).flat_map(|step| step.learning_rate.to_le_bytes()).collect();
    arrays.push(("lr".to_owned(), Dtype::F64, vec![train.len()], rates));
    if !held_out.is_empty() {
        arrays.extend(self::arrays("held_out/", &held_out));
    }
    let unsound = |error: safetensors::SafeTensorError| {
        Error::config("dump-batches", "arrays that safetensors can hold", error)
    };
    let views = arrays
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)));
    let views = views.collect::<Result<Vec<_>, _>>().map_err(unsound)?;
    // Strings are all that the free text of a safetensors file takes.
    // One entry: several would stand in an order that changes from run to run.
    let about = [("format".to_owned(), "wgrad-batches 1".to_owned())].into();
    safetensors::serialize(views, Some(about)).map_err(unsound)
}

type Array = (String, Dtype, Vec<usize>, Vec<u8>);

/// The four arrays of `batches`, which all have one shape.
fn arrays(prefix: &str, batches: &[Batch]) -> Vec<Array> {
    let (sequences, seq_len) = batches.first().map_or((0, 0), |batch| (batch.sequences, batch.seq_len));
    let most = batches.iter().map(|batch| batch.masked_rows.len()).max().unwrap_or(0);
    let filled = |values: fn(&Batch) -> &[u32]| {
        let row = |batch: &Batch| {
            let values = values(batch).iter().map(|&value| value as i32);
            values.chain(std::iter::repeat(-1)).take(most).flat_map(i32::to_le_bytes).collect::<Vec<u8>>()
        };
        batches.iter().flat_map(row).collect::<Vec<u8>>()
    };
    let ids = batches.iter().flat_map(|batch| &batch.input_ids).flat_map(|id| id.to_le_bytes()).collect();
    let bounds = batches.iter().flat_map(|batch| batch.bounds.as_flattened());
    let bounds = bounds.flat_map(|bound| bound.to_le_bytes()).collect();
    let steps = batches.len();
    let array =
        |name: &str, shape: &[usize], bytes| (format!("{prefix}{name}"), Dtype::I32, shape.to_vec(), bytes);
    vec![
        array("input_ids", &[steps, sequences, seq_len], ids),
        array("bounds", &[steps, sequences, seq_len, 2], bounds),
        array("masked_rows", &[steps, most], filled(|batch| &batch.masked_rows)),
        array("labels", &[steps, most], filled(|batch| &batch.labels)),
    ]
}

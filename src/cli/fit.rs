//! How much memory a run may take: `--memory`, `--micro-batch auto` and `--dry-run`.

use anyhow::Context;
use wgrad::format::thousands;
use wgrad::gpu::{Gpu, GpuOptions};
use wgrad::train::Estimate;
use wgrad::train::fit::Fit;

use super::device;
use super::print;

/// Of the memory that a GPU shares with programs, this part may go to training.
const SHARED: f64 = 0.75;

/// How large micro-batches are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MicroBatch {
    /// So many sequences.
    Of(u64),
    /// As many as fit.
    Auto,
}

impl MicroBatch {
    /// The number, if one was given.
    pub fn given(self) -> Option<u64> {
        match self {
            MicroBatch::Of(sequences) => Some(sequences),
            MicroBatch::Auto => None,
        }
    }
}

/// For `--micro-batch`.
pub fn micro_batch(text: &str) -> Result<MicroBatch, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(MicroBatch::Auto),
        (_, Ok(sequences)) => Ok(MicroBatch::Of(sequences)),
        _ => Err("expected a number of sequences or auto".to_owned()),
    }
}

/// In how many layers inner results are computed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recompute {
    /// In so many.
    Of(usize),
    /// In as many as a larger micro-batch takes.
    Auto,
}

impl Recompute {
    /// The number, if one was given.
    pub fn given(self) -> Option<usize> {
        match self {
            Recompute::Of(layers) => Some(layers),
            Recompute::Auto => None,
        }
    }
}

/// For `--recompute`.
pub fn recompute(text: &str) -> Result<Recompute, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(Recompute::Auto),
        (_, Ok(layers)) => Ok(Recompute::Of(layers)),
        _ => Err("expected a number of layers or auto".to_owned()),
    }
}

/// For `--memory`: `7GB`, `500MiB`, `8000000000`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let unit = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1_u64 << 30,
        _ => 0,
    };
    match digits.parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e15 && unit > 0 => Ok((number * unit as f64) as u64),
        _ => Err("expected a size such as 7GB or 500MiB".to_owned()),
    }
}

/// Which sizes of a run the program chooses.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    /// How many sequences are computed at once.
    pub micro_batch: bool,
    /// In how many layers inner results are computed twice.
    pub recompute: bool,
}

impl Chosen {
    /// Those of which `auto` was said.
    pub fn of(micro_batch: Option<MicroBatch>, recompute: Option<Recompute>) -> Self {
        Chosen {
            micro_batch: micro_batch == Some(MicroBatch::Auto),
            recompute: recompute == Some(Recompute::Auto),
        }
    }

    /// Whether it chooses any.
    pub fn any(self) -> bool {
        self.micro_batch || self.recompute
    }

    /// What `largest` finds to fit on the device, of so many `layers`; where GPU and programs share memory, within what is
    /// free of it. Says what was chosen.
    pub fn fit(
        self,
        options: &GpuOptions,
        layers: usize,
        largest: impl FnOnce(&Gpu) -> wgrad::Result<Fit>,
    ) -> anyhow::Result<Fit> {
        pollster::block_on(async {
            let mut options = options.clone();
            let about = Gpu::chosen(&options).await?;
            if options.memory.is_none() && about.device_type != "discrete" {
                // Allocations there succeed until nothing else runs.
                options.memory = wgrad::budget::free().map(|free| (SHARED * free as f64) as u64);
            }
            let fit = largest(&device::open(&options).await?)?;
            let budget =
                options.memory.map(|budget| format!(" within {}", megabytes(budget))).unwrap_or_default();
            if self.micro_batch {
                print::note(format_args!("micro-batch {}: the largest that fits{budget}", fit.micro_batch));
            }
            if self.recompute {
                print::note(format_args!(
                    "recompute  {} of {layers} layers, as few as it takes",
                    fit.recompute
                ));
            }
            Ok(fit)
        })
    }
}

/// `1234567890` as `1,235 MB`.
fn megabytes(bytes: u64) -> String {
    format!("{} MB", thousands((bytes as f64 / 1e6).round() as u64))
}

/// Prints what a run will take.
pub fn report(estimate: &Estimate, json: bool) -> anyhow::Result<()> {
    if json {
        return print::line(serde_json::to_string(estimate).context("the estimate as JSON")?);
    }
    let memory = &estimate.memory;
    let part = |bytes: u64| thousands((bytes as f64 / 1e6).round() as u64);
    print::line(format_args!("model        {} parameters", thousands(estimate.parameters)))?;
    print::line(format_args!(
        "memory       {}: weights {}, gradients {}, optimizer {}, on the way {}",
        megabytes(memory.total),
        part(memory.weights),
        part(memory.gradients),
        part(memory.optimizer),
        part(memory.transient)
    ))?;
    print::line(format_args!("work         {:.1} MFLOP per token", estimate.flops_per_token / 1e6))?;
    print::line(format_args!(
        "micro-batch  {} sequences in {:.1} ms; the optimizer {:.1} ms",
        estimate.micro_batch,
        1e3 * estimate.micro_batch_seconds,
        1e3 * estimate.optimizer_seconds
    ))?;
    let speed = estimate.tokens_per_second;
    print::line(format_args!(
        "speed        {} tokens per second on {}",
        thousands(speed as u64),
        estimate.device
    ))?;
    let [steps, sequences, tokens] = [estimate.steps, estimate.sequences, estimate.tokens].map(thousands);
    print::line(format_args!("run          {steps} steps, {sequences} sequences, {tokens} tokens"))?;
    print::line(format_args!("time         {:.2} hours", estimate.hours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let good = [("7GB", 7_000_000_000), ("1.5 MiB", 1_572_864), ("8000", 8000), ("2g", 2_000_000_000)];
        good.into_iter().for_each(|(text, expected)| assert_eq!(bytes(text), Ok(expected)));
        ["", "GB", "-1GB", "0", "7TB", "many", "1e300"]
            .into_iter()
            .for_each(|bad| assert!(bytes(bad).is_err()));
        assert_eq!(micro_batch("auto"), Ok(MicroBatch::Auto));
        assert_eq!(micro_batch("8"), Ok(MicroBatch::Of(8)));
        assert!(micro_batch("all").is_err());
        assert_eq!(recompute("auto"), Ok(Recompute::Auto));
        assert_eq!(recompute("0"), Ok(Recompute::Of(0)));
        assert!(recompute("-1").is_err());
    }
}

//! What several processes gain that share the steps of a run, by arithmetic: how long a step of one takes, how many bytes of
//! gradients there are, and how fast the network is.
//!
//! The micro-batches of a step are divided among N ranks, of which the one with the most decides how long they take. Then
//! each rank sends every other one the slice of its gradients that is the other's to add up, and gets the sums of all
//! slices: 2 G (N - 1)/N bytes that each rank sends, and as many that it receives, of G bytes of gradients. The optimizer's
//! part is that of one process, as each rank does all of it. Ranks that learn by themselves send as much, and only after some
//! of the steps. That gradients travel while the backward pass of the last micro-batch runs is left out, so a step may take
//! less, by no more than that pass takes; latency, copies between the device and memory, evaluations and checkpoints are left
//! out as well.

use serde::Serialize;

use super::config::TrainConfig;
use crate::{Error, Result};

/// How much of what a network carries is payload: 1448 of the 1538 bytes that a full packet of TCP takes on Ethernet.
const PAYLOAD: f64 = 1448.0 / 1538.0;

/// As many ranks there may be.
pub const MOST_RANKS: u64 = 1000;

/// What a step takes in one process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepTime {
    /// Seconds for forward and backward of a micro-batch.
    pub micro_batch: f64,
    /// Seconds for the optimizer's part.
    pub optimizer: f64,
}

/// A run to be shared.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// Steps of one size each: how many steps, and how many micro-batches such a step has.
    pub steps: Vec<(u64, u64)>,
    /// What a step takes.
    pub time: StepTime,
    /// G: bytes of gradients, as they travel.
    pub gradients: u64,
    /// What the network carries from each rank, and to it, in bits per second.
    pub network: f64,
    /// After how many of all steps ranks send something: all, or fewer where they learn by themselves in between.
    pub exchanges: u64,
}

/// The run with so many ranks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranks {
    /// N
    pub ranks: u64,
    /// Hours of the run.
    pub hours: f64,
    /// Seconds of a step, the mean over the run.
    pub step_seconds: f64,
    /// Seconds of a step in which the network carries gradients, the mean over the run.
    pub network_seconds: f64,
    /// Bytes that each rank sends in a step, the mean over the run.
    pub traffic_bytes: f64,
    /// How many times as fast as one process.
    pub speedup: f64,
    /// Which part of what N processes could do at best that is, up to 1.
    pub efficiency: f64,
}

impl Scaling {
    /// The run of `config`, whose gradients take so many bytes in f32.
    ///
    /// # Errors
    /// As [`TrainConfig::plan`]; [`Error::Config`] for times or a network that are not positive.
    pub fn of(config: &TrainConfig, time: StepTime, gradients: u64, network: f64) -> Result<Self> {
        if !(network > 0.0 && network.is_finite()) {
            return Err(Error::config("network", "bits per second, more than 0", network));
        }
        if !(time.micro_batch > 0.0
            && time.optimizer >= 0.0
            && (time.micro_batch + time.optimizer).is_finite())
        {
            let found = format!("{} and {}", time.micro_batch, time.optimizer);
            return Err(Error::config("step-seconds", "seconds, more than 0", found));
        }
        let mut steps: Vec<(u64, u64)> = Vec::new();
        for step in config.plan()?.steps_from(0) {
            let micro_batches = step.sequences.div_ceil(config.micro_batch_sequences());
            match steps.last_mut() {
                Some((count, same)) if *same == micro_batches => *count += 1,
                _ => steps.push((1, micro_batches)),
            }
        }
        let all = steps.iter().map(|(count, _)| *count).sum();
        let exchanges = config.sync.map_or(all, |sync| sync.exchanges(all));
        let gradients = config.wire.bytes(gradients as usize / size_of::<f32>()) as u64;
        Ok(Scaling { steps, time, gradients, network, exchanges })
    }

    /// How many micro-batches the largest steps have: more ranks than that gain nothing.
    pub fn most_micro_batches(&self) -> u64 {
        self.steps.iter().map(|(_, micro_batches)| *micro_batches).max().unwrap_or(0)
    }

    /// Seconds of the run in which `ranks` compute.
    fn computing(&self, ranks: u64) -> f64 {
        let step = |micro_batches: u64| {
            micro_batches.div_ceil(ranks) as f64 * self.time.micro_batch + self.time.optimizer
        };
        self.steps.iter().map(|(count, micro_batches)| *count as f64 * step(*micro_batches)).sum()
    }

    /// The run with `ranks`, 1 at least.
    pub fn with(&self, ranks: u64) -> Ranks {
        let ranks = ranks.max(1);
        let count: u64 = self.steps.iter().map(|(count, _)| *count).sum();
        let count = count.max(1) as f64;
        let exchanged = 2.0 * self.gradients as f64 * (ranks - 1) as f64 / ranks as f64;
        let traffic_bytes = exchanged * self.exchanges as f64 / count;
        let network_seconds = 8.0 * traffic_bytes / (self.network * PAYLOAD);
        let seconds = self.computing(ranks) + count * network_seconds;
        let speedup = self.computing(1) / seconds;
        Ranks {
            ranks,
            hours: seconds / 3600.0,
            step_seconds: seconds / count,
            network_seconds,
            traffic_bytes,
            speedup,
            efficiency: speedup / ranks as f64,
        }
    }

    /// The run with 1, 2, 4, … 64 ranks, and with `ranks` among them.
    pub fn table(&self, ranks: u64) -> Vec<Ranks> {
        let mut all: Vec<u64> = (0..7).map(|power| 1 << power).chain([ranks]).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter().map(|ranks| self.with(ranks)).collect()
    }
}

/// Bits per second out of `100Mbit`, `1Gbit` or `2.5Gbit/s`.
///
/// # Errors
/// [`Error::Config`] for anything else.
pub fn bits_per_second(text: &str) -> Result<f64> {
    let wrong = || Error::config("network", "a rate such as 100Mbit or 1Gbit", crate::error::quoted(text));
    let rate = text.trim().to_ascii_lowercase();
    let rate = rate.strip_suffix("/s").unwrap_or(&rate);
    let digits = rate.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &rate[digits.len()..] {
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        "tbit" => 1e12,
        _ => return Err(wrong()),
    };
    let number = digits.trim().parse::<f64>().ok().filter(|number| *number > 0.0 && *number < 1e15);
    number.map(|number| number * unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::wire_format::WireFormat;

    /// 100 steps of 8 micro-batches of half a second, a second for the optimizer, and a gigabyte of gradients.
    fn scaling(network: f64) -> Scaling {
        let time = StepTime { micro_batch: 0.5, optimizer: 1.0 };
        Scaling { steps: vec![(100, 8)], time, gradients: 1_000_000_000, network, exchanges: 100 }
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{found} instead of {expected}");
    }

    #[test]
    fn ranks_by_hand() {
        // A gigabyte a second of payload.
        let scaling = scaling(8e9 / PAYLOAD);
        let one = scaling.with(1);
        assert_eq!(
            (one.traffic_bytes, one.network_seconds, one.speedup, one.efficiency),
            (0.0, 0.0, 1.0, 1.0)
        );
        near(one.step_seconds, 5.0);
        near(one.hours, 500.0 / 3600.0);
        // Four micro-batches each, and a gigabyte from each.
        let two = scaling.with(2);
        near(two.traffic_bytes, 1e9);
        near(two.network_seconds, 1.0);
        near(two.step_seconds, 2.0 + 1.0 + 1.0);
        near(two.efficiency, 5.0 / 4.0 / 2.0);
        // Once in ten steps.
        let seldom = Scaling { exchanges: 10, ..scaling.clone() }.with(2);
        near(seldom.traffic_bytes, 1e8);
        near(seldom.step_seconds, 2.0 + 1.0 + 0.1);
        // One of three has two micro-batches, two have three.
        let three = scaling.with(3);
        near(three.traffic_bytes, 4e9 / 3.0);
        near(three.step_seconds, 1.5 + 1.0 + 4.0 / 3.0);
        // Where every rank has one micro-batch, more of them only send more.
        let [eight, sixteen] = [8, 16].map(|ranks| scaling.with(ranks));
        near(eight.step_seconds, 0.5 + 1.0 + 1.75);
        near(sixteen.step_seconds, 0.5 + 1.0 + 1.875);
        assert!(sixteen.hours > eight.hours && scaling.most_micro_batches() == 8);
    }

    #[test]
    fn what_does_not_send_scales_as_its_work_does() {
        let free =
            Scaling { gradients: 0, time: StepTime { micro_batch: 0.5, optimizer: 0.0 }, ..scaling(1e9) };
        for ranks in [1, 2, 4, 8] {
            near(free.with(ranks).efficiency, 1.0);
        }
        let slow = scaling(1e8).table(3);
        let ranks: Vec<u64> = slow.iter().map(|row| row.ranks).collect();
        assert_eq!(ranks, [1, 2, 3, 4, 8, 16, 32, 64]);
        // At 100 Mbit/s the network takes longer than all that two save.
        assert!(slow[1].speedup < 0.1 && slow.iter().all(|row| row.efficiency <= 1.0));
    }

    #[test]
    fn batches_that_grow_are_counted_at_each_size() {
        let config = TrainConfig::preset("notebook").unwrap();
        let time = StepTime { micro_batch: 0.1, optimizer: 0.02 };
        let scaling = Scaling::of(&config, time, 1, 1e9).unwrap();
        let plan = config.plan().unwrap();
        let micro_batch = config.micro_batch_sequences();
        assert_eq!(scaling.steps.iter().map(|(count, _)| count).sum::<u64>(), plan.total_steps());
        let sequences: u64 = scaling.steps.iter().map(|(count, size)| count * size * micro_batch).sum();
        assert_eq!(sequences, plan.total_sequences());
        assert_eq!(scaling.most_micro_batches(), plan.largest_batch() / micro_batch);
        assert!(scaling.steps.len() > 3);
        let sent = |wire: WireFormat| {
            let config = TrainConfig { wire, ..config.clone() };
            Scaling::of(&config, time, 400_000_000, 1e9).unwrap().with(2).traffic_bytes
        };
        near(sent(WireFormat::F32), 4e8);
        near(sent(WireFormat::F16), 2e8 * (1.0 + 1.0 / 512.0));
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let micro_batch = StepTime { micro_batch: wrong, ..time };
            assert!(Scaling::of(&config, micro_batch, 1, 1e9).is_err());
            assert!(Scaling::of(&config, time, 1, wrong).is_err());
        }
    }

    #[test]
    fn rates_are_read() {
        let good = [("1Gbit", 1e9), ("100Mbit/s", 1e8), ("2.5 gbit", 2.5e9), ("56kbit", 56e3)];
        good.into_iter().for_each(|(text, expected)| near(bits_per_second(text).unwrap(), expected));
        for bad in ["", "1", "Gbit", "1GB", "0Mbit", "-1Gbit", "1e300Gbit", "many"] {
            let refused = bits_per_second(bad).unwrap_err().to_string();
            assert!(
                refused.starts_with("network: expected a rate such as 100Mbit or 1Gbit, found"),
                "{refused}"
            );
        }
    }
}

//! Where the time of a step goes: each kernel and size beside the least time that it could take.

use std::collections::BTreeMap;

use serde::Serialize;
use wgrad::gpu::{Cost, Peaks, Timing};

/// A round command by command.
#[derive(Serialize)]
pub(super) struct Profile {
    peaks: Given,
    profile: Vec<Line>,
    totals: Totals,
}

/// The peaks that are held against, in the units of the other figures.
#[derive(Serialize)]
struct Given {
    gflops: f64,
    unit_gflops: f64,
    gbps: f64,
}

/// All commands of a kernel of one size.
#[derive(Serialize)]
struct Line {
    kernel: String,
    groups: [u32; 3],
    count: usize,
    flops: f64,
    bytes: f64,
    units: bool,
    limit: Limit,
    roofline_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    measured: Option<Measured>,
}

/// What the least time follows from.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Limit {
    Compute,
    Memory,
}

#[derive(Clone, Copy, Serialize)]
struct Measured {
    ms: f64,
    gflops: f64,
    /// Of the roofline.
    share: f64,
    lost_ms: f64,
}

#[derive(Serialize)]
struct Totals {
    dispatches: usize,
    transfers: usize,
    flops: f64,
    bytes: f64,
    roofline_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<f64>,
}

/// Figures for peaks on the command line: operations of f32 and on matrix units, and bytes, per second.
pub(super) fn peaks(text: &str) -> Result<Peaks, String> {
    let expected = "expected three figures per second, operations in f32, operations on matrix units and bytes, as \
                    15e12,30e12,448e9";
    let figures: Result<Vec<f64>, _> = text.split(',').map(|figure| figure.trim().parse()).collect();
    match figures.as_deref() {
        Ok(&[flops, unit_flops, bytes])
            if [flops, unit_flops, bytes].iter().all(|figure| figure.is_finite() && *figure > 0.0) =>
        {
            Ok(Peaks { flops, unit_flops, bytes })
        }
        _ => Err(expected.to_owned()),
    }
}

impl Profile {
    /// Commands of one kernel and size together; those first whose time is furthest from the least, or whose least time is
    /// the longest where nothing was timed.
    pub(super) fn new(commands: &[Timing], peaks: Peaks) -> Self {
        type Key<'a> = (&'a str, [u32; 3], [u64; 2]);
        let mut sums: BTreeMap<Key<'_>, (Cost, usize, Option<f64>)> = BTreeMap::new();
        for Timing { kernel, groups, cost, seconds } in commands {
            let key = (kernel.as_str(), *groups, [cost.flops, cost.bytes].map(f64::to_bits));
            let (_, count, sum) = sums.entry(key).or_insert((*cost, 0, seconds.map(|_| 0.0)));
            *count += 1;
            *sum = sum.zip(*seconds).map(|(sum, seconds)| sum + seconds);
        }
        let line = |((kernel, groups, _), (cost, count, seconds)): (Key<'_>, (Cost, usize, Option<f64>))| {
            let times = count as f64;
            let roofline_ms = 1e3 * times * peaks.seconds(&cost);
            Line {
                kernel: kernel.to_owned(),
                groups,
                count,
                flops: times * cost.flops,
                bytes: times * cost.bytes,
                units: cost.units,
                limit: if peaks.computes(&cost) { Limit::Compute } else { Limit::Memory },
                roofline_ms,
                measured: seconds.map(|seconds| Measured {
                    ms: 1e3 * seconds,
                    gflops: times * cost.flops / seconds / 1e9,
                    share: roofline_ms / 1e3 / seconds,
                    lost_ms: 1e3 * seconds - roofline_ms,
                }),
            }
        };
        let mut profile: Vec<Line> = sums.into_iter().map(line).collect();
        let lost = |line: &Line| line.measured.map_or(line.roofline_ms, |measured| measured.lost_ms);
        profile.sort_by(|a, b| lost(b).total_cmp(&lost(a)));
        let sum = |of: fn(&Line) -> f64| profile.iter().map(of).sum::<f64>();
        let dispatches = commands.iter().filter(|command| command.groups != [0; 3]).count();
        let timed = profile.iter().any(|line| line.measured.is_some());
        let totals = Totals {
            dispatches,
            transfers: commands.len() - dispatches,
            flops: sum(|line| line.flops),
            bytes: sum(|line| line.bytes),
            roofline_ms: sum(|line| line.roofline_ms),
            ms: timed.then(|| sum(|line| line.measured.map_or(0.0, |measured| measured.ms))),
        };
        let Peaks { flops, unit_flops, bytes } = peaks;
        let peaks = Given { gflops: flops / 1e9, unit_gflops: unit_flops / 1e9, gbps: bytes / 1e9 };
        Profile { peaks, profile, totals }
    }

    /// For people: what is held against.
    pub(super) fn heading(&self) -> String {
        let Given { gflops, unit_gflops, gbps } = self.peaks;
        format!("Against {gflops:.1} GFLOP/s, {unit_gflops:.1} on matrix units, and {gbps:.1} GB/s:")
    }

    /// For people: the lines, and their sum.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let timed = self.totals.ms.is_some();
        let mut heading = vec!["kernel", "workgroups", "count", "GFLOP", "MB", "limit", "least ms"];
        if timed {
            heading.extend(["ms", "share", "ms lost"]);
        }
        let mut rows = vec![heading.into_iter().map(String::from).collect::<Vec<_>>()];
        for line in &self.profile {
            let [x, y, z] = line.groups;
            let limit = match (line.limit, line.units) {
                (Limit::Memory, _) => "memory",
                (Limit::Compute, false) => "compute",
                (Limit::Compute, true) => "units",
            };
            let mut row = vec![
                line.kernel.clone(),
                if line.groups == [0; 3] { String::new() } else { format!("{x} x {y} x {z}") },
                line.count.to_string(),
                format!("{:.2}", line.flops / 1e9),
                format!("{:.2}", line.bytes / 1e6),
                limit.to_owned(),
                format!("{:.3}", line.roofline_ms),
            ];
            if let Some(Measured { ms, share, lost_ms, .. }) = line.measured {
                row.extend([format!("{ms:.3}"), format!("{share:.2}"), format!("{lost_ms:.3}")]);
            }
            rows.push(row);
        }
        let Totals { dispatches, transfers, flops, bytes, roofline_ms, ms } = self.totals;
        let mut last = vec![
            "all".to_owned(),
            format!("{dispatches} dispatches"),
            (dispatches + transfers).to_string(),
            format!("{:.2}", flops / 1e9),
            format!("{:.2}", bytes / 1e6),
            String::new(),
            format!("{roofline_ms:.3}"),
        ];
        if let Some(ms) = ms {
            last.extend([
                format!("{ms:.3}"),
                format!("{:.2}", roofline_ms / ms),
                format!("{:.3}", ms - roofline_ms),
            ]);
        }
        rows.push(last);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_three_figures() {
        let given = peaks("15e12, 30e12,448e9").unwrap();
        assert_eq!(given, Peaks { flops: 15e12, unit_flops: 30e12, bytes: 448e9 });
        for wrong in ["", "15e12", "15e12,30e12", "1,2,3,4", "1,2,x", "1,0,3", "1,2,-3", "1,2,inf"] {
            assert!(peaks(wrong).unwrap_err().contains("15e12,30e12,448e9"), "{wrong}");
        }
    }
}

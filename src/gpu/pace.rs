//! Where a recording is cut into submissions, so that none runs long.

use std::ops::Range;

/// The part of the longest submission that cuts are planned for: what commands should take is only known by the speed
/// of matrix products, which other commands may miss by a few times.
const PLANNED: f64 = 0.25;

/// The part of it that cuts are made for once submissions were timed; others may use the device at the same time.
const MEASURED: f64 = 0.5;

/// A recording that should take less than this part of the longest submission is never timed, because it would have to
/// be 16 times slower than expected to matter.
const SHORT: f64 = 1.0 / 16.0;

/// How often commands that should take `expected` seconds in all go into one submission, where they are repeated.
pub(super) fn rounds(expected: f64, longest: f64) -> usize {
    match expected <= SHORT * longest {
        true => (PLANNED * longest / expected.max(1e-6)) as usize,
        false => 1,
    }
}

/// How a recording is cut. Only the cuts between submissions follow from it, never what is computed.
#[derive(Debug, PartialEq)]
pub(super) struct Pace {
    /// The first command of each submission but the first.
    cuts: Vec<usize>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Never run: drivers may compile yet, so that a time would say little.
    New,
    /// The next replay is timed.
    Warm,
    /// The cuts stay as they are.
    Settled,
}

impl Pace {
    /// Cuts commands that should take `expected` seconds each, of which those from `together` on stay with the last
    /// submission. A submission should take no longer than `longest` seconds. `timed` says whether a replay can wait
    /// for the device, which none in a page can.
    pub(super) fn planned(expected: &[f64], together: usize, longest: f64, timed: bool) -> Self {
        let long = expected.iter().sum::<f64>() > SHORT * longest;
        let stage = if timed && long { Stage::New } else { Stage::Settled };
        Pace { cuts: cuts(expected, together, PLANNED * longest), stage }
    }

    /// The commands of each submission of the next replay, of `commands` in all.
    pub(super) fn submissions(&self, commands: usize) -> Vec<Range<usize>> {
        let starts = [0].into_iter().chain(self.cuts.iter().copied());
        let ends = self.cuts.iter().copied().chain([commands]);
        starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| start..end).collect()
    }

    /// Whether the submissions of the next replay are to be timed.
    pub(super) fn is_timed(&self) -> bool {
        self.stage == Stage::Warm
    }

    /// Learns from a replay whose submissions took `seconds`, if they were timed. Commands of one submission are taken
    /// to have shared its time as was expected of them.
    pub(super) fn learn(&mut self, seconds: &[f64], expected: &[f64], together: usize, longest: f64) {
        self.stage = match self.stage {
            Stage::New => Stage::Warm,
            Stage::Warm | Stage::Settled => Stage::Settled,
        };
        if seconds.is_empty() {
            return;
        }
        let mut times = Vec::with_capacity(expected.len());
        for (commands, seconds) in self.submissions(expected.len()).into_iter().zip(seconds) {
            let expected = &expected[commands];
            let sum: f64 = expected.iter().sum();
            match sum > 0.0 {
                true => times.extend(expected.iter().map(|time| time / sum * seconds)),
                false => times.extend(expected.iter().map(|_| seconds / expected.len() as f64)),
            }
        }
        self.cuts = cuts(&times, together, MEASURED * longest);
    }
}

/// The fewest cuts between commands of these times that keep every submission of several within `most` seconds. Those
/// from `together` on count as one command.
fn cuts(seconds: &[f64], together: usize, most: f64) -> Vec<usize> {
    let together = together.min(seconds.len());
    let rest = (together < seconds.len()).then(|| seconds[together..].iter().sum());
    let mut cuts = Vec::new();
    let mut sum = 0.0;
    for (index, time) in seconds[..together].iter().copied().chain(rest).enumerate() {
        if index > 0 && sum + time > most {
            cuts.push(index);
            sum = 0.0;
        }
        sum += time;
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submissions_stay_short_and_are_few() {
        assert!(cuts(&[], 0, 0.2).is_empty() && cuts(&[0.9], 1, 0.2).is_empty());
        assert_eq!(cuts(&[0.1, 0.05, 0.1, 0.3, 0.01, 0.01], 6, 0.2), [2, 3, 4]);
        // What stays with the last submission is counted there.
        assert_eq!(cuts(&[0.1, 0.05, 0.04, 0.03], 2, 0.2), [2]);
        assert!(cuts(&[0.1, 0.05, 0.3, 0.3], 0, 0.2).is_empty());
    }

    #[test]
    fn the_first_replay_follows_the_plan() {
        // A quarter of 0.4 s is aimed at.
        let expected = [0.06, 0.06, 0.02, 0.3, 0.01, 0.01];
        let submissions = |together| Pace::planned(&expected, together, 0.4, true).submissions(6);
        assert_eq!(submissions(6), [0..1, 1..3, 3..4, 4..6]);
        assert_eq!(submissions(3), [0..1, 1..3, 3..6]);
        assert!(Pace::planned(&[], 0, 0.4, true).submissions(0).is_empty());
        // A single submission that is not short is timed once, in case it takes longer than it should.
        let mut pace = Pace::planned(&[0.05], 1, 0.4, true);
        assert!(!pace.is_timed());
        pace.learn(&[], &[0.05], 1, 0.4);
        assert!(pace.is_timed());
        pace.learn(&[0.05], &[0.05], 1, 0.4);
        assert!(!pace.is_timed());
    }

    #[test]
    fn short_recordings_and_those_in_a_page_are_never_timed() {
        for mut pace in
            [Pace::planned(&[1e-5; 500], 500, 0.25, true), Pace::planned(&[0.1; 500], 500, 0.25, false)]
        {
            for _ in 0..4 {
                assert!(!pace.is_timed());
                pace.learn(&[], &[1e-5; 500], 500, 0.25);
            }
        }
    }

    #[test]
    fn times_adjust_the_plan_once() {
        let expected = [0.1; 4];
        let mut pace = Pace::planned(&expected, 4, 0.4, true);
        assert_eq!(pace.submissions(4), [0..1, 1..2, 2..3, 3..4]);
        pace.learn(&[], &expected, 4, 0.4);
        // Half of 0.4 s is aimed at: three fast commands fit, the slow one stands alone.
        pace.learn(&[0.05, 0.05, 0.05, 0.9], &expected, 4, 0.4);
        assert_eq!(pace.submissions(4), [0..3, 3..4]);
        pace.learn(&[], &expected, 4, 0.4);
        assert_eq!(pace.submissions(4), [0..3, 3..4]);
        // One submission that took four times as long as it should is cut by its commands' shares.
        let expected = [0.01, 0.02, 0.03];
        let mut pace = Pace::planned(&expected, 3, 0.4, true);
        assert_eq!(pace.submissions(3).len(), 1);
        pace.learn(&[], &expected, 3, 0.4);
        pace.learn(&[0.24], &expected, 3, 0.4);
        assert_eq!(pace.submissions(3), [0..2, 2..3]);
    }
}

//! Where a recording is cut into submissions, so that none runs long.

use std::ops::Range;

/// A page cannot wait for a device to measure it, so submissions are cut by the time that their commands should take,
/// which is aimed at this part of what they may.
const BLIND: f64 = 0.25;

/// What is known of a recording's time. Only the cuts between submissions follow from it, never what is computed.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Pace {
    /// Never run: drivers may compile yet.
    #[default]
    Unknown,
    /// Run once.
    Warm,
    /// Too long for one submission; how long each command takes is not known yet.
    Long,
    /// The first command of each submission but the first.
    Cut(Vec<usize>),
}

/// What a replay is to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    Nothing,
    /// The time of everything.
    Whole,
    /// The time of each submission.
    Each,
}

impl Pace {
    /// The submissions of a replay of commands that should take `expected` seconds each, of which those from `together`
    /// on stay with the last, and what is to be measured. A submission should take no longer than `longest`.
    pub(super) fn pieces(
        &self,
        expected: &[f64],
        together: usize,
        longest: f64,
    ) -> (Vec<Range<usize>>, Measure) {
        let commands = expected.len();
        let (cuts, measure): (Vec<usize>, _) = match self {
            _ if cfg!(target_arch = "wasm32") => (blind(expected, together, longest), Measure::Nothing),
            Pace::Unknown => ((1..=together).collect(), Measure::Nothing),
            Pace::Warm => ((1..=together).collect(), Measure::Whole),
            Pace::Long => ((1..=together).collect(), Measure::Each),
            Pace::Cut(cuts) => (cuts.clone(), Measure::Nothing),
        };
        let ends = cuts.iter().copied().chain([commands]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        (
            starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| start..end).collect(),
            measure,
        )
    }

    /// What is known after a replay whose submissions, or which as a whole, took `seconds`, where one is meant to take
    /// no longer than `longest`.
    pub(super) fn next(&self, seconds: &[f64], longest: f64) -> Pace {
        match self {
            Pace::Unknown => Pace::Warm,
            Pace::Warm if seconds.iter().sum::<f64>() > longest => Pace::Long,
            Pace::Warm => Pace::Cut(Vec::new()),
            Pace::Long => Pace::Cut(cuts(seconds, longest)),
            Pace::Cut(cuts) => Pace::Cut(cuts.clone()),
        }
    }
}

/// The cuts for a device whose times nobody has measured.
fn blind(expected: &[f64], together: usize, longest: f64) -> Vec<usize> {
    let cuts = cuts(expected, BLIND * longest);
    cuts.into_iter().filter(|&cut| cut <= together).collect()
}

/// The fewest cuts between commands of these times that keep every submission of several within `longest`.
fn cuts(seconds: &[f64], longest: f64) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut sum = 0.0;
    for (index, &time) in seconds.iter().enumerate() {
        if index > 0 && sum + time > longest {
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
        assert!(cuts(&[], 0.2).is_empty() && cuts(&[0.9], 0.2).is_empty());
        assert_eq!(cuts(&[0.1, 0.05, 0.1, 0.3, 0.01, 0.01], 0.2), [2, 3, 4]);
    }

    #[test]
    fn without_measuring_submissions_follow_from_what_is_expected() {
        // A quarter of 0.4 s is aimed at.
        assert_eq!(blind(&[0.06, 0.06, 0.02, 0.3, 0.01, 0.01], 6, 0.4), [1, 3, 4]);
        assert_eq!(blind(&[0.06, 0.06, 0.02, 0.3, 0.01, 0.01], 3, 0.4), [1, 3]);
        assert!(blind(&[1e-5; 500], 500, 0.2).is_empty());
    }

    #[test]
    fn a_short_recording_ends_as_one_submission_and_a_long_one_as_several() {
        let mut pace = Pace::default();
        let pieces = |pace: &Pace, together| pace.pieces(&[0.1; 4], together, 0.2);
        assert_eq!(pieces(&pace, 2), (vec![0..1, 1..2, 2..4], Measure::Nothing));
        pace = pace.next(&[], 0.2);
        assert_eq!(pieces(&pace, 2), (vec![0..1, 1..2, 2..4], Measure::Whole));
        let short = pieces(&pace.next(&[0.1], 0.2), 2);
        assert_eq!((short.0.len(), short.0[0].clone(), short.1), (1, 0..4, Measure::Nothing));
        pace = pace.next(&[0.5], 0.2);
        assert_eq!(pieces(&pace, 2).1, Measure::Each);
        pace = pace.next(&[0.15, 0.15, 0.2], 0.2);
        assert_eq!(pieces(&pace, 2), (vec![0..1, 1..2, 2..4], Measure::Nothing));
        assert_eq!(pace.next(&[], 0.2), pace);
        // Nothing may be cut, or there is nothing.
        assert_eq!(pieces(&Pace::Warm, 0).0.len(), 1);
        assert!(Pace::Warm.pieces(&[], 0, 0.2).0.is_empty());
    }
}

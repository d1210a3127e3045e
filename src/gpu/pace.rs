//! Where a recording is cut into submissions, so that none runs long.

use std::ops::Range;

/// Commands in one submission of a page, which cannot wait for a device to measure it.
#[cfg(target_arch = "wasm32")]
const BLIND: usize = 16;

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
    /// The submissions of a replay of `commands`, of which those from `together` on stay with the last, and what is
    /// to be measured.
    pub(super) fn pieces(&self, commands: usize, together: usize) -> (Vec<Range<usize>>, Measure) {
        #[cfg(target_arch = "wasm32")]
        let (cuts, measure): (Vec<usize>, _) =
            ((BLIND..=together).step_by(BLIND).collect(), Measure::Nothing);
        #[cfg(not(target_arch = "wasm32"))]
        let (cuts, measure): (Vec<usize>, _) = match self {
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
    fn a_short_recording_ends_as_one_submission_and_a_long_one_as_several() {
        let mut pace = Pace::default();
        assert_eq!(pace.pieces(4, 2), (vec![0..1, 1..2, 2..4], Measure::Nothing));
        pace = pace.next(&[], 0.2);
        assert_eq!(pace.pieces(4, 2), (vec![0..1, 1..2, 2..4], Measure::Whole));
        let short = pace.next(&[0.1], 0.2).pieces(4, 2);
        assert_eq!((short.0.len(), short.0[0].clone(), short.1), (1, 0..4, Measure::Nothing));
        pace = pace.next(&[0.5], 0.2);
        assert_eq!(pace.pieces(4, 2).1, Measure::Each);
        pace = pace.next(&[0.15, 0.15, 0.2], 0.2);
        assert_eq!(pace.pieces(4, 2), (vec![0..1, 1..2, 2..4], Measure::Nothing));
        assert_eq!(pace.next(&[], 0.2), pace);
        // Nothing may be cut, or there is nothing.
        assert_eq!(Pace::Warm.pieces(4, 0).0.len(), 1);
        assert!(Pace::Warm.pieces(0, 0).0.is_empty());
    }
}

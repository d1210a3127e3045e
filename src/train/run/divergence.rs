//! Whether a run's loss has exploded: it was lower once, and is not coming back.

use std::collections::VecDeque;

/// The loss is looked at as a mean of so many steps, so that a single odd batch means nothing.
const STEPS: usize = 20;
/// How far above the best mean a loss may be, in nats, as a share of the best, and in standard errors of a mean, as the
/// losses of small batches scatter widely; the largest of them holds.
const MARGIN: (f64, f64, f64) = (1.0, 0.2, 8.0);
/// How far above the first loss it may be, which is that of a single batch: a share of it and nats, both of them.
const ABOVE_FIRST: (f64, f64) = (0.5, 3.0);

/// The losses of a run, as far as they say whether it still learns.
#[derive(Debug, Default)]
pub(super) struct Divergence {
    first: Option<f64>,
    last: VecDeque<f64>,
    /// The lowest mean, and the largest standard error of those that were the lowest one day.
    best: Option<(f64, f64)>,
}

impl Divergence {
    /// Takes the loss of a step that was applied.
    pub(super) fn note(&mut self, loss: f64) {
        if !loss.is_finite() {
            return;
        }
        self.first.get_or_insert(loss);
        self.last.push_back(loss);
        if self.last.len() > STEPS {
            self.last.pop_front();
        }
        if let Some(mean) = self.mean().filter(|mean| self.best.is_none_or(|(best, _)| *mean < best)) {
            // From step to step, so that a loss that falls is not taken for one that scatters (von Neumann 1941).
            let squares = self.last.iter().zip(self.last.iter().skip(1)).map(|(a, b)| (b - a).powi(2));
            let variance = squares.sum::<f64>() / (2 * (STEPS - 1)) as f64;
            let error = (variance / STEPS as f64).sqrt();
            self.best = Some((mean, self.best.map_or(error, |(_, earlier)| error.max(earlier))));
        }
    }

    /// The level that was left and the present one, where the loss has exploded.
    pub(super) fn exploded(&self) -> Option<(f64, f64)> {
        let (first, (best, error), now) = (self.first?, self.best?, self.mean()?);
        let margin = MARGIN.0.max(MARGIN.1 * best).max(MARGIN.2 * error);
        if now > best + margin {
            return Some((best, now));
        }
        (now > first + ABOVE_FIRST.0 * first + ABOVE_FIRST.1).then_some((first, now))
    }

    /// The mean of the last steps; none before there are enough.
    fn mean(&self) -> Option<f64> {
        (self.last.len() == STEPS).then(|| self.last.iter().sum::<f64>() / STEPS as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(losses: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
        let mut divergence = Divergence::default();
        losses.into_iter().for_each(|loss| divergence.note(loss));
        divergence.exploded()
    }

    #[test]
    fn a_loss_that_leaves_its_best_has_exploded() {
        let falling = || (0..100).map(|step| 10.0 - 0.06 * f64::from(step));
        assert_eq!(after(falling()), None);
        // A few odd batches, however odd.
        assert_eq!(after(falling().chain([6.0, f64::NAN, 9.0, 4.0])), None);
        // Back to guessing by frequency.
        let (best, now) = after(falling().chain([7.0; 30])).unwrap();
        assert!((4.0..5.0).contains(&best) && now == 7.0);
        // And back again.
        assert_eq!(after(falling().chain([7.0; 30]).chain([4.2; 30])), None);
        // From the first steps on.
        assert!(after(std::iter::once(8.0).chain((0..30).map(|step| 20.0 + f64::from(step)))).is_some());
        // A level that stays is none that explodes, however noisy.
        assert_eq!(after((0..200).map(|step| 0.7 + 0.6 * f64::from(step * 7 % 11) / 11.0)), None);
        // Batches of a handful of masked tokens: the first one lucky, the last ones not.
        let scattered = |step: u32| 2.0 + 4.0 * (f64::from(step * 7919 % 1013) / 1013.0 - 0.5);
        assert_eq!(after(std::iter::once(0.01).chain((0..500).map(scattered)).chain([3.4, 3.6, 3.9])), None);
    }
}

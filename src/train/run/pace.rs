//! How fast a run is, and whether its steps are short enough that two may be under way.

use web_time::Instant;

/// A step of so many seconds gains nothing from one that waits behind it, and who stops the run would wait for both.
const LONG_STEP: f64 = 1.0;

pub(super) struct Pace {
    /// Whether the newest step took so short a time that two may be under way.
    pub(super) quick: bool,
    /// When the newest step was finished, and what followed from it was done.
    free_since: Instant,
    /// Tokens and seconds of the newest step.
    newest: (u64, f64),
}

impl Pace {
    pub(super) fn from(began: Instant) -> Self {
        Pace { quick: false, free_since: began, newest: (0, 0.0) }
    }

    /// A step that was begun then has been reported now; its tokens per second.
    pub(super) fn reported(&mut self, begun: Instant, now: Instant, tokens: u64) -> f64 {
        let seconds = now.saturating_duration_since(begun.max(self.free_since)).as_secs_f64();
        self.quick = seconds < LONG_STEP;
        let (mut all, mut long) = (tokens, seconds);
        if begun < self.free_since {
            // It was under way with the one before, and both reports may have come at once.
            all += self.newest.0;
            long += self.newest.1;
        }
        self.newest = (tokens, seconds);
        all as f64 / long.max(1e-9)
    }

    /// What follows from the newest step is done.
    pub(super) fn free(&mut self, now: Instant) {
        self.free_since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn reports_that_come_at_once_are_of_steps_that_took_their_time() {
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        let mut pace = Pace::from(start);
        let mut step = |begun, reported, tokens| {
            let rate = pace.reported(at(begun), at(reported), tokens);
            pace.free(at(reported));
            (rate, pace.quick)
        };
        // Alone; the second is begun beside the first, the third beside the second, and their reports come together.
        assert_eq!(step(0, 2, 100), (500.0, true));
        assert_eq!(step(1, 5, 100), (400.0, true));
        let (rate, quick) = step(3, 5, 200);
        assert!((rate - 1000.0).abs() < 1e-6 && quick, "{rate}");
        // After a pause what was before is no part of it, and a long step is long.
        assert_eq!(step(20, 40, 300), (150.0, false));
    }
}

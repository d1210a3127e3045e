//! Axes: where the ticks go and what they say.

/// A linear map from data to pixels with round ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    step: f64,
}

impl Axis {
    /// An axis over all finite values, drawn from pixel `from` to pixel `to`, with about `ticks` ticks.
    /// `round` widens it to whole ticks. Without values, or with one only, it still has a width.
    pub(super) fn new(
        values: impl Iterator<Item = f64>,
        [from, to]: [f64; 2],
        ticks: usize,
        round: bool,
    ) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| drawable(*value)) {
            // The width of so small an axis would vanish.
            let value = if value.abs() < 1e-290 { 0.0 } else { value };
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if high - low <= 1e-9 * high.abs().max(low.abs()) {
            let around = 0.1 * high.abs();
            (low, high) = if high == 0.0 { (0.0, 1.0) } else { (low - around, high + around) };
        }
        let step = nice((high - low) / ticks.max(1) as f64);
        if round {
            (low, high) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        }
        Self { low, high, from, to, step }
    }

    /// The axis with ticks at whole numbers only.
    pub(super) fn whole(mut self) -> Self {
        self.step = self.step.max(1.0);
        self
    }

    /// The pixel of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Whether the value lies on the axis.
    pub(super) fn holds(&self, value: f64) -> bool {
        let slack = 1e-9 * (self.high - self.low);
        (self.low - slack..=self.high + slack).contains(&value)
    }

    /// Round values inside, at equal distances.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let first = (self.low / self.step - 1e-9).ceil();
        let ticks = (0..64).map(|i| (first + f64::from(i)) * self.step);
        // A negative zero would be written with its sign.
        ticks.take_while(|&tick| self.holds(tick)).map(|tick| tick + 0.0).collect()
    }

    /// What is written at a tick.
    pub(super) fn label(&self, tick: f64) -> String {
        label(tick, self.step)
    }
}

/// Whether a value has a place on an axis: it is finite, and small enough for widths to be so too.
pub(super) fn drawable(value: f64) -> bool {
    value.abs() < 1e300
}

/// The round number (1, 2 or 5 times a power of ten) nearest above `step`.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| step <= factor * power * 1.0001).unwrap_or(10.0);
    factor * power
}

/// A number with as many digits as ticks `step` apart need: `1500`, `12k`, `0.25`, `5e-4`.
fn label(value: f64, step: f64) -> String {
    if value.abs() < 1e-9 * step {
        return "0".to_owned();
    }
    let size = value.abs();
    let (scaled, unit, suffix) = if !(1e-2..1e12).contains(&size) {
        let power = size.log10().floor() as i32;
        let scaled = value / 10f64.powi(power);
        (scaled, step / 10f64.powi(power), format!("e{power}"))
    } else if size >= 1e9 {
        (value / 1e9, step / 1e9, "B".to_owned())
    } else if size >= 1e6 {
        (value / 1e6, step / 1e6, "M".to_owned())
    } else if size >= 1e4 {
        (value / 1e3, step / 1e3, "k".to_owned())
    } else {
        (value, step, String::new())
    };
    // Digits enough to tell ticks apart; a larger unit needs more of them.
    let digits = (-unit.log10()).ceil().clamp(0.0, 6.0) as usize;
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], ticks: usize, round: bool) -> Vec<String> {
        let axis = Axis::new(values.iter().copied(), [0.0, 100.0], ticks, round);
        axis.ticks().into_iter().map(|tick| axis.label(tick)).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&[0.0, 400.0], 4, false), ["0", "100", "200", "300", "400"]);
        assert_eq!(labels(&[2.31, 5.02], 5, true), ["2", "3", "4", "5", "6"]);
        assert_eq!(labels(&[0.0, 2e-3], 4, true), ["0", "5e-4", "1e-3", "1.5e-3", "2e-3"]);
        assert_eq!(labels(&[0.0, 48_000.0], 5, false), ["0", "10k", "20k", "30k", "40k"]);
        assert_eq!(labels(&[0.0, 1_500_000.0], 3, false), ["0", "500k", "1M", "1.5M"]);
        assert_eq!(labels(&[-0.3, 0.3], 3, true), ["-0.4", "-0.2", "0", "0.2", "0.4"]);
    }

    #[test]
    fn every_axis_has_a_width() {
        for values in [
            &[][..],
            &[3.0],
            &[0.0, 0.0],
            &[f64::NAN, 7.0],
            &[f64::INFINITY],
            &[-1e-30, 1e-30],
            &[1e299, -1e299],
            &[5e-324],
        ] {
            for round in [false, true] {
                let axis = Axis::new(values.iter().copied(), [10.0, 20.0], 4, round);
                for value in values.iter().filter(|v| v.is_finite()) {
                    assert!((10.0 - 1e-6..=20.0 + 1e-6).contains(&axis.at(*value)), "{values:?} {axis:?}");
                }
                assert!((1..=64).contains(&axis.ticks().len()), "{values:?} {axis:?}");
                assert!(axis.ticks().iter().all(|tick| axis.at(*tick).is_finite()));
            }
        }
    }
}

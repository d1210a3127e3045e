//! What a training run shows while it lasts: a bar on a terminal, plain lines elsewhere. All on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wgrad::format::thousands;
use wgrad::train::Event;
use wgrad::train::finetune::Scores;
use wgrad::train::metrics::Row;

use super::print;

/// Without a terminal a step is told of no more often than this.
const QUIET: Duration = Duration::from_secs(10);

/// Follows a run.
pub struct Watch {
    /// None without a terminal.
    bar: Option<ProgressBar>,
    total_steps: u64,
    /// The step and the time this session began at.
    began: (u64, Instant),
    told: Option<Instant>,
    /// Smoothed over some steps.
    loss: Option<f64>,
    speed: Option<f64>,
    held_out: Option<f64>,
}

impl Watch {
    /// Nothing is shown before the first event.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(5));
            let template = "{wide_bar} {pos}/{len} {msg} {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        let began = (0, Instant::now());
        Watch { bar, total_steps: 0, began, told: None, loss: None, speed: None, held_out: None }
    }

    /// Shows an event.
    pub fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Ready { step, total_steps, device, parameters, unigram_entropy } => {
                self.total_steps = total_steps;
                self.began = (step, Instant::now());
                self.told = None;
                if let Some(bar) = &self.bar {
                    bar.set_length(total_steps);
                    bar.set_position(step);
                    bar.reset_eta();
                }
                let mut text = format!("{} parameters", thousands(parameters));
                if !device.is_empty() {
                    text = format!("{text} on {device}");
                }
                if let Some(entropy) = unigram_entropy {
                    text = format!("{text}; unigram entropy {entropy:.3} nats");
                }
                if step > 0 {
                    text = format!("{text}; going on after step {step}");
                }
                self.say(&text);
            }
            Event::Step(row) => self.step(row),
            Event::Measuring { done, total } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("measuring {done}/{total}"));
                }
            }
            Event::Epoch { seed, epoch, measured } => {
                self.say(&format!("seed {seed}, epoch {epoch}: {}", summary(measured)));
            }
            Event::Checkpoint { step, path } if self.bar.is_none() => {
                print::note(format_args!("checkpoint of step {step}: {}", path.display()));
            }
            Event::Warning(text) => self.say(&format!("warning: {text}")),
            Event::DeviceLost { step, error } => {
                self.say(&format!("warning: {error} after step {step}; opening it again"));
            }
            _ => {}
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(print::visible(text)),
            None => print::note(text),
        }
    }

    fn step(&mut self, row: &Row) {
        if row.loss.is_finite() {
            let smooth = |old: Option<f64>, new: f64| Some(old.map_or(new, |old| 0.95 * old + 0.05 * new));
            self.loss = smooth(self.loss, row.loss);
            self.speed = smooth(self.speed, row.tokens_per_second);
        }
        self.held_out = row.eval_loss.or(self.held_out);
        let Some(bar) = &self.bar else { return self.line(row) };
        bar.set_position(row.step);
        bar.set_message(self.numbers(", "));
    }

    fn line(&mut self, row: &Row) {
        let due = self.told.is_none_or(|told| told.elapsed() >= QUIET);
        if !due && row.eval_loss.is_none() && row.step < self.total_steps {
            return;
        }
        self.told = Some(Instant::now());
        let (first, began) = self.began;
        let done = row.step.saturating_sub(first);
        let left = self.total_steps.saturating_sub(row.step);
        let mut text = format!("step {}/{} {}", row.step, self.total_steps, self.numbers(" "));
        if done > 0 && left > 0 {
            let seconds = began.elapsed().as_secs_f64() / done as f64 * left as f64;
            text = format!("{text} {} left", duration(seconds));
        }
        print::note(text);
    }

    fn numbers(&self, between: &str) -> String {
        let parts = [
            self.loss.map(|loss| format!("loss {loss:.3}")),
            self.held_out.map(|loss| format!("held-out {loss:.3}")),
            self.speed.map(|speed| format!("{} tokens/s", thousands(speed as u64))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(between)
    }
}

/// `1h02m`, `3m20s`, `45s`.
fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

/// `dev accuracy 0.7762, loss 0.4811`.
pub fn summary(measured: &[(String, Scores)]) -> String {
    let sets = measured.iter().map(|(set, measured)| {
        let scores = measured.scores.iter().map(|(metric, value)| {
            let value = value.map_or("undefined".to_owned(), |value| format!("{value:.4}"));
            format!("{} {value}", metric.name())
        });
        let loss = measured.loss.map(|loss| format!("loss {loss:.4}"));
        format!("{set} {}", scores.chain(loss).collect::<Vec<_>>().join(", "))
    });
    let sets: Vec<_> = sets.collect();
    if sets.is_empty() { "not measured".to_owned() } else { sets.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_smoothed_and_the_last_measurement_stays() {
        let mut watch = Watch::new();
        let before = Row { loss: f64::NAN, eval_loss: Some(8.0), ..Row::default() };
        watch.show(Event::Step(&before));
        assert_eq!(watch.numbers(" "), "held-out 8.000");
        for (step, loss) in [(1, 4.0), (2, f64::INFINITY), (3, 2.0)] {
            let row = Row { step, loss, tokens_per_second: 2000.0, ..Row::default() };
            watch.show(Event::Step(&row));
        }
        assert_eq!(watch.numbers(", "), "loss 3.900, held-out 8.000, 2,000 tokens/s");
    }

    #[test]
    fn durations_are_short() {
        let cases = [(0.4, "0s"), (59.9, "59s"), (200.0, "3m20s"), (3725.0, "1h02m"), (360_000.0, "100h00m")];
        cases.into_iter().for_each(|(seconds, text)| assert_eq!(duration(seconds), text));
    }
}

//! What a finetuning run shows while it lasts: a bar on a terminal, plain lines elsewhere. All on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wgrad::train::finetune::{Event, Measured, Row};

use super::print::{self, count};

/// Without a terminal a step is told of no more often than this.
const QUIET: Duration = Duration::from_secs(10);

/// Follows a run.
pub struct Watch {
    /// None without a terminal.
    bar: Option<ProgressBar>,
    steps: u64,
    told: Instant,
    /// Smoothed over some steps.
    loss: Option<f64>,
}

impl Watch {
    /// Nothing is shown before the first event.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(5));
            if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg} {eta} left") {
                bar.set_style(style);
            }
            bar
        });
        Watch { bar, steps: 0, told: Instant::now(), loss: None }
    }

    /// Shows an event.
    pub fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Ready { seed, steps, texts, parameters, device } => {
                (self.steps, self.loss) = (steps, None);
                if let Some(bar) = &self.bar {
                    bar.set_length(steps);
                    bar.set_position(0);
                    bar.reset_eta();
                }
                let [texts, parameters] = [texts as u64, parameters].map(count);
                self.say(&format!("seed {seed}: {texts} texts, {parameters} parameters on {device}"));
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
            Event::Warning(text) => self.say(&format!("warning: {text}")),
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
            Some(bar) => bar.println(text),
            None => print::note(text),
        }
    }

    fn step(&mut self, row: &Row) {
        if row.loss.is_finite() {
            self.loss = Some(self.loss.map_or(row.loss, |old| 0.9 * old + 0.1 * row.loss));
        }
        let loss = self.loss.map(|loss| format!("loss {loss:.3}")).unwrap_or_default();
        match &self.bar {
            Some(bar) => {
                bar.set_position(row.step);
                bar.set_message(loss);
            }
            None if self.told.elapsed() >= QUIET => {
                self.told = Instant::now();
                print::note(format_args!("step {}/{} {loss}", row.step, self.steps));
            }
            None => {}
        }
    }
}

/// `dev accuracy 0.7762, loss 0.4811`.
pub fn summary(measured: &[(String, Measured)]) -> String {
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

//! What the steps of ranks have waited for, as `--profile` tells it at the end of a run.

use serde::Serialize;
use serde_json::{Map, Value};
use wgrad::train::ranks::{StepTimes, Team};

use super::super::print;

/// What a run ended with, and what its steps waited for where that was asked for.
#[derive(Serialize)]
pub struct Profiled<'s, S> {
    #[serde(flatten)]
    summary: &'s S,
    /// By rank, the mean over its steps in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Vec<Map<String, Value>>>,
}

impl<'s, S> Profiled<'s, S> {
    /// Asks all ranks of `team` where `asked`.
    pub fn new(summary: &'s S, team: &Team, asked: bool) -> wgrad::Result<Self> {
        let times = if asked { Some(team.times()?) } else { None };
        if times.as_ref().is_some_and(|times| times[0].steps == 0) {
            print::note(
                "note: --profile found no step of several blocks; `wgrad bench step --profile` takes one of one block apart",
            );
        }
        let rows = |times: Vec<StepTimes>| {
            times.iter().enumerate().filter(|(_, times)| times.steps > 0).map(row).collect()
        };
        Ok(Profiled { summary, profile: times.map(rows) })
    }

    /// The table, for people.
    pub fn show(&self) -> anyhow::Result<()> {
        let rows = self.profile.as_deref().unwrap_or_default();
        let Some(first) = rows.first() else { return Ok(()) };
        print::line("profile    milliseconds of a step, by rank: the mean over all steps")?;
        let cell = |value: &Value| match value.as_f64().filter(|_| value.is_f64()) {
            Some(seconds) => format!("{:.2}", 1e3 * seconds),
            None => value.to_string(),
        };
        let mut table = vec![first.keys().cloned().collect::<Vec<_>>()];
        table.extend(rows.iter().map(|row| row.values().map(cell).collect()));
        print::table(&table, 0).into_iter().try_for_each(print::line)
    }
}

/// A rank's means; what its parts leave of a step is `other`.
fn row((rank, times): (usize, &StepTimes)) -> Map<String, Value> {
    let mean = |seconds: f64| Value::from(seconds / times.steps as f64);
    let parts = times.parts();
    let other = times.seconds - parts.iter().map(|(_, seconds)| seconds).sum::<f64>();
    let counts = [("rank", Value::from(rank)), ("steps", Value::from(times.steps))];
    let means = [("step", times.seconds)].into_iter().chain(parts).chain([("other", other.max(0.0))]);
    let named = counts.into_iter().chain(means.map(|(name, seconds)| (name, mean(seconds))));
    named.map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_mean_of_a_rank_and_adds_up() {
        let times = StepTimes { steps: 4, seconds: 2.0, compute: 1.0, answers: 0.5, ..StepTimes::default() };
        let row = row((3, &times));
        let names: Vec<&str> = row.keys().map(String::as_str).collect();
        let parts = ["compute", "read", "add", "send", "gradients", "sums", "optimizer", "answers"];
        assert_eq!(names, [&["rank", "steps", "step"][..], &parts, &["other"]].concat());
        assert_eq!((row["rank"].as_u64(), row["steps"].as_u64()), (Some(3), Some(4)));
        let seconds = |name: &str| row[name].as_f64().unwrap();
        assert_eq!((seconds("step"), seconds("compute"), seconds("answers")), (0.5, 0.25, 0.125));
        assert_eq!(parts.iter().map(|name| seconds(name)).sum::<f64>() + seconds("other"), 0.5);
    }
}

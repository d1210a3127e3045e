//! What a changed recipe does to the learning rate of the steps that are left.

use serde_json::{Map, Value};

use crate::train::config::TrainConfig;
use crate::train::schedule::{Plan, Step};

/// What becomes of the learning rate when a run that was begun with the recipe in `stored` goes on after `done` steps by
/// the recipe `current`, which leads to `plan`; none where the recipe of then cannot be read or leads to the same.
pub(super) fn of_rates(
    stored: &Map<String, Value>,
    current: &TrainConfig,
    plan: &Plan,
    done: u64,
) -> Option<String> {
    // What of a recipe changes nothing is not stored.
    let mut recipe = serde_json::to_value(current).ok()?;
    let keys = recipe.as_object_mut()?;
    keys.remove("decay_steps");
    keys.extend(stored.get("recipe")?.as_object()?.clone());
    let stored: TrainConfig = serde_json::from_value(recipe).ok()?;
    let before = stored.plan().ok()?;
    if before == *plan {
        return None;
    }
    let (made, now) = (before.total_steps(), plan.total_steps());
    let rate = |step: Option<Step>| step.map(|step| step.learning_rate);
    let was = rate(before.step(done)).or_else(|| rate(before.step(made.checked_sub(1)?)))?;
    let Some(next) = rate(plan.step(done)) else {
        return Some(format!("{done} steps are done, and the run is to have {now}"));
    };
    let schedule = stored.schedule;
    let what = if (next / was - 1.0).abs() < 1e-9 {
        format!("the learning rate stays at {next:.3e}")
    } else {
        format!("the learning rate goes from {was:.3e} to {next:.3e} at step {}", done + 1)
    };
    Some(format!("the schedule `{schedule}` was made for {made} steps, and for {now} {what}"))
}

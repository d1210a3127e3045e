//! Learning rates and batch sizes against values worked out by hand.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use wgrad::train::schedule::{Budget, Plan, PlanConfig, Ramp, Schedule};

fn config(schedule: Schedule, learning_rate: f64, warmup_steps: u64, budget: Budget) -> PlanConfig {
    let (batch_sequences, ramp, decay_steps) = (32, Ramp::Constant, None);
    PlanConfig { schedule, decay_steps, learning_rate, warmup_steps, batch_sequences, ramp, budget }
}

fn rate(plan: &Plan, index: u64) -> f64 {
    plan.step(index).unwrap().learning_rate
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-15, "{a} is not {b}");
}

#[test]
fn reviews_micro_warms_up_then_falls_to_zero() {
    let plan = Plan::new(config(Schedule::Linear, 2e-3, 100, Budget::Steps(1500))).unwrap();
    assert_eq!((plan.total_steps(), plan.total_sequences()), (1500, 48_000));
    close(rate(&plan, 0), 2e-5);
    close(rate(&plan, 49), 1e-3);
    close(rate(&plan, 99), 2e-3);
    close(rate(&plan, 100), 2e-3);
    close(rate(&plan, 800), 1e-3);
    close(rate(&plan, 1499), 2e-3 / 1400.0);
    assert!(plan.step(1500).is_none());
    let step = plan.step(750).unwrap();
    assert_eq!((step.first_sequence, step.sequences, step.progress), (24_000, 32, 0.5));
}

#[test]
fn cosine_triangle_and_constant() {
    let plan = Plan::new(config(Schedule::Cosine, 1.0, 10, Budget::Steps(110))).unwrap();
    close(rate(&plan, 4), 0.5);
    close(rate(&plan, 10), 1.0);
    close(rate(&plan, 60), 0.5);
    close(rate(&plan, 35), 0.5 + 0.5f64.powf(1.5));

    let plan = Plan::new(config(Schedule::Triangle2, 3.0, 0, Budget::Steps(100))).unwrap();
    close(rate(&plan, 0), 0.005 / 0.75 * 3.0);
    close(rate(&plan, 37), 1.5);
    close(rate(&plan, 75), 0.245 / 0.25 * 3.0);
    close(rate(&plan, 99), 0.06);
    let peak = (0..100).max_by(|&a, &b| rate(&plan, a).total_cmp(&rate(&plan, b))).unwrap();
    assert_eq!(peak, 74);

    let plan = Plan::new(config(Schedule::Constant, 0.25, 2, Budget::Steps(5))).unwrap();
    let rates: Vec<_> = plan.steps_from(0).map(|step| step.learning_rate).collect();
    assert_eq!(rates, [0.125, 0.25, 0.25, 0.25, 0.25]);
}

#[test]
fn the_notebooks_run() {
    let plan = Plan::new(PlanConfig {
        ramp: Ramp::Notebook,
        ..config(Schedule::Notebook, 1e-3, 0, Budget::Sequences(256 * 32_768))
    })
    .unwrap();
    assert_eq!(plan.total_sequences(), 1 << 23);
    // 4·1024 + 4·512 + five times 2048 steps.
    assert_eq!(plan.total_steps(), 16_384);
    assert_eq!(plan.largest_batch(), 2048);
    let at = |macrobatch: u64| plan.steps_from(0).find(|s| s.first_sequence == macrobatch * 32_768).unwrap();
    let batches =
        [(0, 32), (3, 32), (4, 64), (8, 128), (16, 256), (32, 512), (64, 1024), (128, 2048), (255, 2048)];
    for (macrobatch, batch) in batches {
        assert_eq!(at(macrobatch).sequences, batch, "macrobatch {macrobatch}");
    }
    // m = 0: t = 1/512; m = 127: t = 255/512; m = 128: t = 257/512; m = 255: t = 511/512.
    close(at(0).learning_rate, 1e-3 * (2.0 / 512.0) * (511.0 / 512.0));
    close(at(127).learning_rate, 1e-3 * (510.0 / 512.0) * (257.0 / 512.0));
    close(at(128).learning_rate, 1e-3 * (510.0 / 512.0) * (255.0 / 512.0));
    close(at(255).learning_rate, 1e-3 * (2.0 / 512.0) * (1.0 / 512.0));
    let peak = plan.steps_from(0).map(|step| step.learning_rate).fold(0.0, f64::max);
    assert!((4.99e-4..=5e-4).contains(&peak), "{peak}");
    // Constant within a macrobatch: 1024 steps of 32 sequences.
    assert!((0..1024).all(|index| rate(&plan, index) == rate(&plan, 0)));
    assert!(rate(&plan, 1024) > rate(&plan, 1023));
}

#[test]
fn a_ramp_scales_to_any_budget_and_leaves_no_gap() {
    for budget in [1, 2, 5, 31, 100, 333, 1500, 16_384]
        .map(Budget::Steps)
        .into_iter()
        .chain([1, 33, 1000, 12_345, 100_000, 1 << 20].map(Budget::Sequences))
    {
        let plan = Plan::new(PlanConfig { ramp: Ramp::Notebook, ..config(Schedule::Linear, 1.0, 0, budget) })
            .unwrap();
        let mut sequence = 0;
        let mut batch = 32;
        for (index, step) in plan.steps_from(0).enumerate() {
            assert_eq!((step.index, step.first_sequence), (index as u64, sequence), "{budget:?}");
            assert!(step.sequences >= batch && step.sequences.is_power_of_two(), "{budget:?} {step:?}");
            assert!((0.0..1.0).contains(&step.progress));
            assert!(step.learning_rate > 0.0 && step.learning_rate <= 1.0);
            batch = step.sequences;
            sequence += step.sequences;
        }
        assert_eq!(plan.total_sequences(), sequence);
        match budget {
            Budget::Steps(steps) => assert_eq!(plan.total_steps(), steps),
            Budget::Sequences(least) => assert!((least..least + 2048).contains(&sequence), "{budget:?}"),
        }
    }
    // The notebook's run given in steps is the notebook's run.
    let run = |budget| {
        let config = config(Schedule::Notebook, 1e-3, 0, budget);
        Plan::new(PlanConfig { ramp: Ramp::Notebook, ..config }).unwrap()
    };
    let (steps, sequences) = (run(Budget::Steps(16_384)), run(Budget::Sequences(1 << 23)));
    assert_eq!(steps.total_sequences(), sequences.total_sequences());
    // A later step is found without walking there.
    assert_eq!(steps.steps_from(9_000).next(), steps.step(9_000));
}

#[test]
fn names_go_both_ways() {
    for name in ["notebook", "linear", "cosine", "triangle2", "trapezoid", "constant"] {
        let schedule: Schedule = name.parse().unwrap();
        assert_eq!(schedule.to_string(), name);
        assert_eq!(serde_json::to_string(&schedule).unwrap(), format!("\"{name}\""));
    }
    assert_eq!("notebook".parse::<Ramp>().unwrap(), Ramp::Notebook);
    assert_eq!(Ramp::Constant.to_string(), "constant");
    let error = "Linear".parse::<Schedule>().unwrap_err().to_string();
    assert_eq!(
        error,
        "schedule: expected one of `notebook` `linear` `cosine` `triangle2` `trapezoid` `constant`, found `Linear`"
    );
    let written = serde_json::to_string(&config(Schedule::Cosine, 1e-3, 5, Budget::Sequences(9))).unwrap();
    assert!(written.contains(r#""budget":{"sequences":9}"#), "{written}");
    let read: PlanConfig = serde_json::from_str(&written).unwrap();
    assert_eq!(read, config(Schedule::Cosine, 1e-3, 5, Budget::Sequences(9)));
}

#[test]
fn what_cannot_be_names_its_field() {
    let good = config(Schedule::Linear, 1e-3, 0, Budget::Steps(10));
    for (bad, field) in [
        (PlanConfig { learning_rate: 0.0, ..good }, "learning_rate"),
        (PlanConfig { learning_rate: f64::NAN, ..good }, "learning_rate"),
        (PlanConfig { warmup_steps: 10, ..good }, "warmup_steps"),
        (PlanConfig { batch_sequences: 0, ..good }, "batch_sequences"),
        (PlanConfig { batch_sequences: u64::MAX, ..good }, "batch_sequences"),
        (PlanConfig { budget: Budget::Steps(0), ..good }, "steps"),
        (PlanConfig { budget: Budget::Steps(u64::MAX), ..good }, "steps"),
        (PlanConfig { budget: Budget::Sequences(0), ..good }, "sequences"),
        (PlanConfig { budget: Budget::Sequences(u64::MAX), ..good }, "sequences"),
    ] {
        let error = Plan::new(bad).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: expected ")), "{error}");
    }
}

#[test]
fn a_trapezoid_falls_over_its_last_steps() {
    let good = config(Schedule::Trapezoid, 1.0, 2, Budget::Steps(12));
    let rates = |decay_steps| -> Vec<f64> {
        let plan = Plan::new(PlanConfig { decay_steps, ..good }).unwrap();
        plan.steps_from(0).map(|step| step.learning_rate).collect()
    };
    // A quarter of the steps where nothing else is said.
    assert_eq!(rates(None), rates(Some(3)));
    let expected = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.25];
    let found = rates(Some(2));
    assert!(
        found[2..].iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12),
        "{found:?}"
    );
    for (schedule, decay_steps) in
        [(Schedule::Trapezoid, 0), (Schedule::Trapezoid, 13), (Schedule::Linear, 3), (Schedule::Constant, 3)]
    {
        let error = Plan::new(PlanConfig { schedule, decay_steps: Some(decay_steps), ..good }).unwrap_err();
        assert!(error.to_string().starts_with("decay_steps: expected "), "{error}");
    }
}

//! `wgrad plan`, as a person runs it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::process::Output;

use common::program::{error, json, run, stderr, stdout};

/// Runs a command, whose arguments hold no spaces.
fn does(arguments: &str) -> Output {
    run(&arguments.split_whitespace().collect::<Vec<_>>(), "")
}

#[test]
fn what_more_ranks_gain_is_told_without_a_device() {
    let plan =
        "plan --preset notebook --ranks 6 --network 1Gbit --step-seconds 6.45 --optimizer-seconds 0.05";
    let told = json(&["plan"], &does(&format!("{plan} --json")));
    // 64 micro-batches of 32 in the largest step.
    assert_eq!((&told["micro_batches"], &told["micro_batch"]), (&64.into(), &32.into()));
    assert!((told["micro_batch_seconds"].as_f64().unwrap() - 0.1).abs() < 1e-9 && told["device"].is_null());
    assert_eq!(told["gradient_bytes"].as_u64().unwrap(), 4 * told["parameters"].as_u64().unwrap());
    let ranks: Vec<u64> =
        told["plan"].as_array().unwrap().iter().map(|row| row["ranks"].as_u64().unwrap()).collect();
    assert_eq!(ranks, [1, 2, 4, 6, 8, 16, 32, 64]);
    let table = stdout(&does(plan));
    assert!(table.contains("541 MB of 135,330,816 parameters") && table.contains("efficiency\n"), "{table}");
    let output = does(&plan.replace("--ranks 6", "--ranks 65"));
    assert!(stderr(&output).starts_with("note: 64 of 65 ranks would have work"), "{}", stderr(&output));
    let refused = error(&does(&format!("{plan} --set freeze=embeddings")), 1);
    assert!(refused.starts_with("error: step-seconds: expected a recipe that trains all"), "{refused}");
    for wrong in ["0.05", "0.01", "0", "nan", "inf"] {
        let refused = error(&does(&plan.replace("6.45", wrong)), 1);
        let told =
            "error: step-seconds: expected seconds, more than --optimizer-seconds, which are 0 or more";
        assert!(refused.starts_with(told), "{refused}");
        assert!(refused.contains("--step-seconds") && refused.contains("and --optimizer-seconds 0.05"));
    }
    assert_eq!(does(&plan.replace("1Gbit", "1GB")).status.code(), Some(2));
}

#[test]
fn parameters_that_are_frozen_have_no_gradients() {
    if common::gpu().is_none() {
        return;
    }
    let plan = "plan --preset micro --ranks 2 --network 56kbit --set freeze=embeddings";
    let told = json(&["plan"], &does(&format!("{plan} --json")));
    let [gradients, parameters] = ["gradient_bytes", "parameters"].map(|name| told[name].as_u64().unwrap());
    assert!(gradients > 0 && gradients < 4 * parameters, "{told}");
    let table = stdout(&does(plan));
    let trained = wgrad::format::thousands(gradients / 4);
    let expected = format!(" MB of {trained} parameters in f32; the network carries 56 kbit/s\n");
    assert!(table.contains(&expected), "{table}");
}

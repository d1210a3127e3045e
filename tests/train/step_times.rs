//! What the seconds of steps go to, on all ranks.

use std::time::Duration;

use crate::commands::{SMALL, pretrain};
use crate::common::golden::{Golden, options, split};
use crate::common::program::json;
use crate::common::ranks::{PATIENCE, hello, with_others};
use crate::{Place, common};
use wgrad::Result;
use wgrad::gpu::{Choices, Gpu, GpuOptions, MatrixOperands};
use wgrad::train::ranks::{
    DataParallel, Learns, Link, Local, LocalTraining, StepTimes, Team, TrainerPlan, work,
};
use wgrad::train::{LocalSteps, StepEngine};

const BLOCKS: usize = 3;
const STEPS: u64 = 3;
/// So long a slow rank takes to send a message of gradients or sums.
const SLOW: Duration = Duration::from_millis(40);

/// A link on which what rank 2 sends to rank 1 takes its time.
struct Slow(Local);

impl Link for Slow {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn send(&mut self, to: usize, message: Vec<u8>) -> Result<()> {
        if (self.rank(), to) == (2, 1) {
            std::thread::sleep(SLOW);
        }
        self.0.send(to, message)
    }

    fn receive(&mut self, from: usize) -> Result<Vec<u8>> {
        self.0.receive(from)
    }
}

fn works(link: Local) -> Result<()> {
    let open =
        |_: &TrainerPlan, _: Option<MatrixOperands>| pollster::block_on(Gpu::open(&GpuOptions::default()));
    work(&mut Slow(link), &hello(), open)
}

/// The times of all ranks, each of whose parts is there, and no more than the whole.
fn times(team: &Team, steps: u64) -> Vec<StepTimes> {
    let all = team.times().unwrap();
    assert_eq!(all.len(), team.size());
    for times in &all {
        let sum: f64 = times.parts().iter().map(|(_, seconds)| seconds).sum();
        assert_eq!(times.steps, steps, "{times:?}");
        assert!(times.parts().iter().all(|(_, seconds)| *seconds >= 0.0), "{times:?}");
        assert!(sum <= times.seconds * (1.0 + 1e-9), "{sum} of {times:?}");
        // What is counted nowhere is little.
        assert!(sum >= 0.5 * times.seconds, "{sum} of {times:?}");
        assert!(times.compute > 0.0 && times.optimizer > 0.0, "{times:?}");
    }
    all
}

fn plan(golden: &Golden) -> TrainerPlan {
    TrainerPlan {
        config: golden.config.clone(),
        kernels: Choices::default(),
        learns: Learns::Masked(options(1)),
    }
}

#[test]
fn each_rank_tells_what_its_steps_wait_for() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let batches = split(&golden.batch());
    let plan = plan(&golden);
    let (all, others) = with_others(3, PATIENCE, works, |team| {
        let mut engine = DataParallel::pretraining(&gpu, &plan, BLOCKS, team).unwrap();
        assert_eq!(team.times().unwrap(), [StepTimes::default(); 3]);
        for _ in 0..STEPS {
            pollster::block_on(engine.step(&batches, 1e-2)).unwrap();
            // What lies between two steps is in none of them.
            pollster::block_on(engine.evaluate(&batches)).unwrap();
        }
        times(team, STEPS)
    });
    others.into_iter().for_each(|other| other.unwrap());
    // Gradients, sums, and that this is all; the first two of each piece.
    let least = STEPS as f64 * 3.0 * SLOW.as_secs_f64();
    let [first, waits, slow] = &all[..] else { panic!("{all:?}") };
    assert!(slow.send >= least, "{slow:?}");
    assert!(slow.send > 2.0 * waits.send.max(first.send), "{all:?}");
    // Who waits for it, by the messages that it does not send at once.
    assert!(waits.gradients + waits.sums >= 0.5 * least, "{waits:?}");
    assert!(all.iter().all(|times| times.read > 0.0 && times.add > 0.0), "{all:?}");

    // One process waits for nobody.
    let team = Team::alone();
    let mut engine = DataParallel::pretraining(&gpu, &plan, BLOCKS, &team).unwrap();
    pollster::block_on(engine.step(&batches, 1e-2)).unwrap();
    let alone = times(&team, 1)[0];
    assert_eq!((alone.send > 1e-3, alone.gradients, alone.sums), (false, 0.0, 0.0), "{alone:?}");
    // One block is the trainer's step, which nobody takes apart.
    let team = Team::alone();
    let mut engine = DataParallel::pretraining(&gpu, &plan, 1, &team).unwrap();
    pollster::block_on(engine.step(&batches, 1e-2)).unwrap();
    assert_eq!(team.times().unwrap(), [StepTimes::default()]);
}

#[test]
fn ranks_that_learn_by_themselves_tell_it_too() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let batches = split(&golden.batch());
    let plan = plan(&golden);
    let sync = LocalSteps { after: 1, ..LocalSteps::every(2) };
    let (all, others) = with_others(3, PATIENCE, works, |team| {
        let mut engine = LocalTraining::pretraining(&gpu, &plan, BLOCKS, sync, team).unwrap();
        for _ in 0..4 {
            pollster::block_on(engine.step(&batches, 1e-2)).unwrap();
        }
        times(team, 4)
    });
    others.into_iter().for_each(|other| other.unwrap());
    assert!(all[1].gradients + all[1].sums >= SLOW.as_secs_f64(), "{all:?}");
}

/// What steps of two blocks have waited for, and that those of one are not told.
#[test]
fn a_profile_adds_up() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    let run = |out: &str, more: &[&str]| {
        let mut command = pretrain(&place, out);
        command.args([
            "--preset",
            "micro",
            "--steps",
            "3",
            "--micro-batch",
            "4",
            "--wire",
            "f16",
            "--profile",
        ]);
        let output = command.args(SMALL).args(more).assert().success().get_output().clone();
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        (output, said)
    };
    let (output, said) = run("two", &["--blocks", "2", "--json"]);
    let told = json(&["pretrain"], &output);
    let [row] = &told["profile"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!((&row["rank"], &row["steps"]), (&0.into(), &told["steps"]));
    let parts = ["compute", "read", "add", "send", "gradients", "sums", "optimizer", "answers", "other"];
    let sum: f64 = parts.iter().map(|part| row[part].as_f64().unwrap()).sum();
    let step = row["step"].as_f64().unwrap();
    assert!((sum - step).abs() < 1e-6 * step && step < told["seconds"].as_f64().unwrap(), "{told}");
    assert!(!said.contains("note:"), "{said}");

    let (output, said) = run("one", &["--json"]);
    assert_eq!(json(&["pretrain"], &output)["profile"], serde_json::json!([]));
    assert!(
        said.contains("--wire f16 changes nothing") && said.contains("no step of several blocks"),
        "{said}"
    );
}

//! Fault 57: what a full disk and a cut of power may do to finetuning.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use wgrad::gpu::Gpu;
use wgrad::tensor::DType;
use wgrad::train::Event;
use wgrad::train::finetune::{FinetuneOptions, FinetuneReport, finetune};

use crate::common::faulty::{Fault, Faulty};
use crate::resume::{assert_same, options};
use crate::{Place, common, run};

/// Two seeds of two epochs of two steps.
fn short(place: &Place, out: &str) -> FinetuneOptions {
    let mut options = options(place, DType::F32, out);
    (options.recipe.batch, options.recipe.micro_batch) = (80, 80);
    FinetuneOptions { wait: Duration::ZERO, ..options }
}

/// Runs on a disk that `plan` breaks and mends after the steps that it is told of; gives the warnings too.
fn on(
    gpu: &Gpu,
    options: &FinetuneOptions,
    mut plan: impl FnMut(u64),
) -> (wgrad::Result<FinetuneReport>, Vec<String>) {
    let mut warnings = Vec::new();
    let mut watch = |event: Event<'_>| match event {
        Event::Step(row) => plan(row.step),
        Event::Warning(text) => warnings.push(text),
        _ => {}
    };
    let open = async || Ok(gpu.clone());
    let ended = pollster::block_on(finetune(options, open, &mut watch, &AtomicBool::new(false)));
    (ended, warnings)
}

/// Nothing half-written is left, in no folder.
fn assert_tidy(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // A list of checksums that was cut off after the end goes when the next is written.
        assert!(!name.starts_with('.') || name.starts_with(".checksums.json."), "{}", path.display());
        if path.is_dir() {
            assert_tidy(&path);
        }
    }
}

#[test]
fn fault_57_a_disk_full_for_a_while_costs_nothing() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let whole = short(&place, "whole");
    run(&gpu, &whole).unwrap();
    // Over the end of an epoch, of a seed, of all epochs, and in the last files alone.
    for (name, from, to) in [("over-the-epoch", 1, 3), ("over-the-seed", 3, 5), ("over-the-all", 1, 7)] {
        let disk = Arc::new(Faulty::default());
        let options = FinetuneOptions { store: disk.clone(), ..short(&place, name) };
        let (ended, warnings) = on(&gpu, &options, |step| match step {
            step if step == to => disk.heal(),
            step if step == from => disk.strike_now(Fault::Full),
            _ => {}
        });
        let report = ended.unwrap_or_else(|error| panic!("{name}: {error}: {warnings:?}"));
        assert_eq!(report.steps, 8);
        let told = |text: &str| warnings.iter().filter(|warning| warning.contains(text)).count();
        // Of the other epochs none need be the best of its seed.
        assert!(from != 1 || told("is kept in memory until it can be written") >= 1, "{name}: {warnings:?}");
        assert!(told("was not saved") >= 1, "{name}: {warnings:?}");
        assert_tidy(&options.out);
        assert_same(&options.out, &whole.out, name);
    }
}

#[test]
fn fault_57_a_disk_that_stays_full_costs_what_follows_its_last_checkpoint() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let whole = short(&place, "whole");
    run(&gpu, &whole).unwrap();
    let disk = Arc::new(Faulty::default());
    let options = FinetuneOptions { store: disk.clone(), ..short(&place, "full-to-the-end") };
    let (ended, _) = on(&gpu, &options, |step| {
        if step == 5 {
            disk.strike_now(Fault::Full);
        }
    });
    assert!(matches!(ended, Err(wgrad::Error::Io { .. })), "{ended:?}");
    assert!(!options.out.join("model.safetensors").exists());
    assert_tidy(&options.out);
    run(&gpu, &FinetuneOptions { resume: true, ..short(&place, "full-to-the-end") }).unwrap();
    assert_same(&options.out, &whole.out, "full to the end");
}

#[test]
fn fault_57_a_power_cut_at_any_operation_costs_nothing() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let whole = short(&place, "whole");
    let disk = Arc::new(Faulty::default());
    let counted = FinetuneOptions { store: disk.clone(), ..short(&place, "whole") };
    run(&gpu, &counted).unwrap();
    let operations = disk.done();
    assert!(operations > 200, "{operations}");
    // A prime number apart, so that all kinds of operations are met; and each of the last, when the model is there and the vectors that
    // check a device are not, nor their checksums.
    for at in (1..operations - 16).step_by(19).chain(operations - 16..operations) {
        let out = format!("cut-{at}");
        let disk = Arc::new(Faulty::at(at, Fault::PowerCut));
        let cut = FinetuneOptions { store: disk.clone(), ..short(&place, &out) };
        let (ended, _) = on(&gpu, &cut, |_| ());
        assert!(disk.struck());
        // Of a cut in what comes after the model there may be only a warning.
        let resumed = run(&gpu, &FinetuneOptions { resume: true, ..short(&place, &out) });
        match resumed {
            Ok(_) => {}
            // Before there was a run, or after its end.
            Err(error) if error.to_string().contains("the folder of a run") => {
                run(&gpu, &short(&place, &out)).unwrap();
            }
            Err(error) => assert!(error.to_string().contains("is done"), "cut at {at}: {error}; {ended:?}"),
        }
        assert_tidy(&cut.out);
        assert_same(&cut.out, &whole.out, &format!("power cut at {at} of {operations}"));
    }
}

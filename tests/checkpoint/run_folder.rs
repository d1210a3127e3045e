//! A run's folder: saving, loading, locking, damage, resuming.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use wgrad::files::{CheckpointState, LoadedCheckpoint, RunFolder, Saved, TensorSource, check_resume};
use wgrad::store::{CHECKSUMS_FILE, Checksums, Disk};

pub(crate) fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub(crate) fn state(step: u64) -> CheckpointState {
    let fingerprint = object(json!({"seed": 7, "recipe": {"learning_rate": 0.1}}));
    CheckpointState { step, sequence: 32 * step, fingerprint, extra: json!({"bits": u64::MAX - step}) }
}

/// Saves a checkpoint whose values follow from `mark`.
pub(crate) fn save_marked(run: &RunFolder, step: u64, mark: f32) -> wgrad::Result<Saved> {
    let (weight, bias, moment) = ([mark; 6], [mark + 0.5], [-mark; 6]);
    let model = TensorSource::from_slices([("w", vec![2, 3], &weight[..]), ("b", vec![1], &bias[..])]);
    let optimizer = TensorSource::from_slices([("w.m", vec![6], &moment[..])]);
    run.save(&state(step), model, optimizer)
}

pub(crate) fn save(run: &RunFolder, step: u64) -> wgrad::Result<Saved> {
    save_marked(run, step, step as f32)
}

/// Checks that a checkpoint holds what [`save_marked`] wrote, and gives back the mark.
pub(crate) fn check_contents(checkpoint: &LoadedCheckpoint) -> f32 {
    let mark = checkpoint.model.f32("b").unwrap()[0] - 0.5;
    assert_eq!(checkpoint.state, state(checkpoint.step));
    assert_eq!(checkpoint.model.f32("w").unwrap(), [mark; 6]);
    assert_eq!(checkpoint.model.shape("w"), Some(&[2, 3][..]));
    assert_eq!(checkpoint.optimizer.f32("w.m").unwrap(), [-mark; 6]);
    mark
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn keeps_the_newest_and_loads_the_last() {
    let out = tempfile::tempdir().unwrap();
    let run = RunFolder::create(Arc::new(Disk), out.path().join("a/run")).unwrap();
    assert!(run.latest().unwrap().is_none());
    for step in [1, 2, 3, 100_000_000] {
        let saved = save(&run, step).unwrap();
        assert!(saved.notes.is_empty(), "{:?}", saved.notes);
        assert_eq!(
            names(&saved.path),
            ["checksums.json", "model.safetensors", "optimizer.safetensors", "state.json"]
        );
    }
    let checkpoints = run.path().join("checkpoints");
    assert_eq!(names(&checkpoints), ["step-00000003", "step-100000000"]);
    let last = run.latest().unwrap().unwrap();
    assert_eq!((last.step, check_contents(&last)), (100_000_000, 1e8));
    assert!(last.notes.is_empty());
    drop(run);

    let run = RunFolder::open(Arc::new(Disk), out.path().join("a/run")).unwrap().keep(1);
    save(&run, 100_000_001).unwrap();
    assert_eq!(names(&checkpoints), ["step-100000001"]);
}

#[test]
fn create_and_open_refuse_the_wrong_folder() {
    let out = tempfile::tempdir().unwrap();
    let error = RunFolder::open(Arc::new(Disk), out.path()).unwrap_err().to_string();
    assert!(error.contains("expected the folder of a run"), "{error}");
    let run = RunFolder::create(Arc::new(Disk), out.path()).unwrap();
    drop(run);
    let run = RunFolder::create(Arc::new(Disk), out.path()).unwrap();
    save(&run, 5).unwrap();
    drop(run);
    let error = RunFolder::create(Arc::new(Disk), out.path()).unwrap_err().to_string();
    assert!(error.ends_with("found one at step 5: resume the run, or choose another folder"), "{error}");
    assert_eq!(RunFolder::open(Arc::new(Disk), out.path()).unwrap().latest().unwrap().unwrap().step, 5);
}

#[test]
fn fault_43_a_second_run_in_the_folder_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let run = RunFolder::create(Arc::new(Disk), out.path()).unwrap();
    for second in [RunFolder::create(Arc::new(Disk), out.path()), RunFolder::open(Arc::new(Disk), out.path())]
    {
        let expected = format!(
            "{}: expected a run folder no process is using, found process {} using it",
            out.path().display(),
            std::process::id()
        );
        assert_eq!(second.unwrap_err().to_string(), expected);
    }
    drop(run);
    RunFolder::open(Arc::new(Disk), out.path()).unwrap();
}

/// Two checkpoints, and the files of the second.
fn two_checkpoints(out: &Path) -> Vec<std::path::PathBuf> {
    let run = RunFolder::create(Arc::new(Disk), out).unwrap();
    save(&run, 1).unwrap();
    let path = save(&run, 2).unwrap().path;
    names(&path).into_iter().map(|name| path.join(name)).collect()
}

#[test]
fn fault_39_any_flipped_bit_is_noticed() {
    let out = tempfile::tempdir().unwrap();
    let files = two_checkpoints(out.path());
    let run = RunFolder::open(Arc::new(Disk), out.path()).unwrap();
    let mut flips = 0;
    for file in files {
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&file, &bytes).unwrap();
            let checkpoint = run.latest().unwrap().unwrap();
            assert_eq!(
                (checkpoint.step, check_contents(&checkpoint)),
                (1, 1.0),
                "{} at {at}",
                file.display()
            );
            assert_eq!(checkpoint.notes.len(), 1);
            assert!(
                checkpoint.notes[0].starts_with("the checkpoint of step 2 is damaged and was passed over: ")
            );
            flips += 1;
        }
        fs::write(&file, &whole).unwrap();
        assert_eq!(run.latest().unwrap().unwrap().step, 2);
    }
    assert!(flips > 500);
}

#[test]
fn fault_39_shortened_missing_and_emptied_files_are_noticed() {
    let out = tempfile::tempdir().unwrap();
    let files = two_checkpoints(out.path());
    let run = RunFolder::open(Arc::new(Disk), out.path()).unwrap();
    for file in &files {
        let whole = fs::read(file).unwrap();
        for length in [0, whole.len() / 2, whole.len() - 1] {
            fs::write(file, &whole[..length]).unwrap();
            assert_eq!(run.latest().unwrap().unwrap().step, 1);
        }
        fs::remove_file(file).unwrap();
        assert_eq!(run.latest().unwrap().unwrap().step, 1);
        fs::write(file, &whole).unwrap();
        assert_eq!(run.latest().unwrap().unwrap().step, 2);
    }
    // A whole checkpoint under another step's name.
    let second = files[0].parent().unwrap();
    fs::rename(second, second.with_file_name("step-00000009")).unwrap();
    assert_eq!(run.latest().unwrap().unwrap().step, 1);
}

#[test]
fn fault_39_a_damaged_checkpoint_never_displaces_a_sound_one() {
    let out = tempfile::tempdir().unwrap();
    let files = two_checkpoints(out.path());
    let mut bytes = fs::read(&files[1]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&files[1], bytes).unwrap();
    let run = RunFolder::open(Arc::new(Disk), out.path()).unwrap();
    assert_eq!(run.latest().unwrap().unwrap().step, 1);
    save(&run, 3).unwrap();
    assert_eq!(names(&out.path().join("checkpoints")), ["step-00000001", "step-00000003"]);

    // With none left, there is an error, never a silent start from nothing.
    for step in ["step-00000001", "step-00000003"] {
        fs::write(out.path().join("checkpoints").join(step).join("state.json"), "{}").unwrap();
    }
    let error = run.latest().unwrap_err().to_string();
    assert!(
        error.contains("expected a sound checkpoint") && error.contains("step 1") && error.contains("step 3")
    );
}

/// Which checkpoints are whole is told by the lengths of their files, without reading these.
#[test]
fn fault_39_a_file_of_another_length_is_told_without_reading_it() {
    let out = tempfile::tempdir().unwrap();
    let dir = two_checkpoints(out.path())[0].parent().unwrap().to_path_buf();
    let all = names(&dir);
    let files: Vec<&str> = all.iter().map(String::as_str).filter(|name| *name != CHECKSUMS_FILE).collect();
    Checksums::of_complete(&Disk, &dir, &files).unwrap();
    for name in &files {
        let bytes = fs::read(dir.join(name)).unwrap();
        fs::write(dir.join(name), &bytes[1..]).unwrap();
        let told = Checksums::of_complete(&Disk, &dir, &files).unwrap_err().to_string();
        let expected = format!("{name}: expected {} bytes, found {}", bytes.len(), bytes.len() - 1);
        assert!(told.contains(&expected), "{told}");
        fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
fn values_that_cannot_be_loaded_again_are_not_saved() {
    let out = tempfile::tempdir().unwrap();
    let run = RunFolder::create(Arc::new(Disk), out.path()).unwrap();
    save(&run, 1).unwrap();
    let good = || TensorSource::from_slices([("w", vec![1], &[1.0f32][..])]);
    let bad = [
        (
            vec![("w", vec![2], &[1.0f32, f32::NAN][..])],
            "expected finite values to save in `w`, found NaN at element 1",
        ),
        (vec![("w", vec![2], &[f32::INFINITY, 1.0][..])], "found inf at element 0"),
        (vec![("w", vec![3], &[1.0, 2.0][..])], "expected 3 values for `w` [3], found 2"),
        (vec![("w", vec![1], &[1.0][..]), ("w", vec![1], &[2.0][..])], "`w` twice"),
        (vec![("w", vec![usize::MAX, 3], &[1.0][..])], "expected tensors that fit in memory"),
    ];
    for (tensors, because) in bad {
        let error = run.save(&state(2), good(), TensorSource::from_slices(tensors)).unwrap_err().to_string();
        assert!(error.contains(because), "{error}");
        assert_eq!(names(&out.path().join("checkpoints")), ["step-00000001"]);
    }
    let lost = TensorSource::new(vec![("w".into(), vec![1])], |_| {
        Err(wgrad::Error::DeviceLost { operation: "read-back".into(), message: "gone".into() })
    });
    let error = run.save(&state(2), lost, good()).unwrap_err();
    assert!(matches!(error, wgrad::Error::DeviceLost { .. }));
    assert_eq!(run.latest().unwrap().unwrap().step, 1);
}

#[test]
fn tensors_are_fetched_once_in_order() {
    let out = tempfile::tempdir().unwrap();
    let run = RunFolder::create(Arc::new(Disk), out.path()).unwrap();
    let tensors: Vec<(String, Vec<usize>)> = (0..5).map(|i| (format!("t{}", 4 - i), vec![i, 3])).collect();
    let mut fetched = Vec::new();
    let model = TensorSource::new(tensors, |name| {
        fetched.push(name.to_string());
        let rows = 4 - name[1..].parse::<usize>().unwrap();
        Ok(vec![rows as f32; rows * 3].into())
    });
    run.save(&state(1), model, TensorSource::from_slices([("m", vec![], &[1.0f32][..])])).unwrap();
    assert_eq!(fetched, ["t4", "t3", "t2", "t1", "t0"]);
    let loaded = run.latest().unwrap().unwrap();
    assert_eq!(loaded.model.f32("t1").unwrap(), [3.0; 9]);
    assert!(loaded.model.f32("t4").unwrap().is_empty());
    assert_eq!(loaded.optimizer.f32("m").unwrap(), [1.0]);
    // The data begins at a multiple of eight bytes, and the crate that defines the format agrees with all of it.
    let bytes = fs::read(loaded.path.join("model.safetensors")).unwrap();
    assert_eq!(bytes[0] % 8, 0);
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.tensor("t0").unwrap().shape(), [4, 3]);
    assert_eq!(theirs.tensor("t0").unwrap().data(), 4f32.to_le_bytes().repeat(12));
}

#[test]
fn fault_42_resuming_lists_what_changed() {
    let was = object(json!({
        "seed": 7, "corpus": "a1", "recipe": {"learning_rate": 0.1, "warmup": {"steps": 3}, "betas": [0.9, 0.98]}
    }));
    check_resume(&was, &was).unwrap();
    let is = object(json!({
        "seed": 8, "corpus": "b\n2", "recipe": {"learning_rate": 0.2, "warmup": {}, "betas": [0.9, 0.98], "clip": null}
    }));
    assert_eq!(
        check_resume(&was, &is).unwrap_err().to_string(),
        "resume: expected the settings the run was started with, found `corpus` \"b\\n2\", was \"a1\"; `recipe.learning_rate` 0.2, was 0.1; \
         no `recipe.warmup.steps`, was 3; `seed` 8, was 7; `recipe.clip` null, was not set; \
         `recipe.warmup` {}, was not set"
    );
    let mut reordered = is.clone();
    reordered.shift_remove("seed");
    reordered.insert("seed".into(), json!(8));
    check_resume(&is, &reordered).unwrap();
}

#[test]
fn fault_42_floats_go_through_a_file_unchanged() {
    let out = tempfile::tempdir().unwrap();
    let run = RunFolder::create(Arc::new(Disk), out.path()).unwrap();
    let floats: Vec<f64> =
        (0..500).map(|i| (f64::from(i) * 0.7371).sin() * 10f64.powi(i % 40 - 20)).collect();
    let fingerprint = object(json!({ "floats": floats, "recipe": {"eps": 1e-12, "rate": floats[3]} }));
    let none = || TensorSource::from_slices(Vec::<(&str, Vec<usize>, &[f32])>::new());
    let state = CheckpointState { fingerprint: fingerprint.clone(), ..state(1) };
    run.save(&state, none(), none()).unwrap();
    let read = run.latest().unwrap().unwrap().state.fingerprint;
    assert_eq!(read, fingerprint);
    check_resume(&read, &fingerprint).unwrap();
}

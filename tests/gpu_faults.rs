//! What goes wrong on a device is an error that says what to do; what cannot be learnt from changes nothing; the
//! same work gives the same bits.
//!
//! One adapter is enough: the faults are put in by the tests.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use common::golden::{CASES, Golden, options, relative, split};
use wgrad::Error;
use wgrad::autograd::Graph;
use wgrad::data::Batch;
use wgrad::gpu::{AdapterKind, Gpu, GpuOptions, KernelSpec, Recorder, Region, Source};
use wgrad::models::{Config, InputBuffers, Targets};
use wgrad::ops::add::add;
use wgrad::ops::gelu::gelu;
use wgrad::ops::matmul::linear;
use wgrad::tensor::DType;
use wgrad::train::{MaskedTokens, MlmOptions, StepEngine, Trainer};

const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];

fn step(trainer: &mut Trainer<MaskedTokens>, batches: &[Batch]) -> wgrad::Result<wgrad::train::StepReport> {
    pollster::block_on(trainer.step(batches, 1e-3))
}

/// The bits of everything a trainer would save.
fn state(trainer: &mut Trainer<MaskedTokens>) -> Vec<(String, Vec<u32>)> {
    let names = [trainer.model_tensors(), trainer.optimizer_tensors()].concat();
    let mut read = |name: &str| pollster::block_on(trainer.read(name)).unwrap();
    names.into_iter().map(|(n, _)| (n.clone(), read(&n).into_iter().map(f32::to_bits).collect())).collect()
}

fn gradients(trainer: &Trainer<MaskedTokens>) -> Vec<(String, Vec<f32>)> {
    let parameters = &trainer.model().parameters;
    let read = |name: &str| pollster::block_on(parameters.read_gradient(name)).unwrap();
    parameters.shapes().into_iter().map(|(name, _)| (name.clone(), read(&name))).collect()
}

fn bits(gradients: &[(String, Vec<f32>)]) -> Vec<(&str, Vec<u32>)> {
    gradients.iter().map(|(n, v)| (n.as_str(), v.iter().map(|x| x.to_bits()).collect())).collect()
}

/// `batch` with every token beyond its sequence's length replaced by other words.
fn with_other_padding(batch: &Batch) -> Batch {
    let mut batch = batch.clone();
    let mut changed = 0;
    for (row, bounds) in batch.bounds.iter().enumerate() {
        if *bounds == [0, 0] {
            batch.input_ids[row] = (row * 7 % 60) as u32;
            changed += 1;
        }
    }
    assert!(changed > 10);
    batch
}

/// A device that works after something went wrong.
fn still_works(gpu: &Gpu) {
    let mut graph = Graph::inference(gpu);
    let x = graph.constant(&[1f32, 2.0, 3.0], [3], DType::F32).unwrap();
    let y = add(&mut graph, &x, &x).unwrap();
    let kept = graph.keep(gpu, "kept", y.view()).unwrap();
    graph.finish(gpu, "add").unwrap().replay().unwrap();
    assert_eq!(pollster::block_on(gpu.read::<f32>(&kept, 0, 3)).unwrap(), [2.0, 4.0, 6.0]);
}

#[test]
fn an_unknown_adapter_is_an_error_that_lists_the_known() {
    let Some(gpu) = common::gpu() else { return };
    let options = GpuOptions { adapter: Some("no such thing".into()), ..Default::default() };
    let error = pollster::block_on(Gpu::open(&options)).err().unwrap();
    assert!(matches!(error, Error::NoAdapter { .. }));
    assert!(error.to_string().contains(&gpu.capabilities().name), "{error}");
    let name = gpu.capabilities().name.to_uppercase();
    let options = GpuOptions { adapter: Some(name[..4].to_string()), ..Default::default() };
    assert!(pollster::block_on(Gpu::open(&options)).is_ok());
}

#[test]
fn default_limits_suffice_and_what_exceeds_them_names_the_setting() {
    let Some(gpu) = common::gpu() else { return };
    let about = gpu.capabilities();
    assert_eq!((about.max_binding, about.max_buffer), (128 << 20, 256 << 20));
    assert_eq!((about.max_storage_buffers, about.max_workgroup_memory), (8, 16 << 10));
    assert_eq!(about.max_invocations, 256);
    let limit = |error: Error| match error {
        Error::Limit { .. } => error.to_string(),
        other => panic!("{other}"),
    };
    let mut graph = Graph::inference(&gpu);
    let told = limit(graph.output("big", [129 << 18], &[]).unwrap_err());
    assert!(told.contains("big") && !told.contains("micro_batch") && told.contains("134217728"), "{told}");
    let told = limit(gpu.buffer("everything", 257 << 20).err().unwrap());
    assert!(
        told.contains("everything") && told.contains("269484032 bytes") && told.contains("268435456"),
        "{told}"
    );

    let golden = Golden::open("relative_untied_mask");
    let many = MlmOptions { micro_batch: 1 << 14, ..options(1) };
    let told = limit(Trainer::pretraining(&gpu, golden.config.clone(), many).err().unwrap());
    assert!(told.contains("micro_batch"), "{told}");
    let wide = Config { vocab_size: 1 << 20, hidden_size: 64, ..golden.config.clone() };
    let told = limit(Trainer::pretraining(&gpu, wide, options(1)).err().unwrap());
    assert!(told.contains("word_embeddings") && told.contains("vocab"), "{told}");
    assert_eq!(gpu.allocated(), 0, "what was refused holds memory");
    still_works(&gpu);
}

#[test]
fn a_memory_budget_is_kept_and_its_end_says_what_to_lower() {
    for kind in KINDS {
        if common::gpu().is_none() {
            return;
        }
        let open = |memory| {
            common::open(GpuOptions { memory: Some(memory), kind: Some(kind), ..Default::default() })
        };
        let gpu = open(1 << 20).unwrap();
        let first = gpu.buffer("first", 1 << 19).unwrap();
        match gpu.buffer("second", (1 << 19) + 16).err().unwrap() {
            Error::OutOfMemory { operation, bytes, hint } => {
                assert_eq!((operation.as_str(), bytes), ("second", (1 << 19) + 16));
                assert!(hint == "524288 of 1048576 are taken", "{hint}");
            }
            other => panic!("{other}"),
        }
        drop(first);
        assert!(gpu.buffer("second", (1 << 19) + 16).is_ok());

        // A trainer fits or is refused whole, whatever allocation meets the budget's end.
        let golden = Golden::open("relative_untied_mask");
        let mut refused = 0;
        let mut budget = 1 << 12;
        loop {
            let gpu = open(budget).unwrap();
            match Trainer::pretraining(&gpu, golden.config.clone(), options(4)) {
                Ok(mut trainer) => {
                    let taken = gpu.allocated();
                    assert!(taken <= budget);
                    // One read-back may not fit; half as much again must do.
                    drop(trainer);
                    assert_eq!(gpu.allocated(), 0, "{kind:?}: memory is lost");
                    let gpu = open(taken * 3 / 2).unwrap();
                    trainer = Trainer::pretraining(&gpu, golden.config.clone(), options(4)).unwrap();
                    assert!(step(&mut trainer, &[golden.batch()]).unwrap().loss.is_finite());
                    break;
                }
                Err(Error::OutOfMemory { bytes, hint, .. }) => {
                    assert!(bytes > 0 && hint.contains("micro_batch"), "{bytes} {hint}");
                    assert_eq!(gpu.allocated(), 0, "{kind:?}: memory is lost");
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
            budget += budget / 2;
        }
        assert!(refused > 10);
    }
}

#[test]
fn a_lost_device_is_an_error_from_the_next_step_on() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let mut trainer = golden.trainer(&gpu);
    let batch = golden.batch();
    let before = step(&mut trainer, std::slice::from_ref(&batch)).unwrap();
    // Work is under way when the device goes.
    trainer.accumulate(std::slice::from_ref(&batch)).unwrap();
    let kernels = gpu.clone();
    gpu.destroy();
    gpu.destroy();
    fn lost<T>(found: wgrad::Result<T>) {
        match found {
            Err(Error::DeviceLost { operation, .. }) => assert!(!operation.is_empty()),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("worked on a device that is gone"),
        }
    }
    for _ in 0..2 {
        lost(step(&mut trainer, std::slice::from_ref(&batch)));
        lost(pollster::block_on(trainer.evaluate(std::slice::from_ref(&batch))));
        lost(pollster::block_on(trainer.read("bert.LayerNorm.weight")));
        lost(trainer.accumulate(std::slice::from_ref(&batch)));
    }
    // More targets than one replay has room for.
    let mut many = batch.clone();
    many.masked_rows = (0..100).collect();
    many.labels = vec![7; 100];
    lost(step(&mut trainer, &[many]));
    lost(gpu.buffer("more", 16));
    lost(gpu.wait("nothing"));
    lost(Trainer::pretraining(&gpu, golden.config.clone(), options(1)));
    // Kernels that are compiled already and kernels that are not.
    let mut graph = Graph::inference(&kernels);
    let x = graph.constant(&[1f32; 4], [4], DType::F32).unwrap();
    add(&mut graph, &x, &x).unwrap();
    lost(graph.finish(&kernels, "add"));
    let broken = KernelSpec {
        source: Source { name: "unseen", text: "@compute @workgroup_size(1) fn main() {}" },
        entry: "main",
        reads: 0,
        textures: 0,
        writes: 0,
        params: &[],
        example: &[],
    };
    lost(gpu.kernel(&broken, &[]));
    drop(trainer);

    // A device opened again goes on.
    let gpu = common::gpu().unwrap();
    let after = step(&mut golden.trainer(&gpu), &[batch]).unwrap();
    assert_eq!(before, after);
}

#[test]
fn mistakes_of_operations_are_errors_and_the_device_lives_on() {
    let Some(gpu) = common::gpu() else { return };
    let text = "@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < arrayLength(&y)) { y[id.x] = x[id.x]; }
}
";
    let spec = |text: &'static str, name: &'static str| KernelSpec {
        source: Source { name, text },
        entry: "main",
        reads: 1,
        textures: 0,
        writes: 1,
        params: &[],
        example: &[],
    };
    let copy = (&spec(text, "copy"), &[][..]);
    let (a, b) = (gpu.buffer("a", 1024).unwrap(), gpu.buffer("b", 1024).unwrap());
    let part = |offset, bytes| Region { buffer: a.clone(), offset, bytes };
    let dispatch = |from: Region, to: Region, groups| {
        let mut recorder = Recorder::new(&gpu);
        let (from, to) = (recorder.bind(&from), recorder.bind(&to));
        recorder.dispatch(copy, 0u32, &[from], &[to], groups)?;
        recorder.finish(&gpu, "test")?.replay()
    };
    dispatch((&a).into(), (&b).into(), [1, 1, 1]).unwrap();
    for (from, what) in [
        (part(4, 64), "an offset"),
        (part(0, 2048), "a view past the end"),
        (part(1024, 16), "one at the end"),
    ] {
        let found = dispatch(from, (&b).into(), [1, 1, 1]);
        assert!(matches!(found, Err(Error::Gpu { .. })), "{what}: {found:?}");
        still_works(&gpu);
    }
    let found = dispatch((&a).into(), (&a).into(), [1, 1, 1]);
    assert!(matches!(found, Err(Error::Gpu { .. })), "read and written: {found:?}");
    let found = dispatch((&a).into(), (&b).into(), [65536, 1, 1]);
    assert!(matches!(found, Err(Error::Limit { .. })), "65536 workgroups: {found:?}");
    let mut recorder = Recorder::new(&gpu);
    let view = recorder.bind(&(&a).into());
    assert!(matches!(recorder.dispatch(copy, 0u32, &[view], &[], [1; 3]), Err(Error::Gpu { .. })));

    // Copies and transfers past the end show at the next look.
    let mut recorder = Recorder::new(&gpu);
    let (from, to) = (recorder.bind(&part(512, 1024)), recorder.bind(&(&b).into()));
    recorder.copy(from, to);
    assert!(matches!(recorder.finish(&gpu, "test").and_then(|r| r.replay()), Err(Error::Gpu { .. })));
    gpu.write(&a, 1020, &[1f32, 2.0]);
    assert!(matches!(gpu.check("writing"), Err(Error::Gpu { .. })));
    assert!(matches!(pollster::block_on(gpu.read::<f32>(&a, 1020, 2)), Err(Error::Gpu { .. })));
    still_works(&gpu);

    for (text, name, line, says) in [
        ("fn f() {}\nfn main() { let x = ; }\n", "syntax", 2, "expected"),
        ("\n\n@compute @workgroup_size(1)\nfn main() {\n    let x: u32 = 1.5;\n}\n", "types", 5, "u32"),
        ("\n#import lib/nowhere\n", "imports", 2, "lib/nowhere"),
    ] {
        match gpu.kernel(&spec(text, name), &[]).err().unwrap() {
            Error::Shader { file, line: found, message } => {
                assert_eq!((file, found), (format!("shaders/{name}.wgsl"), line), "{message}");
                assert!(message.contains(says), "{message}");
            }
            other => panic!("{other}"),
        }
    }
    // An entry point that is not there, and more buffers than the device binds.
    let missing = KernelSpec { entry: "nowhere", ..spec(text, "copy") };
    assert!(matches!(gpu.kernel(&missing, &[]), Err(Error::Shader { .. })));
    let greedy = KernelSpec { reads: 9, ..spec(text, "copy greedily") };
    assert!(gpu.kernel(&greedy, &[]).is_err());
    still_works(&gpu);
}

#[test]
fn sizes_of_zero_and_of_many_workgroups() {
    let Some(gpu) = common::gpu() else { return };
    for elements in [0usize, 1, 3, 65535 * 64, 65535 * 64 + 1, 5_000_001] {
        let values: Vec<f32> = (0..elements).map(|i| (i % 1001) as f32).collect();
        let (x, d_x) = (gpu.upload("x", &values).unwrap(), gpu.upload("d_x", &values).unwrap());
        let mut graph = Graph::training(&gpu);
        let x = graph.parameter(&x, &d_x, [elements]).unwrap();
        let twice = add(&mut graph, &x, &x).unwrap();
        let y = add(&mut graph, &twice, &x).unwrap();
        let kept = graph.keep(&gpu, "kept", y.view()).unwrap();
        let d_y = graph.constant(&values, [elements], DType::F32).unwrap();
        graph.backward(&y, d_y).unwrap();
        graph.finish(&gpu, "add").unwrap().replay().unwrap();
        let read = |buffer| pollster::block_on(gpu.read::<f32>(buffer, 0, elements)).unwrap();
        assert!(read(&kept).iter().zip(&values).all(|(y, x)| *y == 3.0 * x), "{elements}");
        assert!(read(&d_x).iter().zip(&values).all(|(d, x)| *d == 4.0 * x), "{elements}");
    }
    for kind in KINDS {
        let gpu = common::gpu_as(kind).unwrap();
        let mut graph = Graph::training(&gpu);
        let (w, d_w) = (gpu.upload("w", &[1f32; 12]).unwrap(), gpu.upload("d_w", &[1f32; 12]).unwrap());
        let w = graph.parameter(&w, &d_w, [3, 4]).unwrap();
        let x = graph.constant::<f32>(&[], [0, 4], DType::F32).unwrap();
        let y = linear(&mut graph, &x, &w).unwrap();
        let y = gelu(&mut graph, &y).unwrap();
        assert_eq!(y.shape().dims(), [0, 4]);
        let d_y = graph.constant::<f32>(&[], [0, 4], DType::F32).unwrap();
        graph.backward(&y, d_y).unwrap();
        // Sums of no terms would have to be zeros.
        let a = graph.constant::<f32>(&[], [2, 0], DType::F32).unwrap();
        let b = graph.constant::<f32>(&[], [3, 0], DType::F32).unwrap();
        assert!(matches!(linear(&mut graph, &a, &b), Err(Error::Shape { .. })));
        graph.finish(&gpu, "nothing").unwrap().replay().unwrap();
        assert_eq!(pollster::block_on(gpu.read::<f32>(&d_w, 0, 12)).unwrap(), [1.0; 12]);
    }
}

#[test]
fn trainers_of_no_size_are_refused_and_odd_sizes_work() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let golden = Golden::open("relative_untied_mask");
        for (micro_batch, seq_len) in [(0, 40), (4, 0)] {
            let sizes = MlmOptions { micro_batch, seq_len, ..options(1) };
            assert!(
                Trainer::pretraining(&gpu, golden.config.clone(), sizes).is_err(),
                "{micro_batch} {seq_len}"
            );
        }
        for (sequences, tokens) in [(1, 1), (1, 7), (3, 37)] {
            let sizes = MlmOptions { micro_batch: sequences, seq_len: tokens, targets: 0, ..options(1) };
            let mut trainer = Trainer::pretraining(&gpu, golden.config.clone(), sizes).unwrap();
            let rows = sequences * tokens;
            let batch = Batch {
                sequences,
                seq_len: tokens,
                input_ids: (0..rows as u32).map(|i| 5 + i % 50).collect(),
                bounds: vec![[0, tokens as u32]; rows],
                masked_rows: (0..rows as u32).step_by(3).collect(),
                labels: (0..rows as u32).step_by(3).map(|i| i % 60).collect(),
                tokens: rows,
                truncated: 0,
            };
            let report = step(&mut trainer, &[batch]).unwrap();
            // Nothing is known yet: about the entropy of 60 equally likely words.
            assert!((report.loss - 60f64.ln()).abs() < 0.2 && !report.skipped, "{report:?}");
        }
    }
}

#[test]
fn batches_that_do_not_fit_are_errors() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let mut trainer = golden.trainer(&gpu);
    let good = golden.batch();
    let before = state(&mut trainer);
    let changes: [fn(&mut Batch); 10] = [
        |b| b.sequences = 5,
        |b| b.seq_len = 39,
        |b| b.input_ids.push(5),
        |b| b.input_ids.extend([5; 100]),
        |b| b.input_ids[3] = 60,
        |b| b.bounds[0] = [0, 41],
        |b| b.labels[2] = 60,
        |b| b.labels.push(5),
        |b| b.masked_rows[1] = b.masked_rows[0],
        |b| *b.masked_rows.last_mut().unwrap() = 4 * 40,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut batch = good.clone();
        change(&mut batch);
        let found = step(&mut trainer, &[good.clone(), batch]);
        assert!(matches!(found, Err(Error::Shape { .. })), "change {index}: {found:?}");
    }
    assert_eq!(state(&mut trainer), before);
    assert!(step(&mut trainer, &[good]).is_ok());
}

/// What stands in padding, and what stood in memory, changes no bit of the loss and of the gradients.
#[test]
fn poisoned_padding_and_memory_change_nothing() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for case in ["relative_untied_mask", "relative_tied_mask", "absolute_untied_mask"] {
            let golden = Golden::open(case);
            let mut trainer = golden.trainer(&gpu);
            let batch = golden.batch();
            let other = with_other_padding(&batch);
            trainer.accumulate(std::slice::from_ref(&batch)).unwrap();
            let expected = gradients(&trainer);
            trainer.accumulate(std::slice::from_ref(&other)).unwrap();
            assert_eq!(bits(&gradients(&trainer)), bits(&expected), "{case}, {kind:?}");
            let losses = [&batch, &other].map(|b| {
                pollster::block_on(trainer.evaluate(std::slice::from_ref(b))).unwrap().loss.to_bits()
            });
            assert_eq!(losses[0], losses[1]);

            // The same step, recorded where its memory can be poisoned.
            let config = &golden.config;
            let model = trainer.shared_model();
            let parameters = &model.parameters;
            let mut graph = Graph::training(&gpu);
            graph.recorder().isolate();
            let slots = InputBuffers::new(&gpu, config, 3, 40).unwrap();
            slots.write(&gpu, config, &batch.input_ids, &batch.bounds).unwrap();
            let inputs = slots.inputs(&mut graph, config).unwrap();
            let count = batch.labels.len();
            let targets = Targets {
                rows: graph.constant(&batch.masked_rows, [count], DType::U32).unwrap(),
                labels: graph.constant(&batch.labels, [count], DType::U32).unwrap(),
                weights: graph.constant(&vec![1.0 / count as f32; count], [count], DType::F32).unwrap(),
            };
            let hidden = model.encode(&mut graph, &inputs).unwrap();
            let guesses = model.masked_loss(&mut graph, &hidden.last, &targets).unwrap();
            let kept = graph.keep(&gpu, "kept", guesses.loss.view()).unwrap();
            let ones = graph.constant(&vec![1f32; count], [count], DType::F32).unwrap();
            graph.backward(&guesses.loss, ones).unwrap();
            let recording = graph.finish(&gpu, "test").unwrap();
            let mut seen = Vec::new();
            for word in [0, 0x7fc0_dead, u32::MAX, 0x7f80_0000, 0xff80_0000, 0x7149_f2ca] {
                for segment in parameters.segments() {
                    gpu.write(segment.gradients.as_ref().unwrap(), 0, &vec![0f32; segment.elements]);
                }
                recording.poison(word);
                recording.replay().unwrap();
                let loss: Vec<u32> = pollster::block_on(gpu.read(&kept, 0, count)).unwrap();
                assert!(loss.iter().all(|&x| f32::from_bits(x).is_finite()), "{word:#x}");
                let found = gradients(&trainer);
                for ((name, found), (_, expected)) in found.iter().zip(&expected) {
                    let error = relative(found, expected);
                    assert!(error < 1e-6, "{case}, {kind:?}, poison {word:#x}: {name} off by {error:e}");
                }
                let found: Vec<_> = bits(&found).into_iter().map(|(_, bits)| bits).collect();
                seen.push((loss, found));
            }
            assert!(seen.iter().all(|x| *x == seen[0]), "{case}, {kind:?}");
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for case in ["relative_untied_mask", "absolute_untied_mask"] {
            let golden = Golden::open(case);
            let batch = golden.batch();
            let mut trainer = golden.trainer(&gpu);
            step(&mut trainer, std::slice::from_ref(&batch)).unwrap();
            for (index, (name, _)) in trainer.model_tensors().into_iter().enumerate() {
                let good = pollster::block_on(trainer.read(&name)).unwrap();
                let mut bad = good.clone();
                bad[0] = [f32::NAN, f32::INFINITY, -f32::INFINITY][index % 3];
                trainer.write(&name, &bad).unwrap();
                let before = if index % 5 == 0 { state(&mut trainer) } else { Vec::new() };
                let report = step(&mut trainer, std::slice::from_ref(&batch)).unwrap();
                assert!(report.skipped, "{case}, {kind:?}: {} in {name} gave {report:?}", bad[0]);
                if index % 5 == 0 {
                    assert!(state(&mut trainer) == before, "{case}, {kind:?}: {name}");
                }
                trainer.write(&name, &good).unwrap();
            }
            // What was skipped left no trace: the next step is the second one.
            let found = step(&mut trainer, std::slice::from_ref(&batch)).unwrap();
            let mut clean = golden.trainer(&gpu);
            step(&mut clean, std::slice::from_ref(&batch)).unwrap();
            assert_eq!(found, step(&mut clean, std::slice::from_ref(&batch)).unwrap());
            assert!(state(&mut trainer) == state(&mut clean), "{case}, {kind:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for case in CASES {
            let golden = Golden::open(case);
            let batch = golden.batch();
            let train = |seed| {
                let sizes = MlmOptions { seed, ..options(3) };
                let mut trainer = Trainer::pretraining(&gpu, golden.config.clone(), sizes).unwrap();
                let reports: Vec<_> =
                    (0..3).map(|_| step(&mut trainer, std::slice::from_ref(&batch)).unwrap()).collect();
                (reports, state(&mut trainer))
            };
            let first = train(1);
            assert!(first == train(1), "{case}, {kind:?}");
            assert!(first != train(2), "{case}, {kind:?}");
        }
    }
}

/// How sequences are put together into micro-batches, and how many sequences and targets there is room for, changes
/// only the order of sums. What has no room is computed later, in the same memory.
#[test]
fn gradients_do_not_depend_on_micro_batches() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let golden = Golden::open("relative_untied_mask");
        let batch = golden.batch();
        let compute_with = |sequences: usize, targets: usize, batches: &[Batch]| {
            let sizes = MlmOptions { targets, ..options(sequences) };
            let mut trainer = Trainer::pretraining(&gpu, golden.config.clone(), sizes).unwrap();
            golden.fill(&mut trainer);
            let memory = gpu.allocated();
            assert_eq!(trainer.accumulate(batches).unwrap(), batch.labels.len());
            assert_eq!(gpu.allocated(), memory);
            gradients(&trainer)
        };
        let compute = |sequences: usize, batches: &[Batch]| compute_with(sequences, 20, batches);
        let whole = compute(3, std::slice::from_ref(&batch));
        assert!(batch.labels.len() <= 20);
        for (found, what) in [
            (compute(1, &split(&batch)), "one sequence at a time"),
            (compute(5, &split(&batch)), "one sequence at a time, room for five"),
            (compute(7, std::slice::from_ref(&batch)), "room for seven"),
            (compute_with(3, 5, std::slice::from_ref(&batch)), "five targets at a time"),
            (compute_with(3, 1, std::slice::from_ref(&batch)), "one target at a time"),
        ] {
            for ((name, found), (_, expected)) in found.iter().zip(&whole) {
                let error = relative(found, expected);
                assert!(error < 2e-6, "{kind:?}, {what}: {name} off by {error:e}");
            }
        }
    }
}

#[test]
fn a_batch_without_masked_tokens_has_no_loss() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let golden = Golden::open("relative_untied_mask");
        let mut trainer = golden.trainer(&gpu);
        let mut batch = golden.batch();
        batch.masked_rows.clear();
        batch.labels.clear();
        for batches in [vec![], vec![batch.clone()], vec![batch.clone(), batch.clone()]] {
            let report = step(&mut trainer, &batches).unwrap();
            assert_eq!((report.loss, report.accuracy, report.gradient_norm), (0.0, 0.0, 0.0));
            assert!(!report.skipped);
            let found = pollster::block_on(trainer.evaluate(&batches)).unwrap();
            assert_eq!((found.loss, found.accuracy, found.masked), (0.0, 0.0, 0));
        }
        for (name, values) in state(&mut trainer) {
            assert!(values.iter().all(|&x| f32::from_bits(x).is_finite()), "{name}");
        }
        // Next to a batch with targets it adds nothing.
        let mut other = golden.trainer(&gpu);
        other.accumulate(&[golden.batch()]).unwrap();
        let expected = gradients(&other);
        assert_eq!(other.accumulate(&[batch, golden.batch()]).unwrap(), golden.batch().labels.len());
        assert_eq!(bits(&gradients(&other)), bits(&expected));
    }
}

#[test]
fn sequences_of_padding_alone_contribute_zeros() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let golden = Golden::open("relative_untied_mask");
        let pad = golden.config.pad_token_id;
        let mut padding = golden.batch();
        padding.input_ids.fill(pad);
        padding.bounds.fill([0, 0]);
        padding.masked_rows.clear();
        padding.labels.clear();
        let mut trainer = golden.trainer(&gpu);
        trainer.accumulate(std::slice::from_ref(&padding)).unwrap();
        for (name, values) in gradients(&trainer) {
            assert!(values.iter().all(|&x| x == 0.0), "{kind:?}: {name}");
        }
        // Even where padding is to be guessed, everything stays finite.
        padding.masked_rows = vec![3, 50];
        padding.labels = vec![7, 8];
        let report = step(&mut trainer, &[padding.clone()]).unwrap();
        assert!(report.loss.is_finite() && report.loss > 0.0 && !report.skipped, "{report:?}");
        // So it does where padding is attended to.
        padding.bounds.fill([0, 40]);
        let report = step(&mut trainer, &[padding]).unwrap();
        assert!(report.loss.is_finite() && !report.skipped, "{report:?}");
    }
}

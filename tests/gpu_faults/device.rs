//! A device that is not there, is too small, refuses, or is lost.

use wgrad::Error;
use wgrad::autograd::Graph;
use wgrad::gpu::{Gpu, GpuOptions, KernelSpec, Recorder, Region, Source};
use wgrad::models::Config;
use wgrad::ops::add::add;
use wgrad::tensor::DType;
use wgrad::train::{MlmOptions, StepEngine, Trainer};

use crate::common::golden::{Golden, options};
use crate::{KINDS, common, step};

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

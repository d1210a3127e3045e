//! Every command says what it costs: on a device that computes nothing, so that no GPU is needed.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use wgrad::gpu::{AdapterKind, Gpu, GpuOptions, MatrixOperands, Timing};
use wgrad::models::Config;
use wgrad::ops;
use wgrad::tensor::DType;
use wgrad::train::benchmark::{Work, commands};
use wgrad::train::{Precision, Workload};

/// A device of wgpu's `noop` backend.
fn noop(options: &GpuOptions) -> Gpu {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop = wgpu::NoopBackendOptions {
        enable: true,
        subgroup_min_size: Some(32),
        subgroup_max_size: Some(32),
        ..Default::default()
    };
    let instance = wgpu::Instance::new(descriptor);
    pollster::block_on(async {
        let adapter = instance.request_adapter(&Default::default()).await.unwrap();
        Gpu::on(adapter, options).await.unwrap()
    })
}

/// Kernels for GPUs without and with matrix units, and for CPUs.
fn devices() -> [Gpu; 3] {
    let options = |kind, matrix_units| GpuOptions {
        kind: Some(kind),
        matrix_units,
        unlisted_matrix_units: true,
        speed: Some(1e13),
        ..GpuOptions::default()
    };
    let units = options(AdapterKind::Gpu, Some(MatrixOperands::F16));
    let gpus = [options(AdapterKind::Gpu, None), units, options(AdapterKind::Cpu, None)].map(|o| noop(&o));
    assert!(gpus[1].capabilities().matrix_tile == Some(16) && gpus[0].capabilities().matrix_tile.is_none());
    gpus
}

fn workload(precision: Precision, tokens: usize) -> Workload {
    let model = Config { vocab_size: 300, ..Config::preset("micro").unwrap() };
    Workload { model, sequences: 2, tokens, targets: 7, precision, recompute: 0 }
}

/// The names of commands that only count their bindings, or count nothing.
fn silent(commands: &[Timing]) -> Vec<&str> {
    let silent = commands.iter().filter(|command| !command.cost.stated || command.cost.bytes <= 0.0);
    silent.map(|command| command.kernel.as_str()).collect()
}

/// Each form of each kernel of which there is a choice runs where it was chosen.
#[test]
fn what_is_chosen_is_what_runs() {
    let kernels = |choices: &str, tokens| {
        let gpu = noop(&GpuOptions {
            kind: Some(AdapterKind::Gpu),
            matrix_units: Some(MatrixOperands::F16),
            unlisted_matrix_units: true,
            speed: Some(1e13),
            choices: choices.into(),
            ..GpuOptions::default()
        });
        // Enough rows that the sums of weights' gradients are worth parts.
        let workload = Workload { sequences: 4096 / tokens, ..workload(Precision::Mixed, tokens) };
        let commands = pollster::block_on(commands(&gpu, Work::Step, &workload)).unwrap();
        commands.into_iter().map(|command| command.kernel).collect::<Vec<_>>()
    };
    let count = |kernels: &[String], part: &str| kernels.iter().filter(|name| name.contains(part)).count();
    let rules = kernels("rules", 128);
    assert!(count(&rules, "matmul_cooperative") > 0 && count(&rules, "attention_units") > 0, "{rules:?}");
    let plain = kernels("products=plain", 128);
    assert!(count(&plain, "matmul_cooperative") == 0 && count(&plain, "matmul_tiled") > 0, "{plain:?}");
    assert!(count(&kernels("sums=whole", 128), "reduce") < count(&rules, "reduce"), "{rules:?}");
    for (name, tokens) in [("attention.short", 128), ("attention.long", 512)] {
        assert!(count(&kernels(&format!("{name}=fused"), tokens), "attention_units") > 0);
        let unfused = kernels(&format!("{name}=unfused"), tokens);
        assert!(
            count(&unfused, "attention_units") == 0 && count(&unfused, "attention:softmax") > 0,
            "{unfused:?}"
        );
    }
}

/// Of pretraining, finetuning with dropout and embedding, with attention in both forms.
#[test]
fn every_command_of_a_step_states_its_bytes() {
    for gpu in devices() {
        for precision in [Precision::F32, Precision::Mixed] {
            for tokens in [20, 512] {
                let mut workload = workload(precision, tokens);
                workload.model.max_position_embeddings = 512;
                for work in [Work::Step, Work::Finetune, Work::Embed] {
                    let list = pollster::block_on(commands(&gpu, work, &workload)).unwrap();
                    assert!(list.len() > 15, "{work:?}: {} commands", list.len());
                    assert_eq!(silent(&list), [""; 0], "{work:?} of {precision:?}");
                    let products = list.iter().filter(|command| command.kernel.starts_with("matmul"));
                    let on_units = gpu.capabilities().matrix_tile.is_some() && precision == Precision::Mixed;
                    assert!(products.into_iter().all(|product| product.cost.units == on_units), "{work:?}");
                }
            }
        }
    }
}

/// Also those that no step at hand has.
#[test]
fn every_operation_states_its_bytes() {
    for gpu in devices() {
        for operation in ops::all() {
            for case in (operation.cases)() {
                gpu.start_list();
                // What a device that computes nothing gives back is wrong, and not looked at.
                let _ = pollster::block_on(case.run(&gpu, DType::F32, 1));
                let list = pollster::block_on(gpu.take_profile()).unwrap();
                assert!(!list.is_empty(), "{}", operation.name);
                assert_eq!(silent(&list), [""; 0], "{}", operation.name);
            }
        }
    }
}

/// What a person can work out.
#[test]
fn bytes_are_those_that_have_to_be_read_and_written() {
    let [gpu, ..] = devices();
    for (precision, each) in [(Precision::F32, 28.0), (Precision::Mixed, 30.0)] {
        let workload = workload(precision, 16);
        let list = pollster::block_on(commands(&gpu, Work::Step, &workload)).unwrap();
        let sum = |start: &str| -> f64 {
            let these = list.iter().filter(|command| command.kernel.starts_with(start));
            these.map(|command| command.cost.bytes).sum()
        };
        let parameters = workload.model.parameter_count() as f64;
        // Segments are padded, which is little.
        let near = |found: f64, expected: f64| {
            assert!((1.0..1.02).contains(&(found / expected)), "{found} {expected}")
        };
        // Weights and both moments are read and written, gradients are read, halves are written.
        near(sum("adamw:update"), each * parameters);
        near(sum("control:norm"), 4.0 * parameters);
        let (rows, width) = ((2 * 16) as f64, workload.model.hidden_size as f64);
        let element = if precision == Precision::F32 { 4.0 } else { 2.0 };
        assert_eq!(sum("embedding:forward"), 2.0 * element * rows * width + 4.0 * rows);
        assert_eq!(sum("gather_rows:forward"), 2.0 * element * 7.0 * width + 4.0 * 8.0);
    }
}

//! Every kernel without a GPU: its shader compiles for Vulkan, Metal and Direct3D within WebGPU's default limits, and its
//! bindings and parameters are what the Rust side says. `scripts/test-web` has Chromium's compiler look at them too.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

#[path = "../common/mod.rs"]
mod common;
mod compiled;
mod stores;

use common::kernels::{all, is_cooperative, variants};
use compiled::Compiled;
use stores::{check_conversions, check_stores};
use wgrad::gpu::{Constant, F16, KernelSpec, shader};
use wgrad::optim;

/// WebGPU's default limits.
const STORAGE_BUFFERS: u32 = 8;
const WORKGROUP_BYTES: u32 = 16384;
/// What a GPU with matrix units has at least.
const BUFFERS_WITH_UNITS: u32 = 10;

fn check(spec: &KernelSpec, constants: &[Constant]) -> Result<(), String> {
    let compiled = Compiled::of(spec, constants)?;
    compiled.write_for_other_languages(spec.entry, constants)?;
    let (buffers, memory) = match is_cooperative(constants) {
        true => (BUFFERS_WITH_UNITS, 2 * WORKGROUP_BYTES),
        false => (STORAGE_BUFFERS, WORKGROUP_BYTES),
    };
    compiled.check_bindings(spec, buffers)?;
    compiled.check_params(spec)?;
    compiled.check_structs(&optim::structs())?;
    compiled.check_limits(memory)?;
    check_conversions(&compiled)?;
    check_stores(&compiled)
}

#[test]
fn every_kernel_compiles_and_is_what_its_description_says() {
    let mut failures = Vec::new();
    for (name, kernels) in all() {
        // Copying is a command of its own.
        assert!(!kernels.is_empty() || name == "concat_rows", "{name} has no kernels");
        for spec in kernels {
            for constants in variants(spec) {
                if let Err(message) = check(spec, &constants) {
                    failures.push(format!("{}:{} {constants:?}: {message}", spec.source.name, spec.entry));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What Rust declares for buffers, a buffer holds.
#[test]
fn no_struct_is_in_rust_alone() {
    let mut found = std::collections::HashSet::new();
    for spec in all().into_iter().flat_map(|(_, kernels)| kernels) {
        let compiled = Compiled::of(spec, spec.example).unwrap();
        found.extend(compiled.globals().filter_map(|global| Some(compiled.structure(global)?.0.to_owned())));
    }
    for declared in optim::structs() {
        assert!(found.contains(declared.name), "no shader has {}", declared.name);
    }
}

/// Every entry point of every operation's shader is described.
#[test]
fn no_entry_point_is_left_out() {
    for (_, kernels) in all() {
        for spec in kernels {
            for entry in Compiled::of(spec, spec.example).unwrap().module.entry_points {
                let described = kernels
                    .iter()
                    .any(|other| other.source.name == spec.source.name && other.entry == entry.name);
                assert!(described, "{}:{}", spec.source.name, entry.name);
            }
        }
    }
}

/// The checks above find what they look for.
#[test]
fn wrong_kernels_are_found() {
    const HEAD: &str = "struct Params { n: u32, s: f32 }\n@group(0) @binding(0) var<uniform> p: Params;\n\
                        @group(0) @binding(1) var<storage, read> x: array<f32>;\n\
                        @group(0) @binding(2) var<storage, read_write> y: array<f32>;\n";
    const GOOD: &str = "@compute @workgroup_size(N) fn main() { y[0] = x[p.n] * p.s; }";
    let text = |body: &str| -> &'static str { Box::leak(format!("{HEAD}{body}").into_boxed_str()) };
    let spec = |body: &str| KernelSpec {
        source: shader::Source { name: "probe", text: text(body) },
        entry: "main",
        reads: 1,
        textures: 0,
        writes: 1,
        params: &[("n", 0, 4), ("s", 4, 4)],
        example: &[("N", 64)],
    };
    let good = spec(GOOD);
    assert_eq!(check(&good, good.example), Ok(()));
    let found = |spec: KernelSpec, words: &str| {
        let message = check(&spec, spec.example).expect_err(spec.source.text);
        assert!(message.contains(words), "{message}");
    };
    found(KernelSpec { reads: 2, ..good }, "its description says");
    found(KernelSpec { textures: 1, ..good }, "its description says");
    found(KernelSpec { reads: 0, writes: 2, ..good }, "its description says");
    found(KernelSpec { params: &[("n", 0, 4)], ..good }, "Params is");
    found(KernelSpec { params: &[("s", 0, 4), ("n", 4, 4)], ..good }, "Params is");
    found(KernelSpec { entry: "other", ..good }, "no such entry point");
    found(KernelSpec { example: &[("N", 257)], ..good }, "workgroups of");
    found(KernelSpec { example: &[], ..good }, "probe.wgsl, line 5");
    found(spec("@compute @workgroup_size(N) fn main() { y[0] = f32(p.n); }"), "its description says");
    found(spec("@compute @workgroup_size(N) fn main() { y[0] = x[p.n] + ; }"), "probe.wgsl, line 5");
    for (fields, words) in [
        ("struct Mine { a: f32 }", "Mine is in WGSL alone"),
        ("struct State { step: f32, a: f32 }", "State is [("),
    ] {
        let name = fields.split(' ').nth(1).unwrap();
        let body = format!(
            "{fields}\n@group(0) @binding(2) var<storage, read_write> z: {name};\n\
             @compute @workgroup_size(N) fn main() {{ {last} = x[p.n] * p.s; }}",
            last = if name == "Mine" { "z.a" } else { "z.step" },
        );
        found(spec(&body), words);
    }
    let component = "stores a component";
    for body in [
        "var<workgroup> w: array<vec4<f32>, 4>;\n@compute @workgroup_size(N) fn main() { w[p.n][p.n] = x[0]; y[0] = w[0].x; }",
        "var<workgroup> w: vec4<f32>;\n@compute @workgroup_size(N) fn main() { w.y = x[p.n]; y[0] = w.x; }",
        "struct S { v: vec2<f32> }\n@group(0) @binding(2) var<storage, read_write> z: array<S>;\n\
         fn put(i: u32) { z[i].v.x = x[p.n]; }\n@compute @workgroup_size(N) fn main() { put(1u); }",
        "var<workgroup> w: array<vec4<f32>, 4>;\n@compute @workgroup_size(N) fn main() { let to = &w[1];\n\
         (*to)[p.n] = x[0]; y[0] = w[1].x; }",
    ] {
        found(spec(body), component);
    }
    let conditional = "under a condition";
    for body in [
        "var<workgroup> w: array<f32, 4>;\n@compute @workgroup_size(N) fn main() { if (p.n > 1u) { w[0] = x[0]; }\n\
         workgroupBarrier(); y[0] = w[0]; }",
        "var<workgroup> w: array<f32, 4>;\nfn put() { w[0] = x[p.n]; }\n@compute @workgroup_size(N) fn main() {\n\
         for (var i = 0u; i < p.n; i++) { switch i { case 3u: { put(); } default: {} } }\nworkgroupBarrier(); y[0] = w[0]; }",
    ] {
        found(spec(body), conditional);
    }
    found(
        KernelSpec {
            example: &[("N", 64), (F16, 1)],
            ..spec("@compute @workgroup_size(N) fn main() { y[0] = f32(f16(x[p.n])); }")
        },
        "by itself",
    );
    // In a loop every invocation stores, and memory of one's own may be written in parts.
    let allowed = "var<workgroup> w: array<f32, 64>;\n@compute @workgroup_size(N) fn main() { var v = vec4<f32>();\n\
                   for (var i = 0u; i < p.n; i++) { w[i] = x[i]; v[i % 4u] = x[i]; }\nworkgroupBarrier(); y[0] = w[0] + v.x; }";
    assert_eq!(check(&spec(allowed), good.example), Ok(()));
    found(
        spec(
            "var<workgroup> w: array<f32, 4097>;\n@compute @workgroup_size(N) fn main() { w[p.n] = x[0]; y[0] = \
             w[0]; }",
        ),
        "workgroup memory",
    );
}

/// A kernel in one form.
struct Text {
    /// What a file may be called.
    name: String,
    text: String,
    spec: KernelSpec,
    constants: Vec<Constant>,
}

/// Every kernel and variant that a browser may get.
fn texts() -> Vec<Text> {
    let mut texts = Vec::new();
    for (name, kernels) in all() {
        for spec in kernels {
            for constants in variants(spec).into_iter().filter(|constants| !is_cooperative(constants)) {
                let text = shader::compose(&spec.source, &constants).unwrap().text;
                let name = format!("{name}-{}-{}-{}", spec.source.name, spec.entry, texts.len());
                texts.push(Text { name, text, spec: *spec, constants });
            }
        }
    }
    texts
}

/// `scripts/test-web` gives the WGSL to Dawn, `scripts/long/dxc` the HLSL to Microsoft's compiler, by a list of files, entry
/// points and constants.
#[test]
fn every_text_is_written_for_other_compilers() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    for language in ["wgsl", "hlsl"] {
        let _ = std::fs::remove_dir_all(folder.join(language));
        std::fs::create_dir_all(folder.join(language)).unwrap();
    }
    let mut list = String::new();
    for Text { name, text, spec, constants } in texts() {
        std::fs::write(folder.join(format!("wgsl/{name}.wgsl")), text).unwrap();
        let (text, entry) = Compiled::of(&spec, &constants).unwrap().hlsl(spec.entry).unwrap();
        std::fs::write(folder.join(format!("hlsl/{name}.hlsl")), text).unwrap();
        let constants: Vec<String> =
            constants.iter().map(|(name, value)| format!("{name}={value}")).collect();
        list += &format!("{name}.hlsl\t{entry}\t{}\n", constants.join(" "));
    }
    std::fs::write(folder.join("hlsl/list.tsv"), list).unwrap();
}

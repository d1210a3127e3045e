//! Every kernel without a GPU: its shader compiles for Vulkan, Metal and Direct3D within WebGPU's default limits, and its
//! bindings and parameters are what the Rust side says. `scripts/test-web` has Chromium's compiler look at them too.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use common::kernels::{all, is_cooperative, variants};
use naga::valid::{Capabilities, FunctionInfo, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, GlobalVariable, Handle, Module, ShaderStage, StorageAccess, TypeInner};
use wgrad::gpu::{Constant, F16, KernelSpec, SharedStruct, shader};
use wgrad::optim;

/// WebGPU's default limits.
const STORAGE_BUFFERS: u32 = 8;
/// What a GPU with matrix units has at least.
const BUFFERS_WITH_UNITS: u32 = 10;
const WORKGROUP_BYTES: u32 = 16384;
const INVOCATIONS: u32 = 256;
const WORKGROUP_SIZE: [u32; 3] = [256, 256, 64];

/// One field of a struct in WGSL: name, offset and size in bytes.
type Member<'a> = (&'a str, usize, usize);

/// A shader that compiled, and the entry point that is looked at.
struct Compiled {
    module: Module,
    info: ModuleInfo,
    entry: usize,
}

impl Compiled {
    fn of(spec: &KernelSpec, constants: &[Constant]) -> Result<Self, String> {
        let composed = shader::compose(&spec.source, constants).map_err(|e| e.to_string())?;
        let module = naga::front::wgsl::parse_str(&composed.text)
            .map_err(|e| composed.error(&e.emit_to_string(&composed.text)).to_string())?;
        // No capability beyond those that every WebGPU device has, but for f16 where it is asked for.
        let f16 = constants.iter().any(|(name, value)| *name == F16 && *value > 0);
        let mut capabilities = if f16 { Capabilities::SHADER_FLOAT16 } else { Capabilities::empty() };
        capabilities.set(Capabilities::COOPERATIVE_MATRIX, is_cooperative(constants));
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .map_err(|e| composed.error(&e.emit_to_string(&composed.text)).to_string())?;
        let entry =
            module.entry_points.iter().position(|e| e.name == spec.entry).ok_or("no such entry point")?;
        Ok(Compiled { module, info, entry })
    }

    fn info(&self) -> &FunctionInfo {
        self.info.get_entry_point(self.entry)
    }

    /// The globals that the entry point uses, itself or in what it calls.
    fn globals(&self) -> impl Iterator<Item = &GlobalVariable> {
        let used = |(handle, _): &(Handle<GlobalVariable>, &GlobalVariable)| !self.info()[*handle].is_empty();
        self.module.global_variables.iter().filter(used).map(|(_, global)| global)
    }

    fn bytes(&self, global: &GlobalVariable) -> u32 {
        self.module.types[global.ty].inner.size(self.module.to_ctx())
    }

    fn write_for_other_languages(&self, name: &str, constants: &[Constant]) -> Result<(), String> {
        use naga::back::{msl, spv};
        let cooperative = is_cooperative(constants);
        let mut options = spv::Options::default();
        if cooperative {
            options.lang_version = (1, 6);
        }
        let pipeline =
            spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: name.to_string() };
        let words = spv::write_vec(&self.module, &self.info, &options, Some(&pipeline))
            .map_err(|e| format!("SPIR-V: {e}"))?;
        if words.is_empty() {
            return Err("SPIR-V: nothing written".into());
        }
        if constants.contains(&("VECTORS", 1)) {
            // Metal loads tiles from arrays of scalars, in variants of their own.
            return Ok(());
        }
        let options =
            msl::Options { lang_version: if cooperative { (3, 1) } else { (2, 4) }, ..Default::default() };
        let pipeline = msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, name.to_string())),
            ..Default::default()
        };
        let (text, info) = msl::write_string(&self.module, &self.info, &options, &pipeline)
            .map_err(|e| format!("MSL: {e}"))?;
        match info.entry_point_names.as_slice() {
            [Ok(written)] if text.contains(written.as_str()) => {}
            other => return Err(format!("MSL: wrote the entry points {other:?}")),
        }
        // Direct3D's compiler knows no matrix units.
        if cooperative { Ok(()) } else { self.hlsl(name).map(|_| ()) }
    }

    /// HLSL as wgpu has it written where it asks for no runtime checks, and what the entry point is called there.
    fn hlsl(&self, name: &str) -> Result<(String, String), String> {
        use naga::back::hlsl;
        let options = hlsl::Options {
            // The first one with f16.
            shader_model: hlsl::ShaderModel::V6_2,
            zero_initialize_workgroup_memory: false,
            restrict_indexing: false,
            force_loop_bounding: false,
            ..Default::default()
        };
        let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, name.to_string())) };
        let mut text = String::new();
        let info = hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&self.module, &self.info, None)
            .map_err(|e| format!("HLSL: {e}"))?;
        match info.entry_point_names.as_slice() {
            [Ok(written)] if text.contains(written.as_str()) => Ok((text, written.clone())),
            other => Err(format!("HLSL: wrote the entry points {other:?}")),
        }
    }

    /// `Params` at 0, then `reads` (the first ones may be textures), then `writes`, all of them used and nothing else.
    fn check_bindings(&self, spec: &KernelSpec, most: u32) -> Result<(), String> {
        let mut found = Vec::new();
        for global in self.globals() {
            let Some(binding) = &global.binding else { continue };
            if binding.group != 0 {
                return Err(format!("{:?} is in group {}", global.name, binding.group));
            }
            let kind = match global.space {
                AddressSpace::Handle => "texture",
                AddressSpace::Uniform => "uniform",
                AddressSpace::Storage { access } if access == StorageAccess::LOAD => "read",
                AddressSpace::Storage { access } if access == StorageAccess::LOAD | StorageAccess::STORE => {
                    "read_write"
                }
                other => return Err(format!("{:?} is bound as {other:?}", global.name)),
            };
            found.push((binding.binding, kind));
        }
        found.sort_unstable();
        let (reads, storage) = (spec.reads, spec.reads + spec.writes);
        let kind = |binding| match binding {
            0 => "uniform",
            binding if binding <= spec.textures => "texture",
            binding if binding <= reads => "read",
            _ => "read_write",
        };
        let expected: Vec<_> = (0..=storage).map(|binding| (binding, kind(binding))).collect();
        if found != expected {
            return Err(format!("binds {found:?}, its description says {expected:?}"));
        }
        if storage > most {
            return Err(format!("binds {storage} storage buffers"));
        }
        Ok(())
    }

    fn check_params(&self, spec: &KernelSpec) -> Result<(), String> {
        let uniform =
            self.globals().find(|global| global.space == AddressSpace::Uniform).ok_or("no uniform")?;
        let Some((_, found, span)) = self.structure(uniform) else {
            return Err("its uniform is no struct".into());
        };
        if found != spec.params {
            return Err(format!("Params is {found:?} in WGSL, {:?} in Rust", spec.params));
        }
        let end = spec.params.last().map_or(0, |(_, offset, size)| offset + size);
        if span as usize > end.next_multiple_of(16) {
            return Err(format!("Params takes {span} bytes in WGSL, {end} in Rust"));
        }
        Ok(())
    }

    /// A global that is a struct: its type's name, fields and bytes.
    fn structure(&self, global: &GlobalVariable) -> Option<(&str, Vec<Member<'_>>, u32)> {
        let kind = &self.module.types[global.ty];
        let TypeInner::Struct { members, span } = &kind.inner else { return None };
        let size = |member: &naga::StructMember| {
            self.module.types[member.ty].inner.size(self.module.to_ctx()) as usize
        };
        let fields = members
            .iter()
            .map(|member| (member.name.as_deref().unwrap_or("?"), member.offset as usize, size(member)))
            .collect();
        Some((kind.name.as_deref().unwrap_or("?"), fields, *span))
    }

    /// A buffer that holds a struct holds one of `known`, which Rust declares too.
    fn check_structs(&self, known: &[SharedStruct]) -> Result<(), String> {
        let storage = |global: &&GlobalVariable| matches!(global.space, AddressSpace::Storage { .. });
        for (name, found, _) in self.globals().filter(storage).filter_map(|global| self.structure(global)) {
            let known: Vec<_> = known.iter().filter(|known| known.name == name).map(|k| k.fields).collect();
            if known.is_empty() {
                return Err(format!("{name} is in WGSL alone: expected it in `optim::structs`"));
            }
            if !known.iter().any(|fields| found == *fields) {
                return Err(format!("{name} is {found:?} in WGSL, {known:?} in Rust"));
            }
        }
        Ok(())
    }

    fn check_limits(&self, limit: u32) -> Result<(), String> {
        let size = self.module.entry_points[self.entry].workgroup_size;
        let invocations: u32 = size.iter().product();
        if invocations == 0
            || invocations > INVOCATIONS
            || size.iter().zip(WORKGROUP_SIZE).any(|(s, l)| *s > l)
        {
            return Err(format!("workgroups of {size:?}"));
        }
        let shared = |global: &&GlobalVariable| global.space == AddressSpace::WorkGroup;
        let bytes: u32 = self.globals().filter(shared).map(|g| self.bytes(g).next_multiple_of(16)).sum();
        if bytes > limit {
            return Err(format!("{bytes} bytes of workgroup memory"));
        }
        Ok(())
    }
}

/// What a function does to memory that invocations share.
#[derive(Default, Clone, Copy, PartialEq)]
struct Stores {
    /// It stores a part of a vector. Metal's compiler loads the vector, inserts and stores it, so that invocations which
    /// store other parts of it at the same time undo each other; WGSL allows that.
    component: bool,
    /// It stores to workgroup memory under a condition. Some of Metal's compilers have lost the barrier between such a
    /// store and the loads of all invocations.
    conditional: bool,
    /// It stores to workgroup memory, itself or in what it calls.
    workgroup: bool,
}

impl Stores {
    fn and(self, other: Stores) -> Stores {
        Stores {
            component: self.component || other.component,
            conditional: self.conditional || other.conditional,
            workgroup: self.workgroup || other.workgroup,
        }
    }

    /// Of everything that `module`'s entry point of this number runs.
    fn of(compiled: &Compiled) -> Stores {
        let module = &compiled.module;
        let mut functions = std::collections::HashMap::new();
        // Functions come before those that call them.
        for (handle, function) in module.functions.iter() {
            let stores =
                Self::in_block(module, function, &compiled.info[handle], &function.body, false, &functions);
            functions.insert(handle, stores);
        }
        let function = &module.entry_points[compiled.entry].function;
        Self::in_block(module, function, compiled.info(), &function.body, false, &functions)
    }

    fn in_block(
        module: &Module,
        function: &naga::Function,
        info: &FunctionInfo,
        block: &naga::Block,
        under_condition: bool,
        functions: &std::collections::HashMap<Handle<naga::Function>, Stores>,
    ) -> Stores {
        use naga::Statement;
        let inside = |block, conditional| {
            Self::in_block(module, function, info, block, under_condition || conditional, functions)
        };
        let mut stores = Stores::default();
        for statement in block {
            stores = stores.and(match statement {
                Statement::Block(block) => inside(block, false),
                Statement::Loop { body, continuing, .. } => {
                    inside(body, false).and(inside(continuing, false))
                }
                Statement::If { accept, reject, .. } => inside(accept, true).and(inside(reject, true)),
                Statement::Switch { cases, .. } => {
                    cases.iter().fold(Stores::default(), |all, case| all.and(inside(&case.body, true)))
                }
                Statement::Store { pointer, .. } => {
                    Self::through(module, function, info, *pointer, under_condition)
                }
                Statement::CooperativeStore { .. } => {
                    Stores { workgroup: true, conditional: under_condition, ..Stores::default() }
                }
                Statement::Call { function, .. } => {
                    let called = functions[function];
                    Stores {
                        conditional: called.conditional || (called.workgroup && under_condition),
                        ..called
                    }
                }
                _ => Stores::default(),
            });
        }
        stores
    }

    fn through(
        module: &Module,
        function: &naga::Function,
        info: &FunctionInfo,
        pointer: Handle<naga::Expression>,
        under_condition: bool,
    ) -> Stores {
        use naga::Expression;
        let shared =
            |space: AddressSpace| matches!(space, AddressSpace::WorkGroup | AddressSpace::Storage { .. });
        let inner = |expression: Handle<Expression>| info[expression].ty.inner_with(&module.types);
        let component = match function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => match *inner(base) {
                TypeInner::Pointer { base, space } => {
                    shared(space) && matches!(module.types[base].inner, TypeInner::Vector { .. })
                }
                TypeInner::ValuePointer { size, space, .. } => shared(space) && size.is_some(),
                _ => false,
            },
            _ => false,
        };
        let workgroup = inner(pointer).pointer_space() == Some(AddressSpace::WorkGroup);
        Stores { component, workgroup, conditional: workgroup && under_condition }
    }
}

/// Functions that convert f32 to f16, which only `lib/narrow` may do: what overflows must become infinite there.
fn check_conversions(compiled: &Compiled) -> Result<(), String> {
    use naga::{Expression, ScalarKind};
    let module = &compiled.module;
    let functions = module.functions.iter().map(|(handle, function)| (function, &compiled.info[handle]));
    let entry = &module.entry_points[compiled.entry].function;
    for (function, info) in functions.chain([(entry, compiled.info())]) {
        for (_, expression) in function.expressions.iter() {
            let Expression::As { expr, kind: ScalarKind::Float, convert: Some(2) } = *expression else {
                continue;
            };
            let from = info[expr].ty.inner_with(&module.types).scalar();
            let name = function.name.as_deref().unwrap_or("the entry point");
            if from != Some(naga::Scalar::F16) && name != "converted" {
                return Err(format!("{name} converts to f16 by itself instead of by `lib/narrow`"));
            }
        }
    }
    Ok(())
}

/// The rules of shared memory that no adapter at hand enforces: `docs/adding-an-op.md` has them.
fn check_stores(compiled: &Compiled) -> Result<(), String> {
    let stores = Stores::of(compiled);
    if stores.component {
        return Err("stores a component of a vector in memory that invocations share".into());
    }
    if stores.conditional {
        return Err("stores to workgroup memory under a condition".into());
    }
    Ok(())
}

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

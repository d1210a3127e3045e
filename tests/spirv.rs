//! What a Vulkan driver is handed for matrix units: Vulkan's memory model spelled out. It is decoded here by rspirv, which
//! knows nothing of how it was written.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![cfg(not(target_vendor = "apple"))]

mod common;

use std::collections::HashMap;

use common::kernels::{all, is_cooperative, variants};
use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{Decoration, MemoryAccess, MemoryModel, MemorySemantics, Op, Scope, StorageClass, Word};
use wgrad::gpu::{shader, spirv};

/// The composed text, entry point and name of every kernel for matrix units and of every variant.
fn kernels() -> Vec<(shader::Composed, &'static str, String)> {
    let mut kernels = Vec::new();
    for (operation, specs) in all() {
        for spec in specs {
            for constants in variants(spec).iter().filter(|constants| is_cooperative(constants)) {
                let name = format!("{operation}-{}-{}", spec.entry, kernels.len());
                kernels.push((shader::compose(&spec.source, constants).unwrap(), spec.entry, name));
            }
        }
    }
    assert!(kernels.len() > 20, "{} kernels", kernels.len());
    kernels
}

/// What was looked at in a module.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    barriers: usize,
    loads: usize,
    stores: usize,
    cooperative_loads: usize,
    cooperative_stores: usize,
}

/// A module, its types and constants by their ids.
struct Decoded {
    module: Module,
    globals: HashMap<Word, Instruction>,
}

impl Decoded {
    fn of(words: &[u32]) -> Self {
        let module = rspirv::dr::load_words(words).unwrap_or_else(|error| panic!("{error}"));
        let globals = module.types_global_values.iter();
        let globals = globals.filter_map(|one| Some((one.result_id?, one.clone()))).collect();
        Decoded { module, globals }
    }

    fn bits(&self, constant: Word) -> u32 {
        match self.globals[&constant].operands[..] {
            [Operand::LiteralBit32(bits)] => bits,
            ref other => panic!("no constant of 32 bits: {other:?}"),
        }
    }

    /// Whether a barrier orders what is in buffers.
    fn orders_buffers(&self) -> bool {
        self.module.all_inst_iter().filter(|one| one.class.opcode == Op::ControlBarrier).any(|one| {
            let Some(Operand::IdMemorySemantics(id)) = one.operands.last() else { panic!("{one:?}") };
            MemorySemantics::from_bits(self.bits(*id)).unwrap().contains(MemorySemantics::UNIFORM_MEMORY)
        })
    }

    /// The ids that point to buffers which are written.
    fn buffers(&self) -> Vec<Word> {
        let read_only = |id: Word| {
            let mut decorations = self.module.annotations.iter();
            decorations.any(|one| {
                one.operands[..] == [Operand::IdRef(id), Operand::Decoration(Decoration::NonWritable)]
            })
        };
        let mut found = Vec::new();
        for one in self.module.all_inst_iter() {
            let Some(id) = one.result_id else { continue };
            let is = match one.class.opcode {
                Op::Variable => {
                    one.operands[0] == Operand::StorageClass(StorageClass::StorageBuffer) && !read_only(id)
                }
                Op::AccessChain | Op::InBoundsAccessChain => {
                    matches!(one.operands[0], Operand::IdRef(base) if found.contains(&base))
                }
                _ => false,
            };
            if is {
                found.push(id);
            }
        }
        found
    }

    /// The ids that point to workgroup memory.
    fn pointers(&self) -> Vec<Word> {
        let shared = |pointer_type: Word| {
            self.globals.get(&pointer_type).is_some_and(|one| {
                one.class.opcode == Op::TypePointer
                    && one.operands[0] == Operand::StorageClass(StorageClass::Workgroup)
            })
        };
        let all = self.module.all_inst_iter();
        all.filter(|one| one.result_type.is_some_and(shared)).filter_map(|one| one.result_id).collect()
    }

    /// Whether barriers and accesses order workgroup memory among invocations as Vulkan's memory model demands.
    fn check(&self) -> Result<Seen, String> {
        let model = &self.module.memory_model.as_ref().unwrap().operands[1];
        if *model != Operand::MemoryModel(MemoryModel::Vulkan) {
            return Err(format!("{model:?}"));
        }
        let mut pointers = self.pointers();
        if self.orders_buffers() {
            pointers.extend(self.buffers());
        }
        let mut seen = Seen::default();
        let functions = self.module.functions.iter();
        for one in functions.flat_map(|function| &function.blocks).flat_map(|block| &block.instructions) {
            let points = |at: usize| matches!(one.operands[at], Operand::IdRef(id) if pointers.contains(&id));
            let opcode = one.class.opcode;
            let count = match opcode {
                Op::ControlBarrier | Op::MemoryBarrier => {
                    let Some(Operand::IdMemorySemantics(id)) = one.operands.last() else {
                        panic!("{one:?}");
                    };
                    let bits = MemorySemantics::from_bits(self.bits(*id)).unwrap();
                    let of = MemorySemantics::WORKGROUP_MEMORY | MemorySemantics::UNIFORM_MEMORY;
                    let scopes = one.operands[..2].iter().map(|scope| match scope {
                        Operand::IdScope(id) => self.bits(*id),
                        other => panic!("{other:?}"),
                    });
                    if scopes.clone().any(|scope| scope != Scope::Workgroup as u32) {
                        return Err(format!("a barrier of the scopes {:?}", scopes.collect::<Vec<_>>()));
                    }
                    let needed = MemorySemantics::ACQUIRE_RELEASE
                        | MemorySemantics::MAKE_AVAILABLE
                        | MemorySemantics::MAKE_VISIBLE;
                    if !bits.contains(needed) || !bits.intersects(of) {
                        return Err(format!("a barrier with {bits:?}"));
                    }
                    seen.barriers += 1;
                    continue;
                }
                Op::Load if points(0) => &mut seen.loads,
                Op::Store if points(0) => &mut seen.stores,
                Op::CooperativeMatrixLoadKHR if points(0) => &mut seen.cooperative_loads,
                Op::CooperativeMatrixStoreKHR if points(0) => &mut seen.cooperative_stores,
                Op::AccessChain | Op::InBoundsAccessChain => continue,
                _ => {
                    // Nothing else takes such a pointer.
                    if (0..one.operands.len()).any(points) {
                        return Err(format!("{opcode:?} of workgroup memory"));
                    }
                    continue;
                }
            };
            *count += 1;
            let marked = one.operands.iter().any(|operand| {
                matches!(operand, Operand::MemoryAccess(access)
                    if access.contains(MemoryAccess::NON_PRIVATE_POINTER))
            });
            if !marked {
                return Err(format!("a private {opcode:?}"));
            }
        }
        Ok(seen)
    }
}

#[test]
fn barriers_and_accesses_follow_the_memory_model() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("spirv");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    for (composed, entry, name) in kernels() {
        let words = spirv::compile(&composed, entry).unwrap();
        let seen = Decoded::of(&words).check().unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        let Seen { barriers, loads, stores, cooperative_loads, cooperative_stores } = seen;
        let all = [barriers, loads, stores, cooperative_loads, cooperative_stores];
        assert!(!all.contains(&0), "{name}: {seen:?}");
        // `scripts/units` gives these files to Khronos's validator.
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        std::fs::write(folder.join(format!("{name}.spv")), bytes).unwrap();
    }
}

/// naga's own form does not. The day this fails, naga has learnt it, and `gpu/spirv.rs` may go.
#[test]
fn without_that_they_do_not() {
    for (composed, entry, name) in kernels() {
        let words = spirv::translate(&composed, entry).unwrap();
        assert!(Decoded::of(&words).check().is_err(), "{name}");
        let barriers = Decoded::of(&words);
        let text = rspirv::binary::Disassemble::disassemble(&barriers.module);
        assert!(!text.contains("NonPrivatePointer"), "{name}");
        assert!(!text.contains("MakePointer"), "{name}");
    }
}

/// Nothing else is changed: without what was added, the instructions are naga's.
#[test]
fn nothing_else_is_changed() {
    for (composed, entry, name) in kernels() {
        let plain = Decoded::of(&spirv::translate(&composed, entry).unwrap());
        let spelled = Decoded::of(&spirv::compile(&composed, entry).unwrap());
        let body = |decoded: &Decoded| -> Vec<Instruction> {
            let mut all: Vec<Instruction> =
                decoded.module.functions.iter().flat_map(|f| f.all_inst_iter().cloned()).collect();
            for one in &mut all {
                one.operands.retain(|operand| !matches!(operand, Operand::MemoryAccess(_)));
                if matches!(one.class.opcode, Op::ControlBarrier | Op::MemoryBarrier) {
                    one.operands.truncate(1);
                }
            }
            all
        };
        assert_eq!(body(&plain), body(&spelled), "{name}");
        let added = spelled.module.types_global_values.len() - plain.module.types_global_values.len();
        let kinds = 1 + usize::from(plain.orders_buffers());
        assert_eq!(added, kinds, "{name}: a constant for the semantics of each kind of barrier");
    }
}

/// What there is no rule for is refused instead of being handed over half done.
#[test]
fn what_is_not_known_is_refused() {
    let refused = |body: &str, words: &str| {
        let text = format!(
            "var<workgroup> w: array<u32, 64>;\nvar<workgroup> count: atomic<u32>;\n\
             @group(0) @binding(1) var<storage, read_write> y: array<u32>;\n\
             @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {{\n{body}\n}}"
        );
        let source = shader::Source { name: "probe", text: Box::leak(text.into_boxed_str()) };
        let composed = shader::compose(&source, &[]).unwrap();
        let error = spirv::compile(&composed, "main").err().map(|error| error.to_string());
        assert_eq!(error.as_deref().map(|error| error.contains(words)), Some(true), "{error:?}");
    };
    refused("w[i] = i; textureBarrier(); y[i] = w[63u - i];", "neither workgroup memory's nor storage's");
    refused("atomicAdd(&count, i); workgroupBarrier(); y[i] = w[i];", "cannot be given memory operands");
    let broken = [0x0723_0203, 0, 0, 1, 0, 0x0003_0000];
    assert!(spirv::spell_out(&broken).unwrap_err().contains("3 words where 1 are left"));
    assert!(spirv::spell_out(&broken[..3]).unwrap_err().contains("cut off"));
}

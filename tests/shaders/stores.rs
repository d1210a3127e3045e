//! The rules of shared memory and of conversions, which compilers do not enforce.

use naga::valid::FunctionInfo;
use naga::{AddressSpace, Handle, Module, TypeInner};

use crate::compiled::Compiled;

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
pub(crate) fn check_conversions(compiled: &Compiled) -> Result<(), String> {
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
pub(crate) fn check_stores(compiled: &Compiled) -> Result<(), String> {
    let stores = Stores::of(compiled);
    if stores.component {
        return Err("stores a component of a vector in memory that invocations share".into());
    }
    if stores.conditional {
        return Err("stores to workgroup memory under a condition".into());
    }
    Ok(())
}

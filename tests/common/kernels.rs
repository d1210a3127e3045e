//! Every kernel and every form that it is compiled in.

use wgrad::gpu::{Constant, F16, KernelSpec, OUT_F16, TILE};
use wgrad::{ops, optim};

/// The kernels of all operations and optimizers, by name.
pub fn all() -> Vec<(&'static str, &'static [KernelSpec])> {
    let operations = ops::all().into_iter().map(|operation| (operation.name, operation.kernels));
    let probe: (_, &[KernelSpec]) = ("probe", &[ops::probe::KERNEL]);
    operations.chain(optim::kernels()).chain([probe]).collect()
}

/// The constants of `spec`'s example, and with them every choice of types that it is compiled for.
pub fn variants(spec: &KernelSpec) -> Vec<Vec<Constant>> {
    let f32 = spec.example.to_vec();
    let mut variants = vec![f32.clone()];
    let fixed = f32.iter().any(|(name, _)| *name == F16);
    if spec.source.text.contains("elem") && !fixed {
        variants.push([f32.clone(), vec![(F16, 1)]].concat());
    }
    // The epilogue of products stores `out_elem`.
    if ["out_elem", "#import lib/epilogue"].iter().any(|words| spec.source.text.contains(words)) {
        variants.push([f32, vec![(F16, 1), (OUT_F16, 0)][usize::from(fixed)..].to_vec()].concat());
    }
    variants
}

/// Whether a kernel uses matrix units, which browsers do not know.
pub fn is_cooperative(constants: &[Constant]) -> bool {
    constants.iter().any(|(name, _)| *name == TILE)
}

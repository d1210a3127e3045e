//! Update rules: how a weight follows from its gradient. One file each here, a shader of the same stem, and one word in
//! the list below.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::norm::{CONSTANTS, LANES, vectors};
use crate::autograd::Graph;
use crate::error::quoted;
use crate::gpu::{AdapterKind, KernelSpec, SharedStruct, View};
use crate::tensor::DType;
use crate::{Error, Result};

/// Declares the modules and collects their rules.
macro_rules! rules {
    ($($name:ident),+ $(,)?) => {
        $(mod $name;)+

        const RULES: &[Rule] = &[$(Rule { name: stringify!($name), definition: &$name::RULE }),+];
    };
}

// The first one is used where a recipe names none.
rules! { adamw, lion }

/// An update rule, by its name in recipes: that of its files.
#[derive(Clone, Copy)]
pub struct Rule {
    name: &'static str,
    definition: &'static Definition,
}

/// How parameters of one role are updated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroupOptions {
    /// The update rule.
    pub rule: Rule,
    /// What the step's learning rate is multiplied by.
    pub learning_rate: f32,
    /// Decoupled decay: the share of a weight that a learning rate of 1 takes away.
    pub weight_decay: f32,
    /// Decay rate of the first moment, or whatever the rule's first β is.
    pub beta1: f32,
    /// Decay rate of the second moment, or whatever the rule's second β is.
    pub beta2: f32,
    /// Added to the root of the second moment, by rules that have one.
    pub epsilon: f32,
}

impl Default for GroupOptions {
    fn default() -> Self {
        let (rule, learning_rate, weight_decay) = (Rule::default(), 1.0, 0.01);
        GroupOptions { rule, learning_rate, weight_decay, beta1: 0.9, beta2: 0.98, epsilon: 1e-12 }
    }
}

/// What a file of a rule says.
pub(super) struct Definition {
    /// What people call it.
    pub title: &'static str,
    /// What the moments are called in checkpoints, in front of a parameter's name: as many numbers each as there are
    /// parameters.
    pub moments: &'static [&'static str],
    /// Numbers beside the moments.
    pub scalars: Option<Scalars>,
    /// All kernels, and the structs that their buffers hold.
    pub kernels: &'static [KernelSpec],
    pub structs: &'static [SharedStruct],
    /// Floating-point operations of the update of an element.
    pub flops: f64,
    /// Records the update of a part of a segment.
    pub update: fn(&mut Graph, &GroupOptions, &Part) -> Result<()>,
    /// The same of one element in f64.
    pub reference: fn(&GroupOptions, &mut Element<'_>),
}

/// Numbers that a rule has once for all parameters of equal β, and changes in each step.
#[derive(Debug)]
pub(super) struct Scalars {
    /// How they begin.
    pub first: fn() -> Vec<f32>,
    /// How many of them, the first ones, are kept in checkpoints. The others follow from them in each step.
    pub kept: usize,
    /// Records changing them (the second view) after the decision (the first).
    pub advance: fn(&mut Graph, &GroupOptions, View, View) -> Result<()>,
    /// Those that are kept after so many steps, in f64.
    pub reference: fn(&GroupOptions, i32) -> Vec<f64>,
}

/// One element on its way through a step, for a reference.
pub(super) struct Element<'a> {
    /// How many steps there were, this one counted in.
    pub step: i32,
    /// The step's learning rate.
    pub rate: f64,
    /// The gradient after clipping.
    pub gradient: f64,
    pub weight: &'a mut f64,
    pub moments: &'a mut [f64],
}

/// A part of a segment, to be updated in one dispatch.
pub(super) struct Part {
    pub kind: AdapterKind,
    pub elements: usize,
    /// Floating-point operations to an element.
    pub flops: f64,
    /// The decision, then the rule's scalars where it has any, then the gradients.
    pub reads: Vec<View>,
    /// Weights, moments in order, then the weights as f16 where `weights_f16`.
    pub writes: Vec<View>,
    pub weights_f16: bool,
}

impl Part {
    /// Vectors of four elements.
    pub(super) fn vectors(&self) -> u32 {
        vectors(self.elements)
    }

    /// Dispatches `update`, or `update_halves` where there are f16 copies.
    pub(super) fn dispatch<P: bytemuck::NoUninit>(
        &self,
        graph: &mut Graph,
        [update, update_halves]: [&KernelSpec; 2],
        params: P,
    ) -> Result<()> {
        let kernel = match self.weights_f16 {
            true => (update_halves, &[CONSTANTS[0], DType::F16.out_elem()][..]),
            false => (update, CONSTANTS),
        };
        // On a GPU as many workgroups as a dispatch may have, on a CPU fewer, which do not cost it more than their work.
        let most = match self.kind {
            AdapterKind::Cpu => 256,
            AdapterKind::Gpu => 65535,
        };
        let groups = [self.vectors().div_ceil(LANES).min(most), 1, 1];
        let dispatch = graph.dispatch(kernel, params, &self.reads, &self.writes, groups)?;
        // All but the f16 copies is read too.
        let again = self.writes.iter().rev().skip(usize::from(self.weights_f16));
        let again: u64 = again.map(|view| view.bytes).sum();
        dispatch.flops(self.flops * self.elements as f64).once_and(again as f64);
        Ok(())
    }
}

impl Rule {
    /// All of them.
    pub const ALL: &[Rule] = RULES;

    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// What people call it.
    pub fn title(self) -> &'static str {
        self.definition.title
    }

    pub(super) fn definition(self) -> &'static Definition {
        self.definition
    }

    pub(super) fn kernels(self) -> &'static [KernelSpec] {
        self.definition.kernels
    }

    pub(super) fn structs(self) -> &'static [SharedStruct] {
        self.definition.structs
    }
}

impl Default for Rule {
    fn default() -> Self {
        RULES[0]
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Rule {}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        RULES.iter().find(|rule| rule.name == name).copied().ok_or_else(|| {
            let known: Vec<_> = RULES.iter().map(|rule| quoted(rule.name)).collect();
            Error::config("rule", format!("one of {}", known.join(", ")), quoted(name))
        })
    }
}

//! Which parameters a model has, said once: a layer declares its parameters in a [`Scope`] and keeps a handle of each,
//! by which it finds their values again in every recording.

use super::padding::Padding;
use super::role::Role;
use crate::hash::fnv1a;

/// How a parameter's values start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal around 0 with this standard deviation.
    Normal(f64),
    /// Uniform between minus and plus this bound.
    Uniform(f64),
    /// All 1.
    Ones,
    /// All 0.
    Zeros,
}

/// One parameter of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// Its name in `model.safetensors`.
    pub name: String,
    /// Its shape, row-major; a linear layer is `[out, in]`.
    pub shape: Vec<usize>,
    /// How its values start.
    pub init: Init,
    /// What it is for: an optimizer may treat it by that.
    pub role: Role,
    /// Zeros that the device has between its values.
    pub padding: Option<Padding>,
}

impl ParameterSpec {
    /// The number of values; the largest `usize` when there are more, which no valid configuration has.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |n, &size| n.saturating_mul(size))
    }

    /// Its shape on the device.
    pub fn padded_shape(&self) -> Vec<usize> {
        self.padding.map_or_else(|| self.shape.clone(), |padding| padding.shape(&self.shape))
    }
}

/// Handle of a declared parameter, or of several of one shape that were declared as one: `[out, in]` each are used as
/// `[count · out, in]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    pub(super) first: usize,
    pub(super) count: usize,
}

/// How many parameters were declared up to some point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared(usize);

impl Parameter {
    /// Whether it was declared before.
    pub fn is_before(self, end: Declared) -> bool {
        self.first < end.0
    }
}

/// All parameters of a model, in the order of files and of the optimizer's state.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Declarations {
    specs: Vec<ParameterSpec>,
    handles: Vec<Parameter>,
}

impl Declarations {
    /// The parameters.
    pub fn specs(&self) -> &[ParameterSpec] {
        &self.specs
    }

    /// The parameters, without how they are used.
    pub fn into_specs(self) -> Vec<ParameterSpec> {
        self.specs
    }

    /// The parameters that a handle stands for; none for a handle of other declarations.
    pub fn of(&self, handle: Parameter) -> &[ParameterSpec] {
        self.specs.get(handle.first..handle.first + handle.count).unwrap_or_default()
    }

    /// One handle for each parameter or stack of parameters.
    pub(super) fn handles(&self) -> &[Parameter] {
        &self.handles
    }

    /// The outermost scope.
    pub fn scope(&mut self) -> Scope<'_> {
        Scope { declarations: self, path: String::new(), matrices: Role::Matrix }
    }
}

/// A prefix of names under which layers declare their parameters.
#[derive(Debug)]
pub struct Scope<'a> {
    declarations: &'a mut Declarations,
    /// Ends in a dot unless it is empty.
    path: String,
    matrices: Role,
}

impl Scope<'_> {
    /// The scope `name` within this one.
    pub fn child(&mut self, name: &str) -> Scope<'_> {
        let path = format!("{}{name}.", self.path);
        Scope { declarations: self.declarations, path, matrices: self.matrices }
    }

    /// This scope for what stands above the encoder: its matrices have the role of a head.
    pub fn head(&mut self) -> Scope<'_> {
        Scope { declarations: self.declarations, path: self.path.clone(), matrices: Role::Head }
    }

    /// Declares the vector `{name}`, `[width]`.
    pub fn vector(&mut self, name: &str, width: usize, init: Init) -> Parameter {
        self.declare(&[name], "", &[width], init, Role::Vector)
    }

    /// Declares the table `{name}.weight`, `[rows, width]`, of which rows are looked up.
    pub fn table(&mut self, name: &str, shape: [usize; 2], init: Init) -> Parameter {
        self.declare(&[name], ".weight", &shape, init, Role::Embedding)
    }

    /// Declares the matrix `{name}.weight`, `[out, in]`, of each of `names`: several are one matrix
    /// `[count · out, in]` to who uses them.
    pub fn matrix(&mut self, names: &[&str], shape: [usize; 2], init: Init) -> Parameter {
        self.declare(names, ".weight", &shape, init, self.matrices)
    }

    /// Declares the bias `{name}.bias`, `[width]`, of each of `names`, as one `[count · width]`.
    pub fn bias(&mut self, names: &[&str], width: usize) -> Parameter {
        self.declare(names, ".bias", &[width], Init::Zeros, Role::Vector)
    }

    /// Pads each of the parameters that a handle stands for, so that it is used in the larger shape.
    pub fn pad(&mut self, parameter: Parameter, padding: Padding) {
        let specs = &mut self.declarations.specs;
        specs[parameter.first..parameter.first + parameter.count]
            .iter_mut()
            .for_each(|spec| spec.padding = Some(padding));
    }

    /// The place `name`, at which dropout chooses its random numbers by the place's full name.
    pub(super) fn site(&self, name: &str) -> u32 {
        fnv1a(format!("{}{name}", self.path).as_bytes()) as u32
    }

    /// How many parameters were declared, in this scope and all others.
    pub fn declared(&self) -> Declared {
        Declared(self.declarations.specs.len())
    }

    fn declare(&mut self, names: &[&str], end: &str, shape: &[usize], init: Init, role: Role) -> Parameter {
        let Declarations { specs, handles } = &mut *self.declarations;
        let handle = Parameter { first: specs.len(), count: names.len() };
        specs.extend(names.iter().map(|name| {
            let name = format!("{}{name}{end}", self.path);
            ParameterSpec { name, shape: shape.to_vec(), init, role, padding: None }
        }));
        handles.push(handle);
        handle
    }
}

//! What layers are recorded with.

use super::declare::Parameter;
use super::parameters::Parameters;
use crate::Result;
use crate::autograd::Graph;
use crate::tensor::Tensor;

/// What a forward pass is recorded with.
#[derive(Debug)]
pub struct Context<'a> {
    /// The recording.
    pub graph: &'a mut Graph,
    /// The values of the parameters.
    pub parameters: &'a Parameters,
    /// How much is dropped; nothing where there are none.
    pub dropouts: Option<&'a Dropouts>,
}

impl Context<'_> {
    /// A parameter as a tensor of the recording.
    ///
    /// # Errors
    /// As [`Parameters::tensor`].
    pub fn tensor(&mut self, parameter: Parameter) -> Result<Tensor> {
        self.parameters.tensor(self.graph, parameter)
    }
}

/// How much is dropped in a pass.
#[derive(Debug, Clone)]
pub struct Dropouts {
    /// The share of values that become 0 in the embeddings, at the end of each half of a block and before the head.
    pub hidden: f32,
    /// The share of attention probabilities that become 0.
    pub attention: f32,
    /// The step's key ([`crate::ops::dropout::Key`]).
    pub key: Tensor,
}

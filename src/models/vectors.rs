//! What is done with the pooled vector of a text: layers that `sentence-transformers` puts behind its pooling.
//!
//! A vector goes through a few thousand numbers' worth of work where its text took the encoder millions, so that this is
//! done on the CPU, in f64, for widths of any kind.

use crate::ops::check::erf;
use crate::{Error, Result};

/// A step from vector to vector.
#[derive(Debug, Clone, PartialEq)]
pub enum VectorStep {
    /// A linear layer with an activation.
    Dense(Dense),
    /// Division by the length.
    Normalize,
}

impl VectorStep {
    /// What it makes of a vector.
    pub fn apply(&self, vector: &[f32]) -> Vec<f32> {
        match self {
            VectorStep::Dense(dense) => dense.apply(vector),
            VectorStep::Normalize => normalized(vector),
        }
    }

    /// What it does, without its weights.
    pub fn name(&self) -> String {
        let VectorStep::Dense(Dense { weight, inputs, activation, residual, bias }) = self else {
            return "normalize".to_owned();
        };
        let residual = match residual {
            Residual::None => "no residual",
            Residual::Input => "its input as residual",
            Residual::Projected(_) => "a projected residual",
        };
        let (outputs, bias) = (weight.len() / inputs, if bias.is_some() { "a bias" } else { "no bias" });
        format!("dense from {inputs} to {outputs} with {bias}, {activation:?} and {residual}")
    }
}

/// A vector divided by its length; one of zeros stays one.
pub fn normalized(vector: &[f32]) -> Vec<f32> {
    let norm = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let scale = if norm > 1e-12 { 1.0 / norm } else { 0.0 };
    vector.iter().map(|&x| (f64::from(x) * scale) as f32).collect()
}

/// The function behind a [`Dense`] layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenseActivation {
    /// None.
    Identity,
    /// The hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`
    Relu,
    /// Exact GELU.
    Gelu,
    /// `x / (1 + exp(-x))`
    Silu,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
}

impl DenseActivation {
    /// The function of PyTorch's class, such as `Tanh`; none where it is not known here.
    pub fn of_class(class: &str) -> Option<Self> {
        Some(match class {
            "Identity" => DenseActivation::Identity,
            "Tanh" => DenseActivation::Tanh,
            "ReLU" => DenseActivation::Relu,
            "GELU" => DenseActivation::Gelu,
            "SiLU" => DenseActivation::Silu,
            "Sigmoid" => DenseActivation::Sigmoid,
            _ => return None,
        })
    }

    /// Its value at `x`.
    pub fn of(self, x: f64) -> f64 {
        match self {
            DenseActivation::Identity => x,
            DenseActivation::Tanh => x.tanh(),
            DenseActivation::Relu => x.max(0.0),
            DenseActivation::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            DenseActivation::Silu => x / (1.0 + (-x).exp()),
            DenseActivation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        }
    }
}

/// `y = activation(weight · x + bias)`, plus x, or a projection of it, where there is a residual connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// `[out, in]`
    weight: Vec<f32>,
    /// `[out]`
    bias: Option<Vec<f32>>,
    activation: DenseActivation,
    residual: Residual,
    inputs: usize,
}

/// What is added to the output of a [`Dense`] layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Residual {
    /// Nothing.
    None,
    /// Its input, which is as wide.
    Input,
    /// A projection `[out, in]` of its input.
    Projected(Vec<f32>),
}

impl Dense {
    /// A layer from `in` to `out` numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] when the numbers are not as many as the widths ask for.
    pub fn new(
        [outputs, inputs]: [usize; 2],
        weight: Vec<f32>,
        bias: Option<Vec<f32>>,
        activation: DenseActivation,
        residual: Residual,
    ) -> Result<Self> {
        let fits = inputs > 0
            && weight.len() == outputs * inputs
            && bias.as_ref().is_none_or(|bias| bias.len() == outputs)
            && match &residual {
                Residual::None => true,
                Residual::Input => inputs == outputs,
                Residual::Projected(weight) => weight.len() == outputs * inputs,
            };
        if !fits {
            let found = format!("{} numbers", weight.len());
            return Err(Error::shape("dense", format!("weights of [{outputs}, {inputs}]"), found));
        }
        Ok(Dense { weight, bias, activation, residual, inputs })
    }

    /// How many numbers it gives.
    pub fn outputs(&self) -> usize {
        self.weight.len() / self.inputs
    }

    /// How many numbers it takes.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut y = product(&self.weight, x);
        for (row, y) in y.iter_mut().enumerate() {
            let bias = self.bias.as_ref().map_or(0.0, |bias| f64::from(bias[row]));
            *y = self.activation.of(*y + bias);
        }
        match &self.residual {
            Residual::None => {}
            Residual::Input => y.iter_mut().zip(x).for_each(|(y, &x)| *y += f64::from(x)),
            Residual::Projected(weight) => {
                y.iter_mut().zip(product(weight, x)).for_each(|(y, projected)| *y += projected);
            }
        }
        y.into_iter().map(|y| y as f32).collect()
    }
}

/// `weight [out, in] · x [in]`
fn product(weight: &[f32], x: &[f32]) -> Vec<f64> {
    let dot = |row: &[f32]| row.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
    weight.chunks_exact(x.len().max(1)).map(dot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dense_layer_by_hand() {
        let layer = |bias, activation, residual| {
            Dense::new([2, 3], vec![1., 2., 3., -1., 0., 1.], bias, activation, residual).unwrap()
        };
        let x = [1.0, 0.5, -1.0];
        let plain = layer(None, DenseActivation::Identity, Residual::None);
        assert_eq!((plain.apply(&x), plain.outputs(), plain.inputs()), (vec![-1.0, -2.0], 2, 3));
        let relu = layer(Some(vec![4.0, 1.0]), DenseActivation::Relu, Residual::None);
        let names = [plain.clone(), relu.clone()].map(|layer| VectorStep::Dense(layer).name());
        assert_eq!(
            names,
            [
                "dense from 3 to 2 with no bias, Identity and no residual",
                "dense from 3 to 2 with a bias, Relu and no residual"
            ]
        );
        assert_eq!(relu.apply(&x), [3.0, 0.0]);
        let tanh = layer(Some(vec![1.5, 2.0]), DenseActivation::Tanh, Residual::None);
        assert_eq!(tanh.apply(&x), [0.5f64.tanh() as f32, 0.0]);
        let projected = Residual::Projected(vec![1.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
        assert_eq!(layer(None, DenseActivation::Identity, projected).apply(&x), [0.0, -1.0]);
        let square = Dense::new([1, 1], vec![2.0], None, DenseActivation::Identity, Residual::Input).unwrap();
        assert_eq!(square.apply(&[3.0]), [9.0]);
        let error = Dense::new([2, 2], vec![1.0], None, DenseActivation::Tanh, Residual::None).unwrap_err();
        assert!(error.to_string().contains("weights of [2, 2], found 1 numbers"), "{error}");
    }

    #[test]
    fn vectors_of_zeros_stay_so() {
        assert_eq!(VectorStep::Normalize.apply(&[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(VectorStep::Normalize.apply(&[3.0, 4.0]), [0.6, 0.8]);
    }
}

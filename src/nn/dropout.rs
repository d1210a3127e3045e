//! Dropout throughout a model while it is trained.

use super::context::{Context, Dropouts};
use super::declare::Scope;
use crate::Result;
use crate::ops::add::add;
use crate::ops::dropout::{Dropout, dropout};
use crate::tensor::Tensor;

/// A place where a model drops values, independently of all other places: its name chooses its random numbers.
#[derive(Debug, Clone, Copy)]
pub struct DropoutSite(u32);

impl DropoutSite {
    /// The place `name` of `scope`.
    pub fn new(scope: &Scope, name: &str) -> Self {
        DropoutSite(scope.site(name))
    }

    /// Drops values of hidden states; at a rate of 0 the result is `x` itself.
    ///
    /// # Errors
    /// As [`dropout`].
    pub fn hidden(self, context: &mut Context, x: Tensor) -> Result<Tensor> {
        match context.dropouts.and_then(|dropouts| self.options(dropouts, dropouts.hidden)) {
            Some(options) => dropout(context.graph, &x, &options),
            None => Ok(x),
        }
    }

    /// `residual` plus what `compute` gives after dropout. Without dropout `compute` adds the residual itself, which
    /// takes no pass of its own.
    ///
    /// # Errors
    /// Those of `compute`, and as [`dropout`].
    pub fn onto(
        self,
        context: &mut Context,
        residual: &Tensor,
        compute: impl FnOnce(&mut Context, Option<&Tensor>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if context.dropouts.is_none_or(|dropouts| dropouts.hidden == 0.0) {
            return compute(context, Some(residual));
        }
        let y = compute(context, None)?;
        let y = self.hidden(context, y)?;
        add(context.graph, residual, &y)
    }

    /// How attention drops probabilities here.
    pub fn attention(self, context: &Context) -> Option<Dropout> {
        context.dropouts.and_then(|dropouts| self.options(dropouts, dropouts.attention))
    }

    fn options(self, dropouts: &Dropouts, rate: f32) -> Option<Dropout> {
        (rate > 0.0).then(|| Dropout { rate, key: dropouts.key.clone(), site: self.0 })
    }
}

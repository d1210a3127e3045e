//! Every kernel of an adapter against its reference on the CPU.

use serde::Serialize;
use wgrad::gpu::{AdapterKind, Gpu, GpuOptions, MatrixOperands};
use wgrad::ops::check::Outcome;
use wgrad::tensor::DType;
use wgrad::{ops, optim};

use super::word;

/// Gradients are compared at this many elements of each input.
const SAMPLES: usize = 64;

/// How one operation's kernels of one kind came out.
#[derive(Serialize)]
pub struct Checked {
    pub operation: &'static str,
    pub kind: AdapterKind,
    pub storage: DType,
    /// Whether products ran on matrix units.
    pub matrix_units: bool,
    pub own: bool,
    pub cases: usize,
    pub passed: usize,
    pub result: Worst,
    pub gradient: Worst,
    pub failures: Vec<String>,
}

/// The error nearest to its bound, or farthest beyond it.
#[derive(Serialize, Clone, Copy)]
pub struct Worst {
    pub error: f64,
    pub bound: f64,
}

impl Worst {
    const NONE: Worst = Worst { error: 0.0, bound: 0.0 };

    /// The worse of the two; NaN is the worst of all.
    fn and(self, (error, bound): (f64, f64)) -> Worst {
        let better = self.bound > 0.0 && error.is_finite() && error / bound <= self.error / self.bound;
        if better || self.error.is_nan() { self } else { Worst { error, bound } }
    }
}

impl Checked {
    fn nothing(operation: &'static str, kind: AdapterKind, storage: DType, own: bool) -> Self {
        let (result, gradient) = (Worst::NONE, Worst::NONE);
        let (matrix_units, cases, passed, failures) = (false, 0, 0, Vec::new());
        Checked { operation, kind, storage, matrix_units, own, cases, passed, result, gradient, failures }
    }

    /// Counts one comparison in. Only a lost device is an error.
    fn note(&mut self, compared: wgrad::Result<Outcome>) -> wgrad::Result<()> {
        self.cases += 1;
        let outcome = match compared {
            Ok(outcome) => outcome,
            Err(error @ wgrad::Error::DeviceLost { .. }) => return Err(error),
            Err(error) => {
                self.failures.push(error.to_string());
                return Ok(());
            }
        };
        self.result = self.result.and(outcome.forward);
        for (_, error, bound) in &outcome.gradients {
            self.gradient = self.gradient.and((*error, *bound));
        }
        if outcome.passed() {
            self.passed += 1;
            return Ok(());
        }
        let off = |(what, error, bound): (&str, f64, f64)| {
            // NaN is not within its bound either.
            let within = error <= bound;
            (!within).then(|| format!("{what} off by {error:.1e}, bound {bound:.0e}"))
        };
        let mut parts = vec![off(("result", outcome.forward.0, outcome.forward.1))];
        parts.extend(outcome.gradients.iter().map(|&(x, e, b)| off((&format!("d_{x}"), e, b))));
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        self.failures.push(format!("{}: {}", outcome.name, parts.join("; ")));
        Ok(())
    }

    fn row(&self) -> Vec<String> {
        let verdict = match (self.passed == self.cases, self.own) {
            (true, _) => "right",
            (false, true) => "WRONG",
            (false, false) => "wrong, not used here",
        };
        let numbers = |worst: &Worst| match worst.bound > 0.0 {
            true => [format!("{:.1e}", worst.error), format!("{:.0e}", worst.bound)],
            false => ["-".to_string(), "-".to_string()],
        };
        let kind = if self.matrix_units { "matrix units".to_string() } else { word(self.kind) };
        let mut row = vec![self.operation.to_string(), kind, word(self.storage)];
        row.push(format!("{}/{}", self.passed, self.cases));
        row.extend(numbers(&self.result));
        row.extend(numbers(&self.gradient));
        row.push(verdict.to_string());
        row
    }
}

/// Checks the kernels that the adapter uses, and with `all` those that it does not; `gpu` was opened with `options`.
pub async fn check(gpu: &Gpu, options: &GpuOptions, all: bool) -> anyhow::Result<Vec<Checked>> {
    let mut kernels = Vec::new();
    let kind = gpu.capabilities().kind;
    let other = match kind {
        AdapterKind::Cpu => AdapterKind::Gpu,
        AdapterKind::Gpu => AdapterKind::Cpu,
    };
    for (kind, own) in [(kind, true), (other, false)].into_iter().take(1 + usize::from(all)) {
        let gpu = match own {
            true => gpu.clone(),
            false => Gpu::open(&GpuOptions { kind: Some(kind), ..options.clone() }).await?,
        };
        let halves = gpu.capabilities().f16.then_some(DType::F16);
        for storage in [DType::F32].into_iter().chain(halves) {
            for operation in ops::all() {
                let mut checked = Checked::nothing(operation.name, kind, storage, own);
                for case in (operation.cases)() {
                    checked.note(case.run(&gpu, storage, SAMPLES).await)?;
                }
                kernels.push(checked);
            }
        }
        // The optimizer has the same kernels for every adapter, and keeps its numbers as f32.
        if own {
            for &rule in optim::Rule::ALL {
                let mut checked = Checked::nothing(rule.name(), kind, DType::F32, own);
                for case in optim::cases(rule) {
                    checked.note(case.run(&gpu).await)?;
                }
                kernels.push(checked);
            }
        }
    }
    for operands in [MatrixOperands::F16, MatrixOperands::F32] {
        let options = GpuOptions { matrix_units: Some(operands), ..options.clone() };
        if Gpu::chosen(&options).await?.matrix_tile.is_none() {
            continue;
        }
        let units = Gpu::open(&options).await?;
        let storage = DType::from(operands);
        for operation in ops::all().into_iter().filter(|o| ["attention", "matmul"].contains(&o.name)) {
            // Not the adapter's own choice: one has to ask for them.
            let nothing = Checked::nothing(operation.name, kind, storage, false);
            let mut checked = Checked { matrix_units: true, ..nothing };
            for case in (operation.cases)() {
                checked.note(case.run(&units, storage, SAMPLES).await)?;
            }
            kernels.push(checked);
        }
    }
    Ok(kernels)
}

/// A heading and a row for each.
pub fn rows(kernels: &[Checked]) -> Vec<Vec<String>> {
    let heading = ["kernels", "for", "storage", "cases", "result", "bound", "gradient", "bound", ""];
    let mut rows = vec![vec![], heading.map(String::from).to_vec()];
    rows.extend(kernels.iter().map(Checked::row));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_error_is_the_nearest_to_its_bound() {
        let worst = Worst::NONE.and((1e-6, 1e-5)).and((2e-6, 1e-4)).and((1e-7, 1e-5));
        assert_eq!((worst.error, worst.bound), (1e-6, 1e-5));
        assert!(worst.and((f64::NAN, 1.0)).and((1.0, 1e-9)).error.is_nan());
    }
}

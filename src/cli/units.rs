//! Matrix units as an option that several commands share: used where a device has shown that it computes right on them.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use wgrad::gpu::{AdapterKind, Capabilities, Gpu, GpuOptions, MatrixOperands};
use wgrad::train::Precision;
use wgrad::train::stress::{Sizes, Stressed, stress_units};

use super::kept::{Kept, Subject};
use super::print;

/// The values of `--matrix-units`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// Without a test.
    On,
    /// Never.
    Off,
    /// Where they have passed a test on this device, which takes seconds once.
    Auto,
}

/// Replays of each product in the test.
const REPLAYS: usize = 10;

/// What the test of a device gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Verdict {
    #[serde(flatten)]
    subject: Subject,
    operands: MatrixOperands,
    passed: bool,
    /// What was wrong.
    said: String,
}

const VERDICTS: Kept =
    Kept { file: "matrix-units.json", what: "tests of matrix units", key: "verdicts", format: 2 };

impl Verdict {
    fn is_of(&self, adapter: &Capabilities, operands: MatrixOperands) -> bool {
        self.operands == operands && self.subject == Subject::of(adapter)
    }
}

/// `options` with the units on or off, for a command that stores activations in `precision`; says so where that is not
/// what was asked for, or where a device failed.
pub async fn decide(asked: Choice, precision: Precision, options: &GpuOptions) -> anyhow::Result<GpuOptions> {
    let with = |matrix_units| GpuOptions { matrix_units, ..options.clone() };
    let without = with(None);
    if asked == Choice::Off {
        return Ok(without);
    }
    let adapter = Gpu::chosen(&without).await?;
    let Some(operands) = operands(precision, &adapter) else {
        if asked == Choice::On {
            let (name, storage) = (&adapter.name, name(precision.on(&adapter)));
            print::note(format_args!(
                "warning: {name} lists no matrix units that there are kernels for with operands of {storage}, the type \
                 in use: matrix units are not used"
            ));
        }
        return Ok(without);
    };
    let on_units = with(Some(operands));
    if asked == Choice::On {
        return Ok(on_units);
    }
    let known = VERDICTS.find(|verdict: &Verdict| verdict.is_of(&adapter, operands));
    let verdict = match known {
        Some(verdict) => verdict,
        None => {
            // What memory the command may take does not limit a test before it.
            let test = test(&adapter, operands, &GpuOptions { memory: None, ..on_units.clone() }).await;
            match test {
                Ok(verdict) => {
                    // Metal names no driver, so nothing would tell when another one takes its place.
                    if !adapter.driver.is_empty() {
                        VERDICTS.keep(verdict.clone(), |other| {
                            (&other.subject.adapter, other.operands) == (&adapter.name, operands)
                        });
                    }
                    verdict
                }
                Err(error) => {
                    print::note(format_args!(
                        "warning: the matrix units of {} could not be tested with {operands} ({error}); plain kernels are used",
                        adapter.name
                    ));
                    return Ok(without);
                }
            }
        }
    };
    if !verdict.passed {
        print::note(format_args!(
            "warning: the matrix units of {} compute wrongly with {operands} ({}); plain kernels are used",
            adapter.name, verdict.said
        ));
    }
    Ok(if verdict.passed { on_units } else { without })
}

/// What is multiplied where activations are stored in `precision`, if the adapter has units for that.
fn operands(precision: Precision, adapter: &Capabilities) -> Option<MatrixOperands> {
    let operands = name(precision.on(adapter));
    adapter.tile_of(operands).map(|_| operands)
}

fn name(precision: Precision) -> MatrixOperands {
    match precision {
        Precision::Mixed => MatrixOperands::F16,
        Precision::F32 | Precision::Auto => MatrixOperands::F32,
    }
}

/// Multiplies on the units and without, and compares. That a driver refuses the kernels is a verdict; that there is no
/// memory for them now, or that the device is lost meanwhile, is not.
async fn test(
    adapter: &Capabilities,
    operands: MatrixOperands,
    units: &GpuOptions,
) -> wgrad::Result<Verdict> {
    let sizes = Sizes { replays: REPLAYS, ..Sizes::of(AdapterKind::Gpu) };
    let plain = Gpu::open(&GpuOptions { matrix_units: None, ..units.clone() }).await?;
    let tested = async { stress_units(&Gpu::open(units).await?, &plain, sizes).await };
    let said = match tested.await {
        Ok(all) => all.iter().find(|one| !one.passed()).map(failure).unwrap_or_default(),
        Err(
            error @ (wgrad::Error::Shader { .. } | wgrad::Error::Gpu { .. } | wgrad::Error::WorkLost { .. }),
        ) => error.to_string(),
        Err(error) => return Err(error),
    };
    Ok(Verdict { subject: Subject::of(adapter), operands, passed: said.is_empty(), said })
}

/// What was wrong with one work.
pub fn failure(stressed: &Stressed) -> String {
    match stressed.error {
        Some(error) if stressed.different == 0 => format!("{}: an error of {error:.1e}", stressed.work),
        _ => format!("{}: {} of {} replays differ", stressed.work, stressed.different, stressed.replays),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An adapter that no machine here has.
    fn apple() -> Capabilities {
        Capabilities {
            name: "Apple M1".into(),
            f16: true,
            cooperative_matrices: vec!["8x8x8 f16->f32".into(), "8x8x8 f32->f32".into()],
            matrix_subgroup: Some(32),
            max_workgroup_memory: 32 << 10,
            ..Capabilities::default()
        }
    }

    #[test]
    fn units_take_what_is_stored() {
        let (f16, f32) = (Some(MatrixOperands::F16), Some(MatrixOperands::F32));
        let chosen = |adapter: &Capabilities| {
            [Precision::F32, Precision::Mixed, Precision::Auto].map(|precision| operands(precision, adapter))
        };
        assert_eq!(chosen(&apple()), [f32, f16, f16]);
        assert_eq!(chosen(&Capabilities { f16: false, ..apple() }), [f32, f32, f32]);
        let f16_alone = vec!["16x16x16 f16->f32".into()];
        assert_eq!(chosen(&Capabilities { cooperative_matrices: f16_alone, ..apple() }), [None, f16, f16]);
        assert_eq!(chosen(&Capabilities { kind: AdapterKind::Cpu, ..apple() }), [None, None, None]);
    }

    #[test]
    fn a_verdict_is_of_one_adapter_driver_version_and_type() {
        let verdict = Verdict {
            subject: Subject::of(&apple()),
            operands: MatrixOperands::F16,
            passed: true,
            said: String::new(),
        };
        // As it was written before there were other findings.
        let json = serde_json::to_value(&verdict).unwrap();
        assert_eq!((&json["adapter"], &json["driver"]), (&"Apple M1".into(), &"".into()));
        assert_eq!(serde_json::from_value::<Verdict>(json).unwrap(), verdict);
        assert!(verdict.is_of(&apple(), MatrixOperands::F16));
        assert!(!verdict.is_of(&apple(), MatrixOperands::F32));
        assert!(!verdict.is_of(&Capabilities { driver: "2".into(), ..apple() }, MatrixOperands::F16));
        let subject = Subject { wgrad: "0.0.1".into(), ..Subject::of(&apple()) };
        let older = Verdict { subject, ..verdict };
        assert!(!older.is_of(&apple(), MatrixOperands::F16));
    }

    #[test]
    fn failures_say_what_differs() {
        let mut stressed = Stressed {
            work: "product nt".into(),
            storage: wgrad::tensor::DType::F16,
            matrix_units: true,
            replays: 10,
            different: 3,
            error: Some(0.5),
        };
        assert!(!stressed.passed());
        assert_eq!(failure(&stressed), "product nt: 3 of 10 replays differ");
        stressed.different = 0;
        assert!(!stressed.passed());
        assert_eq!(failure(&stressed), "product nt: an error of 5.0e-1");
        stressed.error = Some(f64::NAN);
        assert!(!stressed.passed());
        stressed.error = Some(1e-9);
        assert!(stressed.passed());
        // Of f32 more is expected.
        stressed.storage = wgrad::tensor::DType::F32;
        assert!(!stressed.passed());
    }
}

//! Matrix units as an option that several commands share: used where a device has shown that it computes right on them.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use wgrad::gpu::{AdapterKind, Capabilities, Gpu, GpuOptions, MatrixOperands, spirv};
use wgrad::ops::matmul;
use wgrad::store::{Disk, Store, format_of, refuse_newer, write_json};
use wgrad::train::Precision;
use wgrad::train::stress::{Sizes, Stressed, stress_units};

use super::{folders, print};

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
    adapter: String,
    driver: String,
    operands: MatrixOperands,
    /// The version of the program, and of its kernels.
    wgrad: String,
    passed: bool,
    /// What was wrong.
    said: String,
}

/// The program's version, that of the compiler of its shaders, and a checksum of the shaders that multiply on the units
/// and of what is done to them.
fn version() -> String {
    let shaders = matmul::KERNELS.iter().map(|kernel| kernel.source.text);
    let sources = shaders.chain([spirv::SOURCE]).collect::<String>();
    let checksum = crc32fast::hash(sources.as_bytes());
    format!(
        "{}, naga {}, {checksum:08x}",
        env!("CARGO_PKG_VERSION"),
        locked("naga").unwrap_or("of unknown version")
    )
}

/// The version of a package that this program was built with.
fn locked(package: &str) -> Option<&'static str> {
    let (_, entry) =
        include_str!("../../Cargo.lock").split_once(&format!("name = \"{package}\"\nversion = \""))?;
    entry.split('"').next()
}

impl Verdict {
    fn is_of(&self, adapter: &Capabilities, operands: MatrixOperands) -> bool {
        (self.adapter.as_str(), self.driver.as_str(), self.operands, self.wgrad.as_str())
            == (&adapter.name, &adapter.driver, operands, version().as_str())
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
    let verdict = match known(&adapter, operands) {
        Some(verdict) => verdict,
        None => {
            // What memory the command may take does not limit a test before it.
            let test = test(&adapter, operands, &GpuOptions { memory: None, ..on_units.clone() }).await;
            match test {
                Ok(verdict) => {
                    // Metal names no driver, so nothing would tell when another one takes its place.
                    if !adapter.driver.is_empty() {
                        keep(&verdict);
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
        Err(error @ (wgrad::Error::Shader { .. } | wgrad::Error::Gpu { .. })) => error.to_string(),
        Err(error) => return Err(error),
    };
    Ok(Verdict {
        adapter: adapter.name.clone(),
        driver: adapter.driver.clone(),
        operands,
        wgrad: version(),
        passed: said.is_empty(),
        said,
    })
}

/// What was wrong with one work.
pub fn failure(stressed: &Stressed) -> String {
    match stressed.error {
        Some(error) if stressed.different == 0 => format!("{}: an error of {error:.1e}", stressed.work),
        _ => format!("{}: {} of {} replays differ", stressed.work, stressed.different, stressed.replays),
    }
}

/// Where verdicts are kept; nowhere on a machine without a folder for that.
fn file() -> Option<PathBuf> {
    Some(folders::caches()?.join("wgrad").join("matrix-units.json"))
}

/// What is kept. The first format was the list alone.
#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    verdicts: Vec<Verdict>,
}

/// The format of [`Kept`] that is written.
const FORMAT: u32 = 2;

/// A file that cannot be read holds nothing.
fn all(file: &Path) -> wgrad::Result<Vec<Verdict>> {
    let json = std::fs::read(file).unwrap_or_default();
    refuse_newer(file, "tests of matrix units", format_of(&json, "format"), FORMAT)?;
    let kept: serde_json::Result<Kept> = serde_json::from_slice(&json);
    Ok(kept.map_or_else(|_| serde_json::from_slice(&json).unwrap_or_default(), |kept| kept.verdicts))
}

fn known(adapter: &Capabilities, operands: MatrixOperands) -> Option<Verdict> {
    let verdicts = all(&file()?).unwrap_or_default();
    verdicts.into_iter().find(|verdict| verdict.is_of(adapter, operands))
}

/// Keeps the newest verdict of each adapter and type. What cannot be kept is found again.
fn keep(verdict: &Verdict) {
    let Some(file) = file() else { return };
    let kept = || -> wgrad::Result<()> {
        let mut verdicts = all(&file)?;
        verdicts.retain(|other| (&other.adapter, other.operands) != (&verdict.adapter, verdict.operands));
        verdicts.push(verdict.clone());
        Disk.create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
        write_json(&Disk, &file, &Kept { format: FORMAT, verdicts })
    };
    if let Err(error) = kept() {
        print::note(format_args!("note: the test of matrix units was not kept: {error}"));
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
    fn a_verdict_names_the_compiler_of_its_shaders() {
        assert!(locked("naga").is_some_and(|version| version.split('.').count() == 3));
        assert_eq!(locked("no such package"), None);
        assert!(version().contains(", naga "));
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
            adapter: "Apple M1".into(),
            driver: String::new(),
            operands: MatrixOperands::F16,
            wgrad: version(),
            passed: true,
            said: String::new(),
        };
        assert!(verdict.is_of(&apple(), MatrixOperands::F16));
        assert!(!verdict.is_of(&apple(), MatrixOperands::F32));
        assert!(!verdict.is_of(&Capabilities { driver: "2".into(), ..apple() }, MatrixOperands::F16));
        let older = Verdict { wgrad: "0.0.1".into(), ..verdict };
        assert!(!older.is_of(&apple(), MatrixOperands::F16));
    }

    #[test]
    fn what_is_kept_is_read_in_all_its_formats() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("matrix-units.json");
        let read = |json: &str| {
            std::fs::write(&path, json).unwrap();
            all(&path).map(|verdicts| verdicts.len()).map_err(|error| error.to_string())
        };
        let verdict = r#"{"adapter":"A","driver":"","operands":"f16","wgrad":"0","passed":true,"said":""}"#;
        assert_eq!(read(&format!("[{verdict}]")), Ok(1));
        assert_eq!(read(&format!(r#"{{"format":2,"verdicts":[{verdict}]}}"#)), Ok(1));
        assert_eq!(read("{"), Ok(0));
        let refused = read(r#"{"format":3,"verdicts":{}}"#).unwrap_err();
        assert!(refused.contains("made by a newer wgrad: tests of matrix units of format 3"), "{refused}");
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

//! Matrix units as an option that several commands share: used where a device has shown that it computes right on them.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use wgrad::gpu::{AdapterKind, Capabilities, Gpu, GpuOptions};
use wgrad::ops::matmul;
use wgrad::train::Precision;
use wgrad::train::stress::{Sizes, Stressed, stress_units};

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
    adapter: String,
    driver: String,
    /// The version of the program, and of its kernels.
    wgrad: String,
    passed: bool,
    /// What was wrong.
    said: String,
}

/// The program's version, and a checksum of the shaders that multiply on the units.
fn version() -> String {
    let sources = matmul::KERNELS.iter().map(|kernel| kernel.source.text).collect::<String>();
    format!("{} {:08x}", env!("CARGO_PKG_VERSION"), crc32fast::hash(sources.as_bytes()))
}

impl Verdict {
    fn is_of(&self, adapter: &Capabilities) -> bool {
        (self.adapter.as_str(), self.driver.as_str(), self.wgrad.as_str())
            == (&adapter.name, &adapter.driver, version().as_str())
    }
}

/// `options` with the units on or off, for a command that stores activations in `precision`; says so where that is not
/// what was asked for, or where a device failed.
pub async fn decide(asked: Choice, precision: Precision, options: &GpuOptions) -> anyhow::Result<GpuOptions> {
    let with = |matrix_units| GpuOptions { matrix_units, ..options.clone() };
    if asked == Choice::Off {
        return Ok(with(false));
    }
    let adapter = Gpu::chosen(&with(true)).await?;
    let wanting = if adapter.matrix_tile.is_none() {
        Some(format!("{} lists no matrix units that there are kernels for", adapter.name))
    } else if precision.on(&adapter) != Precision::Mixed {
        Some("matrix units take f16, and f32 is used".into())
    } else {
        None
    };
    if let Some(why) = wanting {
        if asked == Choice::On {
            print::note(format_args!("warning: {why}: matrix units are not used"));
        }
        return Ok(with(false));
    }
    if asked == Choice::On {
        return Ok(with(true));
    }
    let verdict = match known(&adapter) {
        Some(verdict) => verdict,
        None => {
            // What memory the command may take does not limit a test before it.
            let test = test(&adapter, &GpuOptions { memory: None, ..with(true) }).await;
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
                        "warning: the matrix units of {} could not be tested ({error}); plain kernels are used",
                        adapter.name
                    ));
                    return Ok(with(false));
                }
            }
        }
    };
    if !verdict.passed {
        print::note(format_args!(
            "warning: the matrix units of {} compute wrongly ({}); plain kernels are used",
            adapter.name, verdict.said
        ));
    }
    Ok(with(verdict.passed))
}

/// Multiplies on the units and without, and compares. That a driver refuses the kernels is a verdict; that there is no
/// memory for them now, or that the device is lost meanwhile, is not.
async fn test(adapter: &Capabilities, units: &GpuOptions) -> wgrad::Result<Verdict> {
    let sizes = Sizes { replays: REPLAYS, ..Sizes::of(AdapterKind::Plain) };
    let plain = Gpu::open(&GpuOptions { matrix_units: false, ..units.clone() }).await?;
    let tested = async { stress_units(&Gpu::open(units).await?, &plain, sizes).await };
    let said = match tested.await {
        Ok(all) => all.iter().find(|one| !one.passed()).map(failure).unwrap_or_default(),
        Err(error @ (wgrad::Error::Shader { .. } | wgrad::Error::Gpu { .. })) => error.to_string(),
        Err(error) => return Err(error),
    };
    Ok(Verdict {
        adapter: adapter.name.clone(),
        driver: adapter.driver.clone(),
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
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = folder("XDG_CACHE_HOME")
        .or_else(|| folder("LOCALAPPDATA"))
        .or_else(|| folder("HOME").map(|home| home.join(".cache")));
    Some(caches?.join("wgrad").join("matrix-units.json"))
}

/// A file that cannot be read holds nothing.
fn all() -> Vec<Verdict> {
    let text = file().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn known(adapter: &Capabilities) -> Option<Verdict> {
    all().into_iter().find(|verdict| verdict.is_of(adapter))
}

/// Keeps the newest verdict of each adapter. What cannot be kept is found again.
fn keep(verdict: &Verdict) {
    let Some(file) = file() else { return };
    let mut verdicts = all();
    verdicts.retain(|other| other.adapter != verdict.adapter);
    verdicts.push(verdict.clone());
    let Ok(text) = serde_json::to_string_pretty(&verdicts) else { return };
    let written = file.parent().map(std::fs::create_dir_all).transpose().and_then(|_| {
        // Beside it first, so that another command never reads half of it.
        let draft = file.with_extension(format!("{}.tmp", std::process::id()));
        std::fs::write(&draft, text)?;
        std::fs::rename(&draft, &file)
    });
    if let Err(error) = written {
        print::note(format_args!(
            "note: cannot keep the test of matrix units in {}: {error}",
            file.display()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}

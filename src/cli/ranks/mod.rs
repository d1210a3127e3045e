//! Training on several ranks: who started this process as one of many, and what it does then.

#[cfg(feature = "mpi")]
mod mpi;
mod profile;

use anyhow::bail;
use wgrad::train::WireFormat;
use wgrad::train::ranks::Team;

pub use profile::Profiled;

use super::precision::ComputeArgs;
#[cfg(feature = "mpi")]
use super::{device, interrupt, kept};
use super::{launcher, print};

/// Says where a format that was asked for changes nothing.
pub fn tell_wire(wire: WireFormat, blocks: usize) {
    if wire != WireFormat::F32 && blocks == 1 {
        print::note(format_args!(
            "note: --wire {wire} changes nothing: a step of one block is computed by one process, and no gradients travel"
        ));
    }
}

/// Joins the processes that a launcher has started together with this one. Rank 0 gets the team; all others work for it, and
/// get none when there is nothing more to do.
#[cfg(not(feature = "mpi"))]
pub fn join(_: &ComputeArgs, _: Option<u64>) -> anyhow::Result<Option<Team>> {
    if let Some(found) = launcher::several() {
        let (size, variable) = (found.size, found.size_variable);
        bail!(
            "expected a wgrad built with `cargo install --features mpi` to train as one of {size} processes ({variable}), found one \
             without: each of them would train by itself in the same folder (unset {variable} where this process is alone)"
        );
    }
    Ok(Some(Team::alone()))
}

/// Joins the processes that a launcher has started together with this one. Rank 0 gets the team; all others work for it, with
/// devices opened as the command says, and get none when there is nothing more to do.
#[cfg(feature = "mpi")]
pub fn join(compute: &ComputeArgs, memory: Option<u64>) -> anyhow::Result<Option<Team>> {
    use wgrad::gpu::{GpuOptions, MatrixOperands};
    use wgrad::train::ranks::{Hello, Link, TrainerPlan, work};

    let told = launcher::told().map(|found| usize::try_from(found.size).unwrap_or(usize::MAX));
    // Some launchers tell no number of processes in a way of their own.
    if told.map_or(std::env::var_os("PMIX_RANK").is_none(), |size| size < 2) {
        return Ok(Some(Team::alone()));
    }
    let mut link = mpi::Mpi::start(|rank, silent| {
        print::note(format_args!(
            "error: rank {rank}: nothing was heard of it for {} s: all ranks end; --resume goes on from the last checkpoint",
            silent.as_secs()
        ));
    })?;
    if let Some(size) = told.filter(|size| *size != link.size()) {
        bail!(
            "expected to be one of {size} processes, as the launcher says, found {}: it belongs to another MPI than the one that \
             this wgrad was built with",
            link.size()
        );
    }
    if link.size() == 1 {
        link.close();
        return Ok(Some(Team::alone()));
    }
    let share = match std::env::var("WGRAD_SHARE") {
        Ok(text) => match text.parse() {
            Ok(share @ 1..=1000) => share,
            _ => bail!("WGRAD_SHARE: expected a whole number from 1 to 1000, found `{text}`"),
        },
        Err(_) => 1,
    };
    let hello = Hello { program: program(), share };
    if link.rank() == 0 {
        return Ok(Some(Team::gather(link, &hello)?));
    }
    // Rank 0 ends the step, saves, and tells the others to end.
    interrupt::leave_to_rank_0()?;
    let open = |plan: &TrainerPlan, units: Option<MatrixOperands>| {
        let options = GpuOptions { memory, ..device::options(compute.adapter.as_deref()) };
        let choices = plan.kernels.clone();
        pollster::block_on(device::open(&GpuOptions { choices, matrix_units: units, ..options }))
    };
    let Err(error) = work(&mut link, &hello, open) else {
        link.close();
        return Ok(None);
    };
    // The others may not end, which then ends this process as well.
    let code = print::error(&error.into());
    link.close();
    std::process::exit(code.into());
}

/// This program with all of its kernels, which ranks compare: another text of one gives other bits.
#[cfg(feature = "mpi")]
fn program() -> String {
    let operations = wgrad::ops::all().into_iter().flat_map(|operation| operation.kernels);
    let rules = wgrad::optim::kernels().into_iter().flat_map(|(_, kernels)| kernels);
    let texts: String = operations.chain(rules).map(|kernel| kernel.source.text).collect();
    format!("{}, kernels {:08x}", kept::version(), crc32fast::hash(texts.as_bytes()))
}

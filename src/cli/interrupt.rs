//! What Ctrl-C does while a command trains.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use super::print;

/// What a shell expects of a program that Ctrl-C ended.
pub const INTERRUPTED: i32 = 130;

/// When most commands stop.
pub const THIS_STEP: &str = "after this step";

/// Becomes true at the first Ctrl-C; the second one ends the program at once. `when` is said of how long the first one takes.
///
/// # Errors
/// When the system refuses to tell of Ctrl-C.
pub fn watch(when: &'static str) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            quit();
        }
        print::note(format_args!("stopping {when}; Ctrl-C again quits at once"));
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(stop)
}

/// Leaves it to rank 0 to end all others: launchers tell every process of Ctrl-C. The second time, or where rank 0 is no more, this
/// one ends by itself.
///
/// # Errors
/// As [`watch`].
#[cfg(feature = "mpi")]
pub fn leave_to_rank_0() -> anyhow::Result<()> {
    let asked = AtomicBool::new(false);
    let leave = move || {
        if asked.swap(true, Ordering::Relaxed) {
            quit();
        }
    };
    ctrlc::set_handler(leave).context("cannot watch for Ctrl-C")
}

/// Ends the program without what libraries registered to run at its end: a driver that other threads still use may crash
/// there, as NVIDIA's does, and the shell would see a signal instead of the exit code.
#[cfg(unix)]
fn quit() -> ! {
    // SAFETY: it never returns, and nothing of this process runs after it.
    unsafe { libc::_exit(INTERRUPTED) }
}

#[cfg(not(unix))]
fn quit() -> ! {
    std::process::exit(INTERRUPTED)
}

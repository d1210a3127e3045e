//! The command-line program.

#![allow(unreachable_pub, reason = "nothing uses a program as a library")]

mod cli;

use std::process::ExitCode;

use clap::Parser;
use wgrad::Error;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let Err(error) = cli::run(cli) else { return ExitCode::SUCCESS };
    // Whoever reads our output may stop early: `wgrad … | head`.
    let cause = match error.downcast_ref() {
        Some(Error::Io { cause, .. }) => Some(cause),
        _ => error.downcast_ref::<std::io::Error>(),
    };
    if cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    cli::error(&error);
    match error.downcast_ref::<Error>() {
        Some(Error::NoAdapter { .. }) => ExitCode::from(3),
        Some(Error::Diverged { .. }) => ExitCode::from(4),
        _ => ExitCode::from(1),
    }
}

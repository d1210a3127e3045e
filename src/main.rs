//! The command-line program.

#![allow(unreachable_pub, reason = "nothing uses a program as a library")]

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let Err(error) = cli::run(cli) else { return ExitCode::SUCCESS };
    ExitCode::from(cli::error(&error))
}

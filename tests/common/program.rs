//! The program, as a person runs it.

use std::process::Output;

use assert_cmd::Command;

/// `wgrad` with arguments, ready to run.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("wgrad").unwrap();
    command.args(arguments).env_remove("RUST_BACKTRACE");
    // Without a runtime directory, Vulkan's software drivers complain on standard error.
    command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    command
}

/// Runs it on what stands on standard input.
pub fn run(arguments: &[&str], input: impl Into<Vec<u8>>) -> Output {
    command(arguments).write_stdin(input).output().unwrap()
}

/// What it said on standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What it wrote, which it did with success.
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line on standard error of a command that fails with `code` and writes nothing.
pub fn error(output: &Output, code: i32) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.starts_with("error: ") && text.trim_end().lines().count() == 1, "{text}");
    assert!(output.stdout.is_empty());
    text
}

//! The program, as a person runs it.

use std::collections::HashSet;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

/// `wgrad` with arguments, ready to run.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("wgrad").unwrap();
    command.args(arguments).env_remove("RUST_BACKTRACE");
    // Without a runtime directory, Vulkan's software drivers complain on standard error.
    command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    // What was measured or fetched for the user of this machine must not decide what a test sees; what drivers have
    // compiled may serve it.
    if let Some(home) =
        std::env::var_os("HOME").filter(|_| std::env::var_os("MESA_SHADER_CACHE_DIR").is_none())
    {
        command.env("MESA_SHADER_CACHE_DIR", std::path::Path::new(&home).join(".cache"));
    }
    command.env("XDG_CACHE_HOME", std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
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

/// Objects whose keys are a user's or a task's words, not the program's.
const WORDS: [&str; 3] = ["probabilities", "scores", "stored"];

/// The JSON that `command` wrote with success, the first value of several: see [`told`].
pub fn json(command: &[&str], output: &Output) -> Value {
    told(command, &stdout(output))
}

/// The first value of `text`, which `command` wrote. Every key of it and of those after it stands in the command's help.
pub fn told(command: &[&str], text: &str) -> Value {
    let values: Vec<Value> =
        serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().unwrap();
    let help = stdout(&run(&[command, &["--help"]].concat(), ""));
    let said: HashSet<&str> = help.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    let mut silent = Vec::new();
    values.iter().for_each(|value| unsaid(value, &said, &mut silent));
    silent.sort();
    silent.dedup();
    assert!(silent.is_empty(), "`wgrad {} --help` does not say: {silent:?}", command.join(" "));
    values.into_iter().next().unwrap()
}

/// The keys of a value that are not `said`.
fn unsaid(value: &Value, said: &HashSet<&str>, found: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| unsaid(value, said, found)),
        Value::Object(keys) => {
            for (key, value) in keys {
                found.extend(Some(key).filter(|key| !said.contains(key.as_str())).cloned());
                if !WORDS.contains(&key.as_str()) {
                    unsaid(value, said, found);
                }
            }
        }
        _ => {}
    }
}

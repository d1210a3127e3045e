//! `wgrad info` says whether a folder loads, by the checks of whoever loads it, and waits for nothing.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::hugging_face::golden_folder;
use common::program::{command, error, run, stderr};

/// Something done to the bytes of a file.
type Edit = fn(&mut Vec<u8>);

/// A model's folder in `dir`.
fn model(dir: &Path) -> String {
    let from = golden_folder().with_file_name("families").join("distilbert_classes");
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(from.join(name), dir.join(name)).unwrap();
    }
    dir.to_str().unwrap().to_owned()
}

#[test]
fn fault_60_what_does_not_load_is_not_described() {
    let dir = tempfile::tempdir().unwrap();
    let path = model(dir.path());
    assert!(run(&["info", &path], "").status.success());
    // The last weight becomes NaN, the last byte is missing, a token comes twice, a size contradicts the tensors.
    let edits: [(&str, Edit, &str); 4] = [
        (
            "model.safetensors",
            |bytes| bytes.splice(bytes.len() - 4.., [0, 0, 0xc0, 0x7f]).for_each(drop),
            "NaN",
        ),
        ("model.safetensors", |bytes| _ = bytes.pop(), "model.safetensors"),
        (
            "tokenizer.json",
            |bytes| replace(bytes, "\"vocab\":", "\"vocab\": {}, \"vocab\":"),
            "`vocab` twice",
        ),
        ("config.json", |bytes| replace(bytes, "\"hidden_dim\": 40", "\"hidden_dim\": 44"), "config.json"),
    ];
    for (name, edit, expected) in edits {
        let sound = fs::read(dir.path().join(name)).unwrap();
        let mut bytes = sound.clone();
        edit(&mut bytes);
        assert_ne!(bytes, sound, "{name}");
        fs::write(dir.path().join(name), &bytes).unwrap();
        let told = error(&run(&["info", &path], ""), 1);
        assert!(told.contains(expected), "{told}");
        fs::write(dir.path().join(name), sound).unwrap();
    }
    assert!(run(&["info", &path], "").status.success());
}

fn replace(bytes: &mut Vec<u8>, from: &str, to: &str) {
    *bytes = String::from_utf8(std::mem::take(bytes)).unwrap().replacen(from, to, 1).into_bytes();
}

#[cfg(unix)]
#[test]
fn fault_70_a_pipe_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let folder = model(dir.path());
    let pipe = dir.path().join("config.json");
    fs::remove_file(&pipe).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.to_str().unwrap(), &folder, "/dev/zero"] {
        let mut command = command(&["info", path]);
        let output = command.timeout(std::time::Duration::from_secs(60)).output().unwrap();
        assert!(error(&output, 1).contains("a pipe or device"), "{}", stderr(&output));
    }
}

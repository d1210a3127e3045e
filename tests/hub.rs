//! Models by name, from a hub on this machine.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

use common::hugging_face::{golden_folder, sharded};
use common::program::{command, stderr, stdout};
use serde_json::{Value, json};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NAME: &str = "some-org/small-bert";

/// How the hub behaves.
#[derive(Default)]
struct Manner {
    /// Who is let in.
    token: Option<String>,
    /// After how many bytes of a file's answer the line breaks, once for each entry.
    breaks: Vec<usize>,
    /// Whether parts of files are given.
    no_ranges: bool,
    /// Bytes said to be in the weights beyond those there are.
    exaggerate: u64,
    /// Where `resolve` sends the reader for weights, before it gives them there.
    redirect: bool,
    /// Every request: path, range, whether there was a token.
    requests: Vec<(String, Option<String>, bool)>,
}

struct HubServer {
    address: String,
    manner: Arc<Mutex<Manner>>,
}

impl HubServer {
    fn start(folder: &Path, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let files = files(folder, "");
        let manner = Arc::new(Mutex::new(manner));
        let shared = manner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A reader that hangs up is its own affair.
                let _ = answer(stream, &files, &shared);
            }
        });
        HubServer { address, manner }
    }

    fn requests(&self) -> Vec<(String, Option<String>, bool)> {
        self.manner.lock().unwrap().requests.clone()
    }
}

fn files(folder: &Path, prefix: &str) -> HashMap<String, Vec<u8>> {
    let mut found = HashMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            found.extend(files(&entry.path(), &format!("{name}/")));
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// Forty digits that differ between names.
fn hash(name: &str) -> String {
    let sum = name.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    format!("{sum:040x}")
}

fn answer(
    mut stream: TcpStream,
    files: &HashMap<String, Vec<u8>>,
    manner: &Mutex<Manner>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_string();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_string());
    }
    let mut manner = manner.lock().unwrap();
    let range = headers.get("range").cloned();
    let token = headers.get("authorization").cloned();
    manner.requests.push((path.clone(), range.clone(), token.is_some()));
    let mut respond = |status: &str, extra: &str, body: &[u8], sent: usize| -> std::io::Result<()> {
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{extra}\r\n")?;
        stream.write_all(&body[..sent.min(length)])
    };
    let stored = path.strip_prefix("/storage/");
    let allowed = manner.token.as_ref().is_none_or(|needed| token == Some(format!("Bearer {needed}")));
    if !allowed && stored.is_none() {
        return respond("401 Unauthorized", "", b"{\"error\":\"Invalid credentials\"}", usize::MAX);
    }
    let listed = |revision: &str| path.starts_with(&format!("/api/models/{NAME}/revision/{revision}"));
    if listed("main") || listed(COMMIT) {
        let sibling = |(name, bytes): (&String, &Vec<u8>)| {
            let large = name.ends_with(".safetensors");
            let size = bytes.len() as u64 + if large { manner.exaggerate } else { 0 };
            let lfs = json!({"sha256": hash(name), "size": size, "pointerSize": 1});
            json!({"rfilename": name, "size": size, "blobId": hash(name), "lfs": if large { lfs } else { Value::Null }})
        };
        let mut siblings: Vec<Value> = files.iter().map(sibling).collect();
        siblings.push(json!({"rfilename": "onnx/model.onnx", "size": 9, "blobId": hash("o")}));
        siblings.push(json!({"rfilename": "../../evil.safetensors", "size": 9, "blobId": hash("e")}));
        let body = json!({"sha": COMMIT, "siblings": siblings}).to_string();
        return respond("200 OK", "", body.as_bytes(), usize::MAX);
    }
    let name = stored.or_else(|| path.strip_prefix(&format!("/{NAME}/resolve/{COMMIT}/")));
    let Some((name, bytes)) = name.and_then(|name| Some((name, files.get(name)?))) else {
        return respond("404 Not Found", "", b"<html>not here</html>", usize::MAX);
    };
    if manner.redirect && stored.is_none() && name.ends_with(".safetensors") {
        // The same machine by another name is another host.
        let port = stream.local_addr()?.port();
        let location = format!("Location: http://localhost:{port}/storage/{name}\r\n");
        let mut respond = |status: &str, extra: &str| -> std::io::Result<()> {
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n{extra}\r\n")
        };
        return respond("302 Found", &location);
    }
    let sent = match name.ends_with(".safetensors") && !manner.breaks.is_empty() {
        true => manner.breaks.remove(0),
        false => usize::MAX,
    };
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from.filter(|_| !manner.no_ranges) {
        None => respond("200 OK", "", bytes, sent),
        Some(from) if from >= bytes.len() => respond("416 Range Not Satisfiable", "", b"", 0),
        Some(from) => {
            let part = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            respond("206 Partial Content", &part, &bytes[from..], sent)
        }
    }
}

/// `wgrad info --model NAME --json` with a cache.
fn info(cache: &Path, hub: &str, token: Option<&str>) -> Output {
    let mut command = command(&["info", "--model", NAME, "--json"]);
    for name in [
        "HF_HUB_CACHE",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE",
        "http_proxy",
        "HTTP_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
    }
    command.current_dir(cache);
    command.env("HF_HOME", cache).env("HF_ENDPOINT", hub).env("NO_PROXY", "*");
    token.map(|token| command.env("HF_TOKEN", token));
    command.output().unwrap()
}

fn described(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

fn model(cache: &Path) -> PathBuf {
    cache.join("hub/models--some-org--small-bert")
}

fn sentence_folder() -> PathBuf {
    golden_folder().with_file_name("sentence_transformers")
}

/// Whether the cache holds the folder's files, whole.
fn is_cached(cache: &Path, folder: &Path) {
    let snapshot = model(cache).join("snapshots").join(COMMIT);
    assert_eq!(files(&snapshot, ""), files(folder, ""));
    assert_eq!(fs::read_to_string(model(cache).join("refs/main")).unwrap(), COMMIT);
    let blobs = fs::read_dir(model(cache).join("blobs")).unwrap();
    assert!(blobs.flatten().all(|blob| !blob.path().to_str().unwrap().ends_with(".incomplete")));
}

#[test]
fn a_model_is_downloaded_once() {
    let cache = tempfile::tempdir().unwrap();
    let hub = HubServer::start(&sentence_folder(), Manner::default());
    let output = info(cache.path(), &hub.address, None);
    let answer = described(&output);
    assert_eq!((&answer["width"], &answer["embedding"]["max_tokens"]), (&json!(40), &json!(32)));
    assert!(stderr(&output).starts_with("downloading some-org/small-bert (9 files, 0.2 MB) into "));
    is_cached(cache.path(), &sentence_folder());
    let asked = hub.requests();
    assert!(asked.last().unwrap().0.ends_with("/model.safetensors"));
    assert!(!asked.iter().any(|(path, ..)| path.contains("onnx") || path.contains("evil")));
    assert_eq!(asked.len(), 10);

    // Now the hub is not needed.
    let again = info(cache.path(), "http://127.0.0.1:9", None);
    assert_eq!(described(&again), answer);
    assert!(again.stderr.is_empty() && hub.requests().len() == 10);
    // A half-finished snapshot is completed, with what is there already.
    fs::remove_file(model(cache.path()).join("snapshots").join(COMMIT).join("model.safetensors")).unwrap();
    assert_eq!(described(&info(cache.path(), &hub.address, None)), answer);
    is_cached(cache.path(), &sentence_folder());
    if cfg!(unix) {
        assert_eq!(hub.requests().len(), 11);
    }
}

/// Another program may have fetched only what it needed itself: what says how vectors are made comes later.
#[test]
fn a_half_filled_cache_is_filled() {
    let cache = tempfile::tempdir().unwrap();
    let hub = HubServer::start(&sentence_folder(), Manner::default());
    let answer = described(&info(cache.path(), &hub.address, None));
    let snapshot = model(cache.path()).join("snapshots").join(COMMIT);
    fs::remove_dir_all(model(cache.path()).join(".no_exist")).unwrap();
    for file in ["modules.json", "1_Pooling/config.json", "tokenizer_config.json"] {
        fs::remove_file(snapshot.join(file)).unwrap();
    }
    // Without the hub it is said what may lack.
    let alone = info(cache.path(), "http://127.0.0.1:9", None);
    assert_eq!(described(&alone)["embedding"]["described"], json!(false));
    assert!(stderr(&alone).starts_with("note: the cache may lack tokenizer_config.json, special_tokens_map.json, modules.json of some-org/small-bert, which were not fetched: "), "{}", stderr(&alone));
    let filled = info(cache.path(), &hub.address, None);
    assert_eq!(described(&filled), answer);
    assert!(
        stderr(&filled).contains("downloading modules.json of some-org/small-bert, which the cache lacks")
    );
    assert!(stderr(&filled).contains("downloading 1_Pooling/config.json"));
    is_cached(cache.path(), &sentence_folder());
    // What the hub does not have is asked for once.
    let before = hub.requests().len();
    assert!(info(cache.path(), &hub.address, None).stderr.is_empty() && hub.requests().len() == before);
}

#[test]
fn weights_in_several_files_are_downloaded() {
    let cache = tempfile::tempdir().unwrap();
    let folder = sharded(3);
    // Where a model has it, it comes along.
    fs::write(folder.path().join("reference_vectors.json"), "{}").unwrap();
    let hub = HubServer::start(folder.path(), Manner::default());
    assert_eq!(described(&info(cache.path(), &hub.address, None))["parameters"], 37013);
    is_cached(cache.path(), folder.path());
}

#[test]
fn a_broken_line_is_taken_up_where_it_broke() {
    for no_ranges in [false, true] {
        let cache = tempfile::tempdir().unwrap();
        let manner = Manner { breaks: vec![70_000, 1000, 0], no_ranges, ..Manner::default() };
        let hub = HubServer::start(&sentence_folder(), manner);
        described(&info(cache.path(), &hub.address, None));
        is_cached(cache.path(), &sentence_folder());
        let asked = hub.requests();
        let ranges: Vec<_> =
            asked.iter().filter(|r| r.0.ends_with("model.safetensors")).map(|r| r.1.clone()).collect();
        assert_eq!(ranges.len(), 4, "{ranges:?}");
        assert_eq!(ranges[1], Some("bytes=70000-".to_string()));
        if !no_ranges {
            assert_eq!(ranges[2], Some("bytes=71000-".to_string()));
        }
    }
    // So is a download of which the process ended.
    let cache = tempfile::tempdir().unwrap();
    let blobs = model(cache.path()).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let weights = fs::read(sentence_folder().join("model.safetensors")).unwrap();
    let partial = blobs.join(format!("{}.incomplete", hash("model.safetensors")));
    fs::write(partial, &weights[..100_000]).unwrap();
    let hub = HubServer::start(&sentence_folder(), Manner::default());
    described(&info(cache.path(), &hub.address, None));
    is_cached(cache.path(), &sentence_folder());
    assert_eq!(hub.requests().last().unwrap().1, Some("bytes=100000-".to_string()));
}

#[test]
fn a_wrong_size_is_no_model() {
    let cache = tempfile::tempdir().unwrap();
    let manner = Manner { exaggerate: 10, ..Manner::default() };
    let hub = HubServer::start(&sentence_folder(), manner);
    let output = info(cache.path(), &hub.address, None);
    assert!(!output.status.success() && output.stdout.is_empty());
    let (real, said) =
        (fs::metadata(sentence_folder().join("model.safetensors")).unwrap().len(), stderr(&output));
    let expected = format!("model.safetensors: expected {} bytes, found {real}", real + 10);
    assert!(said.contains(&expected), "{said}");
    let snapshot = model(cache.path()).join("snapshots").join(COMMIT);
    assert!(!snapshot.join("model.safetensors").exists() && !model(cache.path()).join("refs").exists());
}

#[test]
fn tokens_go_to_the_hub_alone() {
    let cache = tempfile::tempdir().unwrap();
    let manner = || Manner { token: Some("hf_secret".into()), redirect: true, ..Manner::default() };
    let hub = HubServer::start(&sentence_folder(), manner());
    for (token, says) in [(None, "set HF_TOKEN"), (Some("wrong"), "the token may not read this model")] {
        let output = info(cache.path(), &hub.address, token);
        assert!(!output.status.success());
        assert!(stderr(&output).contains("401") && stderr(&output).contains(says), "{}", stderr(&output));
        assert!(!stderr(&output).contains("wrong"));
    }
    described(&info(cache.path(), &hub.address, Some("hf_secret")));
    is_cached(cache.path(), &sentence_folder());
    let asked = hub.requests();
    let stored: Vec<_> = asked.iter().filter(|(path, ..)| path.starts_with("/storage/")).collect();
    assert!(stored.len() == 1 && !stored[0].2, "{stored:?}");
    // The one that `huggingface-cli login` stores.
    let cache = tempfile::tempdir().unwrap();
    fs::write(cache.path().join("token"), "hf_secret\n").unwrap();
    let hub = HubServer::start(&sentence_folder(), manner());
    described(&info(cache.path(), &hub.address, None));
}

#[test]
fn what_is_not_there_is_said() {
    let cache = tempfile::tempdir().unwrap();
    let hub = HubServer::start(&sentence_folder(), Manner::default());
    let run = |name: &str, offline: bool| {
        let mut command = command(&["info", "--model", name]);
        command.env("HF_HOME", cache.path()).env("HF_ENDPOINT", &hub.address);
        command.env_remove("HF_HUB_CACHE").env("NO_PROXY", "*").current_dir(cache.path());
        if offline {
            command.env("HF_HUB_OFFLINE", "1");
        }
        let output = command.output().unwrap();
        assert!(!output.status.success());
        stderr(&output)
    };
    let said = run("some-org/other", false);
    assert!(said.contains("404") && said.contains("no such model"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1);
    assert!(run("some-org/small-bert", true).contains("HF_HUB_OFFLINE is set"));
    assert!(run("./some-org/small-bert", false).contains("found nothing there"));
    let unsafe_only = tempfile::tempdir().unwrap();
    fs::write(unsafe_only.path().join("pytorch_model.bin"), b"PK").unwrap();
    let hub = HubServer::start(unsafe_only.path(), Manner::default());
    let output = info(cache.path(), &hub.address, None);
    assert!(stderr(&output).contains("only a PyTorch pickle"), "{}", stderr(&output));
}

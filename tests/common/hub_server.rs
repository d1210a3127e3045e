//! A hub on this machine, which speaks the protocol of huggingface.co as far as models and data sets are fetched by it.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assert_cmd::Command;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::program::command;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The commit of the branch that the hub converts data sets into.
pub const CONVERTED: &str = "76543210fedcba9876543210fedcba9876543210";
/// The commit of what is proposed as `refs/pr/4`.
pub const PROPOSED: &str = "4444444444444444444444444444444444444444";

/// How the hub behaves.
#[derive(Default)]
pub struct Manner {
    /// Who is let in.
    pub token: Option<String>,
    /// The status for those who are not; 401 unless given.
    pub refuses_with: Option<&'static str>,
    /// After how many bytes of a large file's answer the line breaks, once for each entry.
    pub breaks: Vec<usize>,
    /// After how many bytes of a large file's answer nothing comes any more, once for each entry.
    pub stalls: Vec<usize>,
    /// How many answers of a large file have a wrong byte.
    pub wrong: usize,
    /// Statuses to answer with, and what `Retry-After` says, before anything is given.
    pub busy: Vec<(&'static str, Option<&'static str>)>,
    /// Whether parts of files are given.
    pub no_ranges: bool,
    /// Bytes said to be in large files beyond those there are.
    pub exaggerate: u64,
    /// Where `resolve` sends the reader for large files, before it gives them there: another host or another port.
    pub redirect: Option<Elsewhere>,
    /// The version that the answers about large files say they are of, in the place of the right one.
    pub other_version: Option<String>,
    /// Every request: path, range, whether there was a token.
    pub requests: Vec<(String, Option<String>, bool)>,
}

/// Another place on this machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Elsewhere {
    Host,
    Port,
}

/// A repository: its path on the hub (`some-org/small-bert`, `datasets/nyu/glue`), and its files by commit.
pub type Repositories = HashMap<String, HashMap<String, HashMap<String, Vec<u8>>>>;

pub struct HubServer {
    pub address: String,
    manner: Arc<Mutex<Manner>>,
}

impl HubServer {
    /// A hub with one model.
    pub fn model(name: &str, folder: &Path, manner: Manner) -> Self {
        let commits = HashMap::from([(COMMIT.to_owned(), files(folder, ""))]);
        Self::start(HashMap::from([(name.to_owned(), commits)]), manner)
    }

    pub fn start(repositories: Repositories, manner: Manner) -> Self {
        let manner = Arc::new(Mutex::new(manner));
        let repositories = Arc::new(repositories);
        // The second is the place that large files are kept at.
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
        for listener in listeners {
            let (shared, repositories) = (manner.clone(), repositories.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (shared, repositories) = (shared.clone(), repositories.clone());
                    // A reader that hangs up is its own affair.
                    std::thread::spawn(move || _ = answer(stream, &repositories, &shared, ports));
                }
            });
        }
        HubServer { address: format!("http://127.0.0.1:{}", ports[0]), manner }
    }

    pub fn requests(&self) -> Vec<(String, Option<String>, bool)> {
        self.manner.lock().unwrap().requests.clone()
    }

    /// The program with a cache of its own and this hub.
    pub fn command(&self, cache: &Path, arguments: &[&str]) -> Command {
        alone(cache, &self.address, arguments)
    }
}

/// The program with a cache, a hub, and nothing of what the environment says of either.
pub fn alone(cache: &Path, hub: &str, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    for name in [
        "HF_HUB_CACHE",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE",
        "HF_HUB_DOWNLOAD_TIMEOUT",
        "http_proxy",
        "HTTP_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
    }
    command.current_dir(cache);
    command.env("HF_HOME", cache).env("XDG_CACHE_HOME", cache).env("HF_ENDPOINT", hub).env("NO_PROXY", "*");
    command
}

pub fn files(folder: &Path, prefix: &str) -> HashMap<String, Vec<u8>> {
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

fn is_large(name: &str) -> bool {
    [".safetensors", ".bin", ".parquet"].iter().any(|ending| name.ends_with(ending))
}

/// What the hub knows a file by.
pub fn hash(name: &str, bytes: &[u8]) -> String {
    let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect();
    match is_large(name) {
        true => hex(&Sha256::digest(bytes)),
        false => {
            hex(&Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
        }
    }
}

fn answer(
    mut stream: TcpStream,
    repositories: &Repositories,
    manner: &Mutex<Manner>,
    ports: [u16; 2],
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().replace("%2F", "/");
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
    if !manner.busy.is_empty() {
        let (status, after) = manner.busy.remove(0);
        let after = after.map_or(String::new(), |after| format!("Retry-After: {after}\r\n"));
        return respond(status, &after, b"busy", usize::MAX);
    }
    let stored = path.strip_prefix("/storage");
    let allowed = manner.token.as_ref().is_none_or(|needed| token == Some(format!("Bearer {needed}")));
    if !allowed && stored.is_none() {
        let status = manner.refuses_with.unwrap_or("401 Unauthorized");
        return respond(status, "", b"{\"error\":\"Invalid credentials\"}", usize::MAX);
    }
    if let Some(asked) = path.strip_prefix("/api/") {
        let asked = asked.strip_prefix("models/").unwrap_or(asked);
        let (name, revision) = asked.split_once("/revision/").unwrap_or_default();
        let revision = revision.split('?').next().unwrap_or_default();
        let commit = match revision {
            "main" => COMMIT,
            "refs/pr/4" => PROPOSED,
            "refs/convert/parquet" => CONVERTED,
            commit => commit,
        };
        let Some(files) = repositories.get(name).and_then(|commits| commits.get(commit)) else {
            return respond("404 Not Found", "", b"{\"error\":\"Repository not found\"}", usize::MAX);
        };
        let sibling = |(name, bytes): (&String, &Vec<u8>)| {
            let large = is_large(name);
            let size = bytes.len() as u64 + if large { manner.exaggerate } else { 0 };
            let lfs = json!({"sha256": hash(name, bytes), "size": size, "pointerSize": 1});
            // Of a large file git knows a pointer.
            let blob = if large { hash("pointer", bytes) } else { hash(name, bytes) };
            json!({"rfilename": name, "size": size, "blobId": blob, "lfs": if large { lfs } else { Value::Null }})
        };
        let mut siblings: Vec<Value> = files.iter().map(sibling).collect();
        siblings.push(json!({"rfilename": "onnx/model.onnx", "size": 9, "blobId": hash("o", b"")}));
        siblings.push(json!({"rfilename": "../../evil.safetensors", "size": 9, "blobId": hash("e", b"")}));
        siblings.push(json!({"rfilename": "../../evil.parquet", "size": 9, "blobId": hash("e", b"")}));
        let body = json!({"sha": commit, "siblings": siblings}).to_string();
        return respond("200 OK", "", body.as_bytes(), usize::MAX);
    }
    let place = stored.unwrap_or(&path).trim_start_matches('/');
    let file = place.split_once("/resolve/").and_then(|(name, rest)| {
        let (commit, file) = rest.split_once('/')?;
        repositories.get(name)?.get(commit)?.get_key_value(file)
    });
    let Some((name, bytes)) = file else {
        return respond("404 Not Found", "", b"<html>not here</html>", usize::MAX);
    };
    let large = is_large(name);
    let tag = manner.other_version.clone().filter(|_| large).unwrap_or_else(|| hash(name, bytes));
    if let Some(elsewhere) = manner.redirect.filter(|_| stored.is_none() && large) {
        let (host, port) = match elsewhere {
            // The same machine by another name is another host.
            Elsewhere::Host => ("localhost", ports[0]),
            Elsewhere::Port => ("127.0.0.1", ports[1]),
        };
        let location =
            format!("Location: http://{host}:{port}/storage{path}\r\nX-Linked-Etag: \"{tag}\"\r\n");
        return respond("302 Found", &location, b"", 0);
    }
    let mut bytes = bytes.clone();
    if large && manner.wrong > 0 {
        manner.wrong -= 1;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }
    let stalls = large && !manner.stalls.is_empty();
    let sent = match large {
        true if stalls => manner.stalls.remove(0),
        true if !manner.breaks.is_empty() => manner.breaks.remove(0),
        _ => usize::MAX,
    };
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let etag = format!("ETag: \"{tag}\"\r\n");
    let ended = match from.filter(|_| !manner.no_ranges) {
        None => respond("200 OK", &etag, &bytes, sent),
        Some(from) if from >= bytes.len() => respond("416 Range Not Satisfiable", "", b"", 0),
        Some(from) => {
            let part = format!("{etag}Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            respond("206 Partial Content", &part, &bytes[from..], sent)
        }
    };
    drop(manner);
    if stalls {
        std::thread::sleep(Duration::from_secs(20));
    }
    ended
}

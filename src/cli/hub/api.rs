//! What the hub says about a repository.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use serde::Deserialize;
use wgrad::files::list::{PICKLE_FILE, TOKENIZER_FILE};
use wgrad::files::{MODEL_FILES, WeightFiles};
use wgrad::text::VOCABULARY_FILE;

use super::http::{Answer, Failure, Http};
use super::{Id, Kind};
use crate::cli::folders::named;

/// A hub: huggingface.co, or what `HF_ENDPOINT` says.
pub struct Hub {
    http: Http,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RemoteFile {
    /// Its path in the repository.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it is called among the blobs: of a large file the SHA-256 of its contents, of others git's hash of them.
    pub hash: String,
}

impl RemoteFile {
    pub fn is_weights(&self) -> bool {
        self.name.ends_with(".safetensors") || self.name.ends_with(".bin")
    }
}

/// The files of a commit.
#[derive(Deserialize)]
pub struct Listing {
    #[serde(rename = "sha")]
    pub commit: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

/// Answers about a repository are read up to this many bytes.
const MAX_ANSWER: usize = 32 << 20;
/// A line on which no byte comes for so many seconds is given up, unless `HF_HUB_DOWNLOAD_TIMEOUT` says otherwise.
const PATIENCE: u64 = 30;

impl Hub {
    /// The hub that the environment names.
    pub fn new() -> Hub {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let stored = || {
            let home = named("HF_HOME");
            let home = home.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache/huggingface")));
            let path = named("HF_TOKEN_PATH").or_else(|| Some(home?.join("token")))?;
            std::fs::read_to_string(path).ok().filter(|token| !token.trim().is_empty())
        };
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let token = variable("HF_TOKEN").or_else(stored).map(|token| token.trim().to_string());
        let patience = variable("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|seconds| seconds.trim().parse().ok());
        let patience = Duration::from_secs(patience.unwrap_or(PATIENCE).max(1));
        Hub { http: Http::new(endpoint.trim_end_matches('/').to_string(), token, patience) }
    }

    /// Asks for the files of a revision.
    pub fn list(&self, id: &Id) -> anyhow::Result<Listing> {
        let (endpoint, kind) = (self.http.endpoint(), id.kind.in_api());
        let url =
            format!("{endpoint}/api/{kind}/{}/revision/{}?blobs=true", id.name, encoded(&id.revision, ""));
        let mut answer = self.http.get(&url, 0)?;
        self.succeeded(&answer, &url, id.kind)?;
        let text = answer.body.text(MAX_ANSWER).with_context(|| format!("{url}: the answer broke off"))?;
        let listing: Listing =
            serde_json::from_str(&text).with_context(|| format!("{url}: expected a list of files"))?;
        let sound = listing.commit.len() <= 64 && listing.commit.chars().all(|c| c.is_ascii_hexdigit());
        ensure!(sound && !listing.commit.is_empty(), "{url}: expected a commit, found {:?}", listing.commit);
        Ok(listing)
    }

    /// Asks for a file from byte `from` on.
    pub fn file(&self, id: &Id, commit: &str, name: &str, from: u64) -> Result<Answer, Failure> {
        let (endpoint, prefix) = (self.http.endpoint(), id.kind.in_paths());
        let url = format!("{endpoint}/{prefix}{}/resolve/{commit}/{}", id.name, encoded(name, "/"));
        let answer = self.http.get(&url, from)?;
        // There is nothing from that byte on: the caller knows what was promised.
        if answer.status != 416 {
            self.succeeded(&answer, &url, id.kind).map_err(Failure::Told)?;
        }
        Ok(answer)
    }

    fn succeeded(&self, answer: &Answer, url: &str, kind: Kind) -> anyhow::Result<()> {
        let what = kind.name();
        let hint = match (answer.status, self.http.has_token()) {
            (200..=299, _) => return Ok(()),
            (401 | 403, false) => {
                format!(": the {what} does not exist, or is not for everybody; set HF_TOKEN")
            }
            (401 | 403, true) => {
                format!(": the token may not read this {what}; its page on the hub says whom it is for")
            }
            (404, _) => format!(": no such {what}, revision or file"),
            (429, _) => ": too many requests; try again later, or set HF_TOKEN".to_owned(),
            _ => String::new(),
        };
        let status = ureq::http::StatusCode::from_u16(answer.status).map_err(|error| anyhow!(error))?;
        bail!("{url}: {status}{hint}")
    }
}

/// A part of a URL: what is no letter, digit or mark stands as its bytes.
fn encoded(text: &str, allowed: &str) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || allowed.as_bytes().contains(&byte)
    };
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

impl Listing {
    /// A file of this name, if there is one.
    pub fn named(&self, name: &str) -> anyhow::Result<Option<RemoteFile>> {
        self.siblings.iter().find(|file| file.rfilename == name).map(Sibling::file).transpose()
    }

    /// The files that are needed to run the model; `folders` are those that its `modules.json` names.
    pub fn wanted(&self, folders: &[String]) -> anyhow::Result<Vec<RemoteFile>> {
        let names: HashSet<&str> = self.siblings.iter().map(|file| file.rfilename.as_str()).collect();
        let encoder = folders.first().filter(|folder| !folder.is_empty());
        let of_the_encoder =
            |name: &str| encoder.map_or(name.to_owned(), |folder| format!("{folder}/{name}"));
        let files = self.files(|name| MODEL_FILES.contains(name, &|name| names.contains(name), folders))?;
        let has = |name: &str| names.contains(of_the_encoder(name).as_str());
        ensure!(
            WeightFiles::of(has).is_some(),
            "expected a model with {} or {PICKLE_FILE}, found no weights",
            MODEL_FILES.weights
        );
        for name in MODEL_FILES.needed {
            let vocabulary = name == TOKENIZER_FILE && has(VOCABULARY_FILE);
            ensure!(has(name) || vocabulary, "expected a model with {name}, found none");
        }
        Ok(files)
    }

    /// The files with names that are `wanted`.
    pub fn files(&self, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<RemoteFile>> {
        self.siblings.iter().filter(|file| wanted(&file.rfilename)).map(Sibling::file).collect()
    }
}

impl Sibling {
    fn file(&self) -> anyhow::Result<RemoteFile> {
        let hash = self.lfs.as_ref().map(|lfs| &lfs.sha256).or(self.blob.as_ref());
        let size = self.lfs.as_ref().map(|lfs| lfs.size).or(self.size);
        // SHA-256, or git's SHA-1.
        let hash =
            hash.filter(|hash| [40, 64].contains(&hash.len()) && hash.chars().all(|c| c.is_ascii_hexdigit()));
        match (hash, size) {
            (Some(hash), Some(size)) => {
                Ok(RemoteFile { name: self.rfilename.clone(), size, hash: hash.to_ascii_lowercase() })
            }
            _ => bail!("expected the size and hash of {:?} from the hub, found none", self.rfilename),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_encoded() {
        assert_eq!(super::encoded("refs/convert/parquet", ""), "refs%2Fconvert%2Fparquet");
        assert_eq!(super::encoded("a b/ç#?.parquet", "/"), "a%20b/%C3%A7%23%3F.parquet");
    }
}

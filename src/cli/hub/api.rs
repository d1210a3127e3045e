//! What the hub says about a model, over HTTP.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::{Agent, Body};
use wgrad::files::MODEL_FILES;

use super::Id;

/// A hub: huggingface.co, or what `HF_ENDPOINT` says.
pub struct Hub {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RemoteFile {
    /// Its path in the repository.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it is called among the blobs: the hash of its contents.
    pub hash: String,
}

impl RemoteFile {
    pub fn is_weights(&self) -> bool {
        self.name.ends_with(".safetensors")
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

/// Answers about a model are read up to this many bytes.
const MAX_ANSWER: u64 = 32 << 20;

impl Hub {
    /// The hub that the environment names.
    pub fn new() -> Hub {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let stored = || {
            let home = variable("HF_HOME").map(PathBuf::from);
            let home = home.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache/huggingface")));
            let path = variable("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home?.join("token")))?;
            std::fs::read_to_string(path).ok().filter(|token| !token.trim().is_empty())
        };
        let agent = Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            // A token is for the hub alone, not for where it keeps large files.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .http_status_as_error(false)
            .user_agent(concat!("wgrad/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let token = variable("HF_TOKEN").or_else(stored).map(|token| token.trim().to_string());
        Hub { agent, endpoint: endpoint.trim_end_matches('/').to_string(), token }
    }

    /// Asks for the files of a model.
    pub fn list(&self, id: &Id) -> anyhow::Result<Listing> {
        let url = format!("{}/api/models/{}/revision/{}?blobs=true", self.endpoint, id.name, id.revision);
        let mut answer = self.get(&url, 0)?;
        self.succeeded(&answer, &url)?;
        let text = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string();
        let text = text.with_context(|| format!("{url}: the answer broke off"))?;
        let listing: Listing =
            serde_json::from_str(&text).with_context(|| format!("{url}: expected a list of files"))?;
        let sound = listing.commit.len() <= 64 && listing.commit.chars().all(|c| c.is_ascii_hexdigit());
        ensure!(sound && !listing.commit.is_empty(), "{url}: expected a commit, found {:?}", listing.commit);
        Ok(listing)
    }

    /// Asks for a file from byte `from` on.
    pub fn file(&self, id: &Id, commit: &str, name: &str, from: u64) -> anyhow::Result<Response<Body>> {
        let url = format!("{}/{}/resolve/{commit}/{name}", self.endpoint, id.name);
        let answer = self.get(&url, from)?;
        // There is nothing from that byte on: the caller knows what was promised.
        if answer.status().as_u16() != 416 {
            self.succeeded(&answer, &url)?;
        }
        Ok(answer)
    }

    fn get(&self, url: &str, from: u64) -> anyhow::Result<Response<Body>> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        request.call().with_context(|| url.to_string())
    }

    fn succeeded(&self, answer: &Response<Body>, url: &str) -> anyhow::Result<()> {
        let status = answer.status();
        let hint = match (status.as_u16(), &self.token) {
            (200..=299, _) => return Ok(()),
            (401 | 403, None) => ": the model does not exist, or is not for everybody; set HF_TOKEN",
            (401 | 403, Some(_)) => ": the token may not read this model",
            (404, _) => ": no such model, revision or file",
            (429, _) => ": too many requests; try again later, or set HF_TOKEN",
            _ => "",
        };
        bail!("{url}: {status}{hint}")
    }
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
        let single = names.contains(of_the_encoder(MODEL_FILES.weights).as_str());
        let files: Vec<RemoteFile> = self
            .siblings
            .iter()
            .filter(|file| MODEL_FILES.contains(&file.rfilename, single, folders))
            .map(Sibling::file)
            .collect::<anyhow::Result<_>>()?;
        let has = |name: &str| files.iter().any(|file| file.name == name);
        if !single && !has(&of_the_encoder(MODEL_FILES.index)) {
            let pickle = names.contains(of_the_encoder("pytorch_model.bin").as_str());
            let found = if pickle { "only a PyTorch pickle, which is not read" } else { "no weights" };
            bail!("expected a model with model.safetensors, found {found}");
        }
        for name in MODEL_FILES.needed {
            ensure!(has(&of_the_encoder(name)), "expected a model with {name}, found none");
        }
        Ok(files)
    }
}

impl Sibling {
    fn file(&self) -> anyhow::Result<RemoteFile> {
        let hash = self.lfs.as_ref().map(|lfs| &lfs.sha256).or(self.blob.as_ref());
        let size = self.lfs.as_ref().map(|lfs| lfs.size).or(self.size);
        let hash = hash
            .filter(|hash| (32..=64).contains(&hash.len()) && hash.chars().all(|c| c.is_ascii_hexdigit()));
        match (hash, size) {
            (Some(hash), Some(size)) => {
                Ok(RemoteFile { name: self.rfilename.clone(), size, hash: hash.clone() })
            }
            _ => bail!("expected the size and hash of {:?} from the hub, found none", self.rfilename),
        }
    }
}

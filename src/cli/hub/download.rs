//! One file from the hub, going on where an earlier download broke off, and under its name only when it is right.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use ureq::http::HeaderMap;
use wgrad::store::{Disk, Store};

use super::api::{Hub, RemoteFile};
use super::http::Failure;
use super::{Id, digest};

/// A download is given up after this many connections in a row that brought no byte.
const ATTEMPTS: u32 = 5;

/// A file of a commit.
pub struct Download<'a> {
    pub hub: &'a Hub,
    pub id: &'a Id,
    pub commit: &'a str,
    pub file: &'a RemoteFile,
    /// Where it is put together. Its name holds the file's hash, so that only a part of the same contents is taken up.
    pub partial: PathBuf,
    /// Where it is at the end.
    pub place: PathBuf,
    /// Told how many bytes there are.
    pub tell: &'a dyn Fn(u64),
}

enum Broken {
    /// The connection; it may be tried again.
    Line(anyhow::Error),
    /// The answer; another attempt would get the same.
    Told(anyhow::Error),
    Disk(io::Error),
}

impl Download<'_> {
    /// Downloads the file, compares its hash with the hub's, and gives it its name.
    pub fn run(&self) -> anyhow::Result<()> {
        let say = || format!("{}: cannot write", self.partial.display());
        let folder = self.place.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(say)?;
        let mut out =
            OpenOptions::new().create(true).append(true).read(true).open(&self.partial).with_context(say)?;
        // Another process that fetches the same file is waited for.
        out.lock().with_context(say)?;
        if self.is_there() {
            let _ = fs::remove_file(&self.partial);
            return Ok(());
        }
        let taken_up = out.seek(SeekFrom::End(0)).with_context(say)? > 0;
        self.fill(&mut out)?;
        if let Err(found) = self.check().with_context(say)? {
            // A part that an earlier program left may be wrong; what comes whole now is not.
            out.set_len(0).with_context(say)?;
            let again = match taken_up {
                true => {
                    self.fill(&mut out)?;
                    self.check().with_context(say)?
                }
                false => Err(found),
            };
            if let Err(found) = again {
                let _ = fs::remove_file(&self.partial);
                let RemoteFile { name, hash, .. } = self.file;
                return Err(anyhow!("{name}: expected contents with the hash {hash}, found {found}"));
            }
        }
        out.sync_all().with_context(say)?;
        Disk.rename(&self.partial, &self.place)?;
        Disk.sync_dir(folder)?;
        Ok(())
    }

    fn is_there(&self) -> bool {
        fs::metadata(&self.place).is_ok_and(|about| about.len() == self.file.size)
    }

    /// The inner error is the hash of contents that are not the file's.
    fn check(&self) -> io::Result<Result<(), String>> {
        let found = digest::of_file(&self.partial, &self.file.hash)?;
        Ok(if found == self.file.hash { Ok(()) } else { Err(found) })
    }

    /// Appends until the file has its size.
    fn fill(&self, out: &mut File) -> anyhow::Result<()> {
        let say = || format!("{}: cannot write", self.partial.display());
        let file = self.file;
        let mut failures = 0;
        loop {
            let before = out.seek(SeekFrom::End(0)).with_context(say)?;
            if before == file.size {
                return Ok(());
            }
            if before > file.size {
                out.set_len(0).with_context(say)?;
                continue;
            }
            match self.pull(out, before) {
                Ok(()) => {}
                Err(Broken::Disk(error)) => return Err(error).with_context(say),
                Err(Broken::Told(error)) => return Err(error),
                Err(Broken::Line(error)) => {
                    let now = out.seek(SeekFrom::End(0)).with_context(say)?;
                    failures = if now > before { 0 } else { failures + 1 };
                    if failures >= ATTEMPTS {
                        let left = format!("{}: broke off at byte {now} of {}", file.name, file.size);
                        return Err(error.context(format!("{left}; the same command goes on from there")));
                    }
                    std::thread::sleep(Duration::from_millis(200 << failures));
                }
            }
        }
    }

    /// Appends what the hub sends from byte `from` on.
    fn pull(&self, out: &mut File, from: u64) -> Result<(), Broken> {
        let file = self.file;
        let mut answer =
            self.hub.file(self.id, self.commit, &file.name, from).map_err(|failure| match failure {
                Failure::Line(error) => Broken::Line(error),
                Failure::Told(error) => Broken::Told(error),
            })?;
        if let Some(other) =
            etag(&answer.first).filter(|tag| tag.len() == file.hash.len() && *tag != file.hash)
        {
            let found = format!("{}: expected the version {}, found {other}", file.name, file.hash);
            return Err(Broken::Told(anyhow!("{found}; the same command asks for the list of files anew")));
        }
        let mut at = from;
        if answer.status != 206 {
            // The hub sends the file from its beginning, because it gives no parts or has another version of the file.
            out.set_len(0).map_err(Broken::Disk)?;
            at = 0;
            if answer.status == 416 {
                return Err(Broken::Told(short(file, from)));
            }
        } else {
            let range = answer.headers.get("content-range").and_then(|value| value.to_str().ok());
            let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
            if start != Some(from) {
                let found = format!("{}: expected the bytes from {from} on, found {range:?}", file.name);
                return Err(Broken::Told(anyhow!(found)));
            }
        }
        loop {
            (self.tell)(at);
            let chunk = answer.body.next().map_err(|error| Broken::Line(error.into()))?;
            if chunk.is_empty() {
                break;
            }
            at += chunk.len() as u64;
            if at > file.size {
                let found = format!("{}: expected {} bytes, found more", file.name, file.size);
                out.set_len(0).map_err(Broken::Disk)?;
                return Err(Broken::Told(anyhow!(found)));
            }
            out.write_all(&chunk).map_err(Broken::Disk)?;
        }
        match at == file.size {
            true => Ok(()),
            false => Err(Broken::Line(short(file, at))),
        }
    }
}

/// The hash by which the hub knows the file that it sends, where it says it.
fn etag(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-linked-etag").or_else(|| headers.get("etag"))?.to_str().ok()?;
    let tag = value.trim().trim_start_matches("W/").trim_matches('"');
    tag.chars().all(|c| c.is_ascii_hexdigit()).then(|| tag.to_ascii_lowercase())
}

fn short(file: &RemoteFile, at: u64) -> anyhow::Error {
    anyhow!("{}: expected {} bytes, found {at}", file.name, file.size)
}

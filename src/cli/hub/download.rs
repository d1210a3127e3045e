//! One file from the hub to the cache, going on where an earlier download broke off.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use wgrad::store::{Disk, Store};

use super::Id;
use super::api::{Hub, RemoteFile};

/// A download is given up after this many connections in a row that brought no byte.
const ATTEMPTS: u32 = 5;

/// The blob of `file`, downloaded if it is not there. `tell` is told how many bytes there are.
pub fn blob(
    hub: &Hub,
    id: &Id,
    commit: &str,
    file: &RemoteFile,
    blobs: &Path,
    tell: &dyn Fn(u64),
) -> anyhow::Result<PathBuf> {
    let blob = blobs.join(&file.hash);
    if fs::metadata(&blob).is_ok_and(|about| about.len() == file.size) {
        tell(file.size);
        return Ok(blob);
    }
    // The name is that of `huggingface_hub`, so that whichever program comes next goes on from what is there.
    let partial = blobs.join(format!("{}.incomplete", file.hash));
    let say = || format!("{}: cannot write", partial.display());
    fs::create_dir_all(blobs).with_context(say)?;
    let mut out = OpenOptions::new().create(true).append(true).read(true).open(&partial).with_context(say)?;
    // Another process that fetches the same file is waited for.
    out.lock().with_context(say)?;
    if fs::metadata(&blob).is_ok_and(|about| about.len() == file.size) {
        let _ = fs::remove_file(&partial);
        return Ok(blob);
    }
    let mut failures = 0;
    loop {
        let before = out.seek(SeekFrom::End(0)).with_context(say)?;
        if before == file.size {
            break;
        }
        if before > file.size {
            out.set_len(0).with_context(say)?;
            continue;
        }
        match pull(hub, id, commit, file, &mut out, before, tell) {
            Ok(()) => {}
            Err(Broken::Disk(error)) => return Err(error).with_context(say),
            Err(Broken::Told(error)) => return Err(error),
            Err(Broken::Line(error)) => {
                let now = out.seek(SeekFrom::End(0)).with_context(say)?;
                failures = if now > before { 0 } else { failures + 1 };
                if failures >= ATTEMPTS {
                    let left = format!("{}: broke off at byte {now} of {}", file.name, file.size);
                    return Err(error).context(format!("{left}; the same command goes on from there"));
                }
                std::thread::sleep(Duration::from_millis(200 << failures));
            }
        }
    }
    out.sync_all().with_context(say)?;
    Disk.rename(&partial, &blob)?;
    Disk.sync_dir(blobs)?;
    Ok(blob)
}

enum Broken {
    /// The connection; it may be tried again.
    Line(anyhow::Error),
    /// The answer; another attempt would get the same.
    Told(anyhow::Error),
    Disk(std::io::Error),
}

/// Appends what the hub sends from byte `from` on.
fn pull(
    hub: &Hub,
    id: &Id,
    commit: &str,
    file: &RemoteFile,
    out: &mut File,
    from: u64,
    tell: &dyn Fn(u64),
) -> Result<(), Broken> {
    let mut answer = hub.file(id, commit, &file.name, from).map_err(|error| {
        let line = error.downcast_ref::<ureq::Error>().is_some();
        if line { Broken::Line(error) } else { Broken::Told(error) }
    })?;
    let mut at = from;
    if answer.status().as_u16() != 206 {
        // The hub sends the file from its beginning, because it gives no parts or has another version of the file.
        out.set_len(0).map_err(Broken::Disk)?;
        at = 0;
        if answer.status().as_u16() == 416 {
            return Err(Broken::Told(short(file, from)));
        }
    } else {
        let range = answer.headers().get("content-range").and_then(|value| value.to_str().ok());
        let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        if start != Some(from) {
            let found = format!("{}: expected the bytes from {from} on, found {range:?}", file.name);
            return Err(Broken::Told(anyhow::anyhow!(found)));
        }
    }
    let mut reader = answer.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        tell(at);
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) => return Err(Broken::Line(error.into())),
        };
        at += count as u64;
        if at > file.size {
            let found = format!("{}: expected {} bytes, found more", file.name, file.size);
            out.set_len(0).map_err(Broken::Disk)?;
            return Err(Broken::Told(anyhow::anyhow!(found)));
        }
        out.write_all(&buffer[..count]).map_err(Broken::Disk)?;
    }
    match at == file.size {
        true => Ok(()),
        false => Err(Broken::Line(short(file, at))),
    }
}

fn short(file: &RemoteFile, at: u64) -> anyhow::Error {
    anyhow::anyhow!("{}: expected {} bytes, found {at}", file.name, file.size)
}

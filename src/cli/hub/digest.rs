//! The hashes by which the hub knows files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The hash of a file as the hub writes `expected`: of 64 digits the SHA-256 of the contents, which it says of large
/// files; of 40 git's hash of a blob, the SHA-1 of a header and the contents.
///
/// # Errors
/// When the file cannot be read.
pub fn of_file(path: &Path, expected: &str) -> io::Result<String> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    match expected.len() {
        64 => hashed(file, Sha256::new()),
        _ => hashed(file, Sha1::new().chain_update(format!("blob {size}\0"))),
    }
}

fn hashed<D: Digest>(mut file: File, mut digest: D) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => digest.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_other_tools() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "what is up, doc?").unwrap();
        // From `git hash-object` and `sha256sum`.
        assert_eq!(of_file(&path, &"0".repeat(40)).unwrap(), "bd9dbf5aae1a3862dd1526723246b20206e5fc37");
        std::fs::write(&path, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_file(&path, abc).unwrap(), abc);
    }
}

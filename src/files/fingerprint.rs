//! What the results of a model follow from: its files, by their lengths and checksums.

use std::collections::BTreeMap;

use super::list::{CONFIG_FILE, TOKENIZER_FILE};
use super::{ModelFolder, Weights};
use crate::Result;
use crate::hash::fnv1a;
use crate::store::Store;
use crate::store::checksums::Entry;

/// The files that results follow from; `further` are weights beside the model's.
pub(super) fn files(
    store: &dyn Store,
    folder: &ModelFolder,
    further: &[(String, Weights)],
) -> Result<BTreeMap<String, Entry>> {
    let config = folder.path.join(CONFIG_FILE);
    let mut found = BTreeMap::from([
        (CONFIG_FILE.to_owned(), Entry::of(&store.read(&config)?)),
        (TOKENIZER_FILE.to_owned(), Entry::of(&folder.tokenizer_json)),
    ]);
    for (path, bytes) in folder.weights.files() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.insert(name, Entry::of(bytes));
    }
    for (name, weights) in further {
        found.extend(weights.files().map(|(_, bytes)| (name.clone(), Entry::of(bytes))));
    }
    Ok(found)
}

/// A number in hexadecimal that is another for another model, wherever its folder lies; `further` are weights beside the
/// model's. The roles of tokens count too, as files beside the tokenizer may say them.
///
/// # Errors
/// [`crate::Error::Io`] when a file of the folder cannot be read.
pub fn fingerprint(store: &dyn Store, folder: &ModelFolder, further: &[(String, Weights)]) -> Result<String> {
    // Strings and whole numbers always serialise.
    let json =
        serde_json::to_vec(&(files(store, folder, further)?, &folder.special_tokens)).unwrap_or_default();
    Ok(format!("{:016x}", fnv1a(&json)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Disk;

    #[test]
    fn other_roles_of_tokens_are_another_model() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/hugging_face");
        let mut folder = ModelFolder::load(golden).unwrap();
        let found = fingerprint(&Disk, &folder, &[]).unwrap();
        assert_eq!(fingerprint(&Disk, &folder, &[]).unwrap(), found);
        folder.special_tokens.sep = Some("[OTHER]".to_owned());
        assert_ne!(fingerprint(&Disk, &folder, &[]).unwrap(), found);
    }
}

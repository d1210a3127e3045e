//! Models that a person named: found, read, and what was noticed about them told.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use wgrad::data::Dataset;
use wgrad::files::{ModelFolder, SentenceFolder, encoder_folder};
use wgrad::store::Disk;
use wgrad::text::Tokenizer;

use super::{hub, print};

/// Whether folders that this program wrote are compared with their checksums: unless --no-verify was said.
pub static VERIFY: AtomicBool = AtomicBool::new(true);

/// Whether they are.
pub fn verify() -> bool {
    VERIFY.load(Ordering::Relaxed)
}

/// The tokenizer in a folder or file, or in the folder of a sentence embedder's encoder.
pub fn tokenizer(path: &Path) -> wgrad::Result<Tokenizer> {
    Tokenizer::load_with(encoder_folder(&Disk, path), verify())
}

/// Data folders, as one.
pub fn dataset(folders: &[PathBuf]) -> wgrad::Result<Dataset> {
    Dataset::open_with(&Disk, folders, verify())
}

/// The model in a folder, or of a name that the hub knows.
pub fn model(name: &Path) -> anyhow::Result<ModelFolder> {
    let folder = ModelFolder::load_with(&Disk, hub::folder(name)?, verify())?;
    tell(&folder);
    Ok(folder)
}

/// The same with how it makes vectors of texts.
pub fn sentence_model(name: &Path) -> anyhow::Result<SentenceFolder> {
    let folder = SentenceFolder::load_with(&Disk, hub::folder(name)?, verify())?;
    tell(&folder.model);
    folder.guesses.iter().for_each(|guess| print::note(format_args!("note: {guess}")));
    Ok(folder)
}

fn tell(folder: &ModelFolder) {
    if let Some(note) = folder.note() {
        print::note(note);
    }
}

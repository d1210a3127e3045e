//! Models that a person named: found, read, and what was noticed about them told.

use std::path::Path;

use wgrad::files::{ModelFolder, SentenceFolder};

use super::{hub, print};

/// The model in a folder, or of a name that the hub knows.
pub fn model(name: &Path) -> anyhow::Result<ModelFolder> {
    let folder = ModelFolder::load(hub::folder(name)?)?;
    tell(&folder);
    Ok(folder)
}

/// The same with how it makes vectors of texts.
pub fn sentence_model(name: &Path) -> anyhow::Result<SentenceFolder> {
    let folder = SentenceFolder::load(hub::folder(name)?)?;
    tell(&folder.model);
    folder.guesses.iter().for_each(|guess| print::note(format_args!("note: {guess}")));
    Ok(folder)
}

fn tell(folder: &ModelFolder) {
    if let Some(note) = folder.note() {
        print::note(note);
    }
}

//! Whether a device computes a model right: the vectors of ten texts against those that lie beside the model.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{EmbedOptions, Embedder, cosine};
use crate::error::quoted;
use crate::files::{REFERENCE_FILE, ReferenceVectors, SentenceFolder};
use crate::format::shortened;
use crate::gpu::Gpu;
use crate::store::Store;
use crate::tensor::DType;
use crate::{Error, Result};

/// What the vectors are of: nothing, a word, several languages and scripts, and a text that most small models cut off.
const TEXTS: [&str; 10] = [
    "",
    "Yes.",
    "The cat sleeps on the sofa all day.",
    "In 1969, 3.5 kg of basalt came back from the Moon (see p. 12).",
    "Größere Äpfel fallen früher vom Baum, sagt die Gärtnerin.",
    "Où est passé le train de huit heures ? Il a été supprimé.",
    "Вчера вечером шёл дождь, и на улицах никого не было.",
    "今天天气很好，我们去公园散步吧。",
    "يقرأ الطفل كتابا عن النجوم قبل النوم 🌙",
    "The harbour lay quiet under a thin fog when the first boats went out. Nobody spoke much, for the nets were heavy \
     and the water was cold, and every hand was needed at the ropes. Two hours later the sun had come through, the \
     gulls had found them, and the deck was covered with herring. They turned back before noon. On the quay the \
     buyers from the town were waiting with their carts and their scales, and an old man counted the baskets aloud, \
     as he had done every morning for forty years.",
];

/// How far vectors of a device may be from the reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tolerance {
    /// The least cosine of a text's two vectors.
    pub cosine: f64,
    /// The largest difference of two elements, as a share of the reference's length. A cosine hardly sees one wrong
    /// element; this does.
    pub difference: f64,
}

impl Tolerance {
    /// That of a model whose activations are stored as `storage`.
    pub fn of(storage: DType) -> Self {
        match storage {
            DType::F16 => Tolerance { cosine: 0.999, difference: 0.01 },
            DType::F32 | DType::U32 => Tolerance { cosine: 0.9999, difference: 0.001 },
        }
    }
}

/// The vectors of a device beside the reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// How many texts were compared.
    pub texts: usize,
    /// The least cosine.
    pub cosine: f64,
    /// The largest difference of two elements, as a share of the reference's length.
    pub difference: f64,
    /// What was allowed.
    pub tolerance: Tolerance,
    /// How the device stored activations.
    pub precision: DType,
    /// The device.
    pub device: String,
    /// The device that computed the reference.
    pub reference_device: String,
}

/// What looking at a folder's reference vectors gave, unless the device computes wrong, which is an error.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// The device computes the vectors that it should.
    Right(Comparison),
    /// The vectors were made with other files, so that they say nothing of the device; why, for people.
    Stale(String),
    /// The folder has none.
    Absent,
}

/// Computes the reference vectors of a folder with `embedder`, which was opened from it with the folder's own options.
///
/// # Errors
/// Those of [`Embedder::embed`]; [`Error::Io`].
pub async fn reference_vectors(
    store: &dyn Store,
    folder: &SentenceFolder,
    embedder: &mut Embedder,
) -> Result<ReferenceVectors> {
    let found = embedder.embed(&TEXTS, &mut |_| {}).await?;
    let vectors = found.rows().map(<[f32]>::to_vec).collect();
    let device = device_name(embedder.gpu());
    ReferenceVectors::new(store, folder, &device, TEXTS.map(str::to_owned).to_vec(), vectors)
}

/// Computes the reference vectors of a folder that has just been written, and puts them beside the model; gives back
/// where.
///
/// # Errors
/// Those of [`SentenceFolder::load`], [`Embedder::open`] and [`reference_vectors`]; [`Error::Io`].
pub async fn save_reference(gpu: &Gpu, store: &dyn Store, dir: impl AsRef<Path>) -> Result<PathBuf> {
    let folder = SentenceFolder::load_on(store, dir)?;
    let path = ReferenceVectors::path(&folder);
    let mut embedder = Embedder::open(gpu, &folder, EmbedOptions::from(&folder))?;
    reference_vectors(store, &folder, &mut embedder).await?.save(store, &path)?;
    Ok(path)
}

/// Computes the vectors of a folder's reference again, with `embedder`, which was opened from it with the folder's own
/// options but perhaps another precision, and compares.
///
/// # Errors
/// [`Error::WrongResult`] when the device computes others; [`Error::Newer`]; [`Error::File`] for a file that is broken;
/// those of the device.
pub async fn verify(store: &dyn Store, folder: &SentenceFolder, embedder: &mut Embedder) -> Result<Verified> {
    let Some(reference) = ReferenceVectors::load(store, folder)? else { return Ok(Verified::Absent) };
    if let Some(changed) = reference.stale(store, folder)? {
        let path = ReferenceVectors::path(folder);
        return Ok(Verified::Stale(format!(
            "{}: made with another model, so this device was not checked: {changed} has changed since; \
             `wgrad embed --reference` makes it anew",
            path.display(),
        )));
    }
    compare(&reference, embedder).await.map(Verified::Right)
}

/// The comparison itself.
async fn compare(reference: &ReferenceVectors, embedder: &mut Embedder) -> Result<Comparison> {
    let precision = embedder.options().storage;
    let tolerance = Tolerance::of(precision);
    let found = embedder.embed_unchecked(&reference.texts, &mut |_| {}).await?;
    let device = device_name(embedder.gpu());
    let mut all = Comparison {
        texts: reference.texts.len(),
        cosine: 1.0,
        difference: 0.0,
        tolerance,
        precision,
        device,
        reference_device: reference.device.clone(),
    };
    let mut wrong: Option<String> = None;
    for ((text, expected), vector) in reference.texts.iter().zip(&reference.vectors).zip(found.rows()) {
        let (cosine, difference) = (cosine(expected, vector), difference(expected, vector));
        // NaN is on neither side of a bound, so it fails both.
        if !(cosine >= tolerance.cosine && difference <= tolerance.difference) && wrong.is_none() {
            let finite = vector.iter().all(|value| value.is_finite());
            let how = if finite {
                format!("a cosine of {cosine:.6} and a difference of {difference:.2e}")
            } else {
                "NaN or infinity".to_owned()
            };
            wrong = Some(format!("{how} for the text {}", quoted(&shortened(text, 40))));
        }
        all.cosine = all.cosine.min(cosine);
        all.difference = all.difference.max(difference);
    }
    let Some(found) = wrong else { return Ok(all) };
    let (name, hint) = match precision {
        DType::F16 => ("f16", "compute in f32, or update the graphics driver"),
        _ => ("f32", "update the graphics driver or the browser, or choose another GPU"),
    };
    Err(Error::WrongResult {
        device: all.device,
        expected: format!(
            "the vectors of {REFERENCE_FILE}, which {} computed, to a cosine of {} and a difference of {} in {name}",
            quoted(&all.reference_device),
            tolerance.cosine,
            tolerance.difference,
        ),
        found,
        hint: hint.to_owned(),
    })
}

/// The adapter, for people. Browsers may keep its name to themselves.
fn device_name(gpu: &Gpu) -> String {
    let capabilities = gpu.capabilities();
    match capabilities.name.as_str() {
        "" => format!("an unnamed adapter ({}, {})", capabilities.backend, capabilities.device_type),
        name => name.to_owned(),
    }
}

/// The largest difference of two elements, as a share of the length of `expected`. NaN where one is NaN.
fn difference(expected: &[f32], found: &[f32]) -> f64 {
    let length = expected.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    let apart = expected.iter().zip(found).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs());
    // `f64::max` would drop a NaN.
    apart.fold(0.0, |largest: f64, one| if largest.is_nan() || one <= largest { largest } else { one })
        / length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_nan_passes_for_a_difference() {
        assert_eq!(difference(&[3.0, 4.0], &[3.0, 3.0]), 0.2);
        assert!(difference(&[3.0, 4.0], &[f32::NAN, 4.0]).is_nan());
        assert!(difference(&[3.0, 4.0], &[f32::INFINITY, 4.0]).is_infinite());
        assert!(difference(&[0.0, 0.0], &[0.0, 0.0]).is_nan());
    }
}

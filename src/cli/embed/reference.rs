//! `--reference` and `--verify`: a model's vectors of ten texts, to know a device by that computes wrong.

use anyhow::bail;
use serde_json::json;
use wgrad::files::{REFERENCE_FILE, ReferenceVectors};
use wgrad::infer::{self, Verified, reference_vectors};
use wgrad::store::Disk;

use super::super::embedder::EmbedderArgs;
use super::super::print;

/// Computes the reference vectors of a folder and puts them beside the model.
pub async fn write(args: &EmbedderArgs, json: bool) -> anyhow::Result<()> {
    let folder = args.folder()?;
    let path = ReferenceVectors::path(&folder);
    let mut embedder = args.open_folder(&folder).await?;
    let reference = reference_vectors(&Disk, &folder, &mut embedder).await?;
    reference.save(&Disk, &path)?;
    let (texts, width) = (reference.texts.len(), folder.width());
    if json {
        let device = &reference.device;
        return print::line(
            json!({"file": path.display().to_string(), "texts": texts, "width": width, "device": device}),
        );
    }
    print::line(format_args!(
        "{}: the vectors of {texts} texts, computed in f32 on {}",
        path.display(),
        reference.device
    ))
}

/// Compares what this device computes with the folder's reference vectors.
pub async fn verify(args: &EmbedderArgs, json: bool) -> anyhow::Result<()> {
    let folder = args.folder()?;
    let path = ReferenceVectors::path(&folder);
    let mut embedder = args.open_folder(&folder).await?;
    let found = match infer::verify(&Disk, &folder, &mut embedder).await? {
        Verified::Right(found) => found,
        Verified::Stale(why) => bail!("{why}"),
        Verified::Absent => {
            let folder = folder.model.path.display();
            bail!("{folder}: expected {REFERENCE_FILE}, found none; `wgrad embed --reference` makes it")
        }
    };
    if json {
        let mut answer = json!({ "file": path.display().to_string() });
        if let (Some(answer), serde_json::Value::Object(found)) = (answer.as_object_mut(), json!(found)) {
            answer.extend(found);
        }
        return print::line(answer);
    }
    print::line(format_args!(
        "{} computes right: {} texts, a cosine of {:.7} at least, a difference of {:.1e} at most",
        found.device, found.texts, found.cosine, found.difference
    ))
}

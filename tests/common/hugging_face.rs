//! The BERT that `tests/golden/hugging_face.py` made, and folders like it.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// The folder as `transformers` saved it.
pub fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hugging_face")
}

/// A tensor's name, type, shape and bytes.
pub type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

/// The tensors of a safetensors file.
pub fn tensors(path: &Path) -> Vec<Stored> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let stored = |(name, view): (String, TensorView)| {
        (name, view.dtype(), view.shape().to_vec(), view.data().to_vec())
    };
    file.tensors().into_iter().map(stored).collect()
}

/// Writes a safetensors file.
pub fn write(path: &Path, tensors: &[Stored]) {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A copy of the golden folder with its tensors and configuration changed.
pub fn folder(
    change: impl FnOnce(Vec<Stored>) -> Vec<Stored>,
    configure: impl FnOnce(&mut Value),
) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let golden = golden_folder();
    fs::copy(golden.join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    let mut config = serde_json::from_slice(&fs::read(golden.join("config.json")).unwrap()).unwrap();
    configure(&mut config);
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let path = dir.path().join("model.safetensors");
    write(&path, &change(tensors(&golden.join("model.safetensors"))));
    dir
}

/// The golden folder with its weights in `files` files under an index.
pub fn sharded(files: usize) -> tempfile::TempDir {
    let dir = folder(|tensors| tensors, |_| {});
    let path = dir.path().join("model.safetensors");
    let all = tensors(&path);
    fs::remove_file(path).unwrap();
    let mut map = serde_json::Map::new();
    for (number, part) in all.chunks(all.len().div_ceil(files)).enumerate() {
        let name = format!("model-{:05}-of-{files:05}.safetensors", number + 1);
        part.iter().for_each(|(tensor, ..)| {
            map.insert(tensor.clone(), json!(name));
        });
        write(&dir.path().join(name), part);
    }
    write_index(dir.path(), &json!({"metadata": {"total_size": 1}, "weight_map": map}));
    dir
}

/// Writes an index.
pub fn write_index(dir: &Path, index: &Value) {
    fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

/// Reads an index.
pub fn read_index(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("model.safetensors.index.json")).unwrap()).unwrap()
}

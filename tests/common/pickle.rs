//! Files as PyTorch wrote them before version 1.6, made by hand: what `torch.load` reads, and what it should not.

use safetensors::tensor::Dtype;

use super::hugging_face::Stored;

/// What such a file begins with: a number, a version, and a dict about the machine.
const BEGIN: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

/// A text.
pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A number.
pub fn number(value: u64) -> Vec<u8> {
    [&b"\x8a\x09"[..], &value.to_le_bytes(), b"\0"].concat()
}

fn tuple(items: &[u64]) -> Vec<u8> {
    [b"(".to_vec(), items.iter().flat_map(|&item| number(item)).collect(), b"t".to_vec()].concat()
}

/// A tensor of a storage of `elements`.
pub fn tensor(class: &str, key: &str, elements: u64, offset: u64, shape: &[u64], strides: &[u64]) -> Vec<u8> {
    let storage = [
        b"(".to_vec(),
        text("storage"),
        format!("ctorch\n{class}\n").into_bytes(),
        text(key),
        text("cpu"),
        number(elements),
        b"NtQ".to_vec(),
    ];
    let parts = [number(offset), tuple(shape), tuple(strides), b"\x89NtR".to_vec()];
    [b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec(), storage.concat(), parts.concat()].concat()
}

/// A file of the object that these opcodes make, and of these storages, each with its number of elements.
pub fn file(object: &[u8], storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let mut file = [BEGIN, b"\x80\x02", object, b".\x80\x02]("].concat();
    for (key, ..) in storages {
        file.extend(text(key));
    }
    file.extend(b"e.");
    for (_, elements, bytes) in storages {
        file.extend(elements.to_le_bytes());
        file.extend(*bytes);
    }
    file
}

/// A file of these tensors.
pub fn of_tensors(tensors: &[Stored]) -> Vec<u8> {
    let mut object = b"}(".to_vec();
    let mut storages = Vec::new();
    let keys: Vec<String> = (0..tensors.len()).map(|key| key.to_string()).collect();
    for ((name, dtype, shape, bytes), key) in tensors.iter().zip(&keys) {
        let class = match dtype {
            Dtype::F32 => "FloatStorage",
            Dtype::I64 => "LongStorage",
            other => panic!("{other}"),
        };
        let shape: Vec<u64> = shape.iter().map(|&size| size as u64).collect();
        let strides: Vec<u64> = (1..=shape.len()).map(|first| shape[first..].iter().product()).collect();
        let elements = shape.iter().product();
        object.extend([text(name), tensor(class, key, elements, 0, &shape, &strides)].concat());
        storages.push((key.as_str(), elements, bytes.as_slice()));
    }
    object.push(b'u');
    file(&object, &storages)
}

/// A file that runs a command when it is read without care.
pub fn hostile() -> Vec<u8> {
    let call = [b"cos\nsystem\n".to_vec(), text("exit 3"), b"\x85R".to_vec()].concat();
    file(&[b"}".to_vec(), text("weight"), call, b"s".to_vec()].concat(), &[])
}

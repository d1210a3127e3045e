//! Weights as `torch.save` writes them: `tests/golden/pickles.py` makes the files. Tensors are those of safetensors, bit for
//! bit; a file that asks for anything else is refused, and no file takes more memory than it has bytes.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends at the first surprise")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::hugging_face::{folder, golden_folder, tensors, write};
use common::pickle::{file, hostile, number, of_tensors, tensor, text};
use serde_json::json;
use wgrad::files::{ModelFolder, Weights};
use wgrad::random::{below, mix};
use wgrad::store::Disk;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pickles").join(name)
}

/// Whether two files hold the same tensors: names, types, shapes, bits.
fn equal(found: &Weights, expected: &Weights) {
    let sorted = |weights: &Weights| {
        let mut names: Vec<String> = weights.names().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(found), sorted(expected));
    for name in expected.names() {
        assert_eq!(found.dtype(name), expected.dtype(name), "{name}");
        assert_eq!(found.shape(name), expected.shape(name), "{name}");
        let bits = |weights: &Weights| {
            let values =
                weights.f32(name).map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>());
            values.map_err(|error| error.to_string().split_once(": ").unwrap().1.to_owned())
        };
        assert_eq!(bits(found), bits(expected), "{name}");
    }
}

fn refusal(bytes: Vec<u8>) -> String {
    Weights::from_bytes(bytes, "pytorch_model.bin").unwrap_err().to_string()
}

#[track_caller]
fn refused(bytes: Vec<u8>, because: &str) {
    let told = refusal(bytes);
    assert!(told.starts_with("pytorch_model.bin: expected a PyTorch pickle of tensors"), "{told}");
    assert!(told.contains(because) && told.contains("weights_only=True"), "{told}");
}

/// A file of one tensor, `weight`.
fn single(tensor: Vec<u8>, storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
    file(&[b"}".to_vec(), text("weight"), tensor, b"s".to_vec()].concat(), storages)
}

#[test]
fn every_form_holds_the_tensors_of_safetensors() {
    let expected = Weights::open(golden("model.safetensors")).unwrap();
    for name in ["zip.bin", "legacy.bin", "protocol-4.bin", "parameters.bin", "nested.bin"] {
        equal(&Weights::open(golden(name)).unwrap(), &expected);
        // The name of a file says nothing.
        equal(&Weights::from_bytes(fs::read(golden(name)).unwrap(), "w").unwrap(), &expected);
    }
    equal(&Weights::open_folder(&Disk, golden("shards")).unwrap(), &expected);
    let types = Weights::open(golden("types.bin")).unwrap();
    equal(&types, &Weights::open(golden("types.safetensors")).unwrap());
    assert!(
        types
            .f32("int64")
            .unwrap_err()
            .to_string()
            .contains("expected `int64` as F32, F16, BF16 or F64, found I64")
    );
}

#[test]
fn strides_and_shared_storages_are_honoured() {
    let expected = Weights::open(golden("views.safetensors")).unwrap();
    for name in ["views.bin", "views-legacy.bin"] {
        let found = Weights::open(golden(name)).unwrap();
        equal(&found, &expected);
        let rows = found.rows("transposed").unwrap().f32(&[7, 0]).unwrap();
        assert_eq!(rows, expected.rows("transposed").unwrap().f32(&[7, 0]).unwrap());
    }
}

#[test]
fn fault_16_what_asks_for_more_than_tensors_is_refused_by_name() {
    for (name, asks) in [
        ("hostile.bin", "asks for `posix.system`"),
        ("hostile-legacy.bin", "asks for `posix.system`"),
        ("module.bin", "asks for `torch.nn.modules.linear.Linear`"),
    ] {
        refused(fs::read(golden(name)).unwrap(), asks);
    }
    refused(hostile(), "asks for `os.system`, which is no part of a tensor: it was not run");
    for (module, name) in [
        ("builtins", "eval"),
        ("torch.storage", "_load_from_bytes"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch", "StorageStorage"),
        ("collections", "defaultdict"),
        ("collections\u{1b}[2J", "OrderedDict"),
        ("torch._utils", "_rebuild_sparse_tensor"),
    ] {
        let asks = format!("c{module}\n{name}\n").into_bytes();
        let by_name = [text(module), text(name), b"\x93".to_vec()].concat();
        let told = format!("asks for `{}.{name}`", module.escape_debug());
        refused(file(&asks, &[]), &told);
        refused(file(&by_name, &[]), &told);
    }
    // Other ways to run code: extensions, instances, new objects, text as code.
    for opcode in [
        &b"\x82\x01"[..],
        b"(cos\nsystem\no",
        b"(ios\nsystem\n",
        b")\x81",
        b"S'a'\n",
        b"I1\n",
        b"P1\n",
        b"\x92",
    ] {
        let told = refusal(file(opcode, &[]));
        assert!(told.contains("was not run") || told.contains("asks for"), "{told}");
    }
}

#[test]
fn sizes_are_weighed_before_anything_is_made_of_them() {
    let four = [0u8; 16];
    let storage: &[(&str, u64, &[u8])] = &[("0", 4, &four)];
    let float = |elements, offset, shape: &[u64], strides: &[u64]| {
        tensor("FloatStorage", "0", elements, offset, shape, strides)
    };
    assert_eq!(
        Weights::from_bytes(single(float(4, 0, &[2, 2], &[2, 1]), storage), "w")
            .unwrap()
            .f32("weight")
            .unwrap(),
        [0.0; 4]
    );
    let huge = 1 << 40;
    refused(single(float(huge, 0, &[huge], &[1]), storage), "a storage `0` of 1099511627776 F32 in 16 bytes");
    refused(
        single(float(u64::MAX, 0, &[2], &[1]), storage),
        "a storage `0` of 18446744073709551615 F32 in 16 bytes",
    );
    refused(
        single(float(huge, 0, &[huge], &[1]), &[("0", huge, &four)]),
        "the file cut short in the storage `0`",
    );
    // Repeated elements are no way to a large tensor, nor are overlapping ones.
    for (offset, shape, strides) in [
        (0, vec![huge], vec![0]),
        (0, vec![5], vec![1]),
        (4, vec![1], vec![1]),
        (1, vec![2, 2], vec![2, 1]),
        (u64::MAX, vec![2], vec![1]),
        (0, vec![2], vec![u64::MAX]),
        (0, vec![3, 3], vec![0, 1]),
        (0, vec![u64::MAX, u64::MAX], vec![1, 1]),
        (0, vec![u64::MAX, 0], vec![1, 1]),
    ] {
        refused(
            single(float(4, offset, &shape, &strides), storage),
            "which its storage of 4 elements does not hold",
        );
    }
    // Copies of one storage in many tensors.
    let mut object = b"}(".to_vec();
    for offset in 0..40u64 {
        object.extend(text(&offset.to_string()));
        object.extend(float(4000, offset, &[40, 40], &[1, 90]));
    }
    object.push(b'u');
    let many = vec![0u8; 16000];
    refused(file(&object, &[("0", 4000, &many)]), "more elements in transposed tensors than the file has");
    refused(single(float(4, 0, &[1; 9], &[1; 9]), storage), "a tensor of 9 dimensions");
    refused(single(float(4, 0, &[2, 2], &[1]), storage), "a tensor of 2 dimensions with 1 strides");
    refused(single(float(4, 0, &[1], &[1]), &[]), "no storage `0`");
}

#[test]
fn deep_and_growing_pickles_are_refused() {
    let nested = |open: &[u8], times: usize, close: &[u8]| {
        file(&[open.repeat(times), close.repeat(times)].concat(), &[])
    };
    refused(nested(b"]", 500_000, b"a"), "a pickle");
    refused(nested(b")", 1, b"\x85"), "no dict of tensors");
    refused(file(&[&b")"[..], &b"\x85".repeat(900_000)].concat(), &[]), "no dict of tensors");
    refused(file(&b"N".repeat(2_000_000), &[]), "a pickle of more than 1048576 values");
    refused(file(&b"(".repeat(20_000_000), &[]), "a pickle of more than 16777216 bytes");
    // Each list twice in the next: a billion items, were they counted out.
    let doubled = b"]q\x00(h\x00h\x00e".repeat(30);
    refused(file(&doubled, &[]), "no dict of tensors");
    // A dict of many pairs made again and again of one list.
    let pairs =
        [&b"](("[..], &number(1), &number(2), b"tq\x00", &b"h\x00".repeat(100_000), b"eq\x01"].concat();
    let again = b"ccollections\nOrderedDict\nh\x01\x85R".repeat(20);
    refused(file(&[pairs, again].concat(), &[]), "a pickle of more than 1048576 values");
    for (opcodes, because) in [
        (&b"h\x07"[..], "recalls what it did not put"),
        (b"\x85", "takes what it did not put"),
        (b"N(\x85", "takes what it did not put"),
        (b"t", "takes what it did not put"),
        (b"X\xff\xff\xff\xff", "cut short"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "cut short"),
        (b"X\x01\0\0\0\xff", "not UTF-8"),
        (b"\x8a\x11aaaaaaaaaaaaaaaaa", "a number of 17 bytes"),
        (b"}(Nu", "a key without a value"),
        (b"}NNs", "a key that is no text"),
        (b"}X\x01\0\0\0aNs", "`a`, which is no tensor"),
        (b"}", "no tensors"),
        (b"N)R", "a call of what is no function"),
        (b"N)b", "attributes for what is no dict"),
        (b"NQ", "a reference to no storage"),
    ] {
        refused(file(opcodes, &[]), because);
    }
}

#[test]
fn files_that_are_cut_short_or_packed_are_refused() {
    for name in ["zip.bin", "views-legacy.bin"] {
        let whole = fs::read(golden(name)).unwrap();
        for length in 0..whole.len() {
            refusal(whole[..length].to_vec());
        }
    }
    // A member whose method is no longer 0, in its own header and in the list at the end.
    let mut packed = fs::read(golden("zip.bin")).unwrap();
    for (mark, method) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
        let at = packed.windows(4).position(|four| four == mark).unwrap();
        packed[at + method] = 8;
    }
    refused(packed, "`zip/data.pkl` packed, as PyTorch never does");
    let whole = fs::read(golden("zip.bin")).unwrap();
    let at = whole.windows(6).position(|six| six == b"little").unwrap();
    let other = [&whole[..at], b"big   ", &whole[at + 6..]].concat();
    refused(other, "numbers of the byte order `big   `");
}

#[test]
fn safetensors_come_first() {
    let dir = folder(|tensors| tensors, |_| {});
    let path = dir.path().join("model.safetensors");
    let all = tensors(&path);
    fs::write(dir.path().join("pytorch_model.bin"), hostile()).unwrap();
    let expected = ModelFolder::load(dir.path()).unwrap();
    fs::remove_file(&path).unwrap();
    let told = ModelFolder::load(dir.path()).unwrap_err().to_string();
    assert!(told.contains("pytorch_model.bin: ") && told.contains("asks for `os.system`"), "{told}");
    // What is right in one form is right in the other, and says the same.
    fs::write(dir.path().join("pytorch_model.bin"), of_tensors(&all)).unwrap();
    let found = ModelFolder::load(dir.path()).unwrap();
    equal(&found.weights, &expected.weights);
    assert_eq!((found.config, found.left_out), (expected.config.clone(), expected.left_out.clone()));
    assert!(ModelFolder::is_whole(dir.path()));
    // Several files.
    fs::remove_file(dir.path().join("pytorch_model.bin")).unwrap();
    let mut map = serde_json::Map::new();
    for (number, part) in all.chunks(all.len().div_ceil(2)).enumerate() {
        let name = format!("pytorch_model-0000{}-of-00002.bin", number + 1);
        fs::write(dir.path().join(&name), of_tensors(part)).unwrap();
        map.extend(part.iter().map(|(tensor, ..)| (tensor.clone(), json!(name))));
    }
    let index = dir.path().join("pytorch_model.bin.index.json");
    assert!(!ModelFolder::is_whole(dir.path()));
    fs::write(index, json!({"weight_map": map}).to_string()).unwrap();
    equal(&ModelFolder::load(dir.path()).unwrap().weights, &expected.weights);
    // Safetensors under the name of the other are what they are.
    write(&dir.path().join("pytorch_model.bin"), &tensors(&golden_folder().join("model.safetensors")));
    equal(&ModelFolder::load(dir.path()).unwrap().weights, &expected.weights);
}

/// Memory that the process had at most, in bytes, where the system says so.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Reads everything that a file offers; only panics, and memory, fail.
fn read_all(bytes: Vec<u8>) -> bool {
    let Ok(weights) = Weights::from_bytes(bytes, "w") else { return false };
    for name in weights.names() {
        let elements: usize = weights.shape(name).unwrap().iter().product();
        if let Ok(values) = weights.f32(name) {
            assert_eq!(values.len(), elements);
        }
    }
    true
}

#[test]
fn changed_bytes_never_panic_nor_take_memory() {
    let seeds = [
        "zip.bin",
        "legacy.bin",
        "views.bin",
        "views-legacy.bin",
        "types.bin",
        "hostile.bin",
        "protocol-4.bin",
    ];
    let seeds = seeds.map(|name| fs::read(golden(name)).unwrap());
    let mut drawn = 0;
    let mut below = |limit: usize| {
        drawn += 1;
        below(mix(drawn), limit as u32) as usize
    };
    let before = peak();
    let mut read = 0;
    for round in 0..6000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..=below(4) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes[at] = below(256) as u8,
                1 => bytes[at] ^= 1 << below(8),
                // What sizes and opcodes like least.
                2 => bytes[at] = [0, 0xff, 0x7f, 0x80, b'(', b't', b'R', b'Q', b'.'][below(9)],
                _ => {
                    let from = below(bytes.len());
                    let length = below(24).min(bytes.len() - at.max(from));
                    bytes.copy_within(from..from + length, at);
                }
            }
        }
        if below(8) == 0 {
            bytes.truncate(below(bytes.len()));
        }
        read += usize::from(read_all(bytes));
    }
    // Many changes hit numbers alone; a reader that refuses everything would prove nothing.
    assert!(read > 500, "{read} of 6000 were read");
    if let (Some(before), Some(after)) = (before, peak()) {
        // Beside this one the other tests of the file run, whose largest input has 20 MB.
        assert!(after - before < 400 << 20, "{} MB more", (after - before) >> 20);
    }
}

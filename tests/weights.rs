//! Reading safetensors files, sound and broken.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use wgrad::files::Weights;

/// A file from its JSON and the tensors' bytes.
fn file(json: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let json = json.as_ref();
    [&(json.len() as u64).to_le_bytes()[..], json, data].concat()
}

/// What opening these bytes says, which is always one line that names the file.
fn refusal(bytes: impl Into<Vec<u8>>) -> String {
    let message = Weights::from_bytes(bytes.into(), "m/model.safetensors").unwrap_err().to_string();
    assert!(message.starts_with("m/model.safetensors: expected "), "{message}");
    assert!(!message.contains('\n'), "{message}");
    message
}

fn refused(bytes: impl Into<Vec<u8>>, because: &str) {
    let message = refusal(bytes);
    assert!(message.contains(because), "{message:?} lacks {because:?}");
}

/// One tensor `a` of one stored type.
fn single(dtype: Dtype, shape: &[usize], data: &[u8]) -> Weights {
    let view = TensorView::new(dtype, shape.to_vec(), data).unwrap();
    let bytes = safetensors::serialize([("a", view)], None).unwrap();
    Weights::from_bytes(bytes, "model.safetensors").unwrap()
}

fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

const TWO: &str = r#"{"__metadata__":{"format":"pt"},
    "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[1,2],"data_offsets":[8,12]}}"#;

fn two() -> Vec<u8> {
    let halves = [f16::from_f32(0.5), f16::from_f32(-3.0)].map(f16::to_le_bytes).concat();
    file(TWO, &[le(&[1.0, -2.5]), halves].concat())
}

#[test]
fn reads_names_shapes_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, two()).unwrap();
    for weights in [Weights::open(&path).unwrap(), Weights::from_bytes(two(), &path).unwrap()] {
        assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (weights.shape("a"), weights.shape("b"), weights.shape("c")),
            (Some(&[2][..]), Some(&[1, 2][..]), None)
        );
        assert_eq!(weights.f32("a").unwrap(), [1.0, -2.5]);
        assert_eq!(weights.f32("b").unwrap(), [0.5, -3.0]);
        assert_eq!(weights.f16("a").unwrap(), [f16::from_f32(1.0), f16::from_f32(-2.5)]);
        assert_eq!(weights.metadata("format"), Some("pt"));
        assert_eq!(weights.metadata("other"), None);
        let error = weights.f32("c\n").unwrap_err().to_string();
        assert!(error.ends_with(r"expected a tensor `c\n`, found 2 tensors, none with that name"), "{error}");
    }
}

#[test]
fn agrees_with_the_safetensors_crate() {
    let (one, two) = (le(&[1.0; 6]), le(&[2.0, 3.0]));
    let views = [("x", vec![2, 3], &one), ("y", vec![2], &two), ("empty", vec![0, 4], &vec![])];
    let views = views.map(|(n, shape, data)| (n, TensorView::new(Dtype::F32, shape, data).unwrap()));
    let weights = Weights::from_bytes(safetensors::serialize(views, None).unwrap(), "w").unwrap();
    assert_eq!(weights.f32("x").unwrap(), [1.0; 6]);
    assert_eq!(weights.f32("y").unwrap(), [2.0, 3.0]);
    assert!(weights.f32("empty").unwrap().is_empty());
    assert_eq!(weights.shape("empty"), Some(&[0, 4][..]));
}

#[test]
fn fault_1_a_header_longer_than_the_file() {
    let mut bytes = two();
    bytes[..8].copy_from_slice(&5000u64.to_le_bytes());
    refused(bytes, "a header of 5000 bytes in a file of");
}

#[test]
fn fault_2_a_header_over_100_mb() {
    for length in [100_000_001, 1 << 40, u64::MAX, u64::MAX - 7] {
        refused([&length.to_le_bytes()[..], b"{}"].concat(), "a header of at most 100000000 bytes");
    }
}

#[test]
fn fault_3_a_header_that_is_not_json() {
    refused(file(b"{\"a\xff\":1}", b""), "a safetensors header in UTF-8");
    refused(file("{\"a\":", b""), "a safetensors header in JSON");
    refused(file("[1, 2]", b""), "expected an object");
    refused(file("", b""), "a safetensors header in JSON");
    let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
    refused(file(deep, b""), "a safetensors header in JSON");
    let deep = format!("{{\"a\":{{\"shape\":[1],\"x\":{}", "{\"x\":".repeat(1_000_000));
    refused(file(deep, b""), "a safetensors header in JSON");
    refused(file(r#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, b"1234"), "`a`: ");
    refused(file(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, b"1234"), "`a`: ");
    refused(
        file(r#"{"a":{"dtype":"Q9","shape":[1],"data_offsets":[0,4]}}"#, b"1234"),
        "unknown variant `Q9`",
    );
    refused(file(r#"{"a":{"dtype":"F32","shape":[1]}}"#, b"1234"), "missing field `data_offsets`");
    refused(file(r#"{"__metadata__":{"a":1}}"#, b""), "expected a string");
}

fn pair(first: [usize; 2], second: [usize; 2], shape: usize) -> String {
    format!(
        r#"{{"a":{{"dtype":"U8","shape":[{shape}],"data_offsets":{first:?}}},
            "b":{{"dtype":"U8","shape":[{shape}],"data_offsets":{second:?}}}}}"#
    )
}

#[test]
fn fault_4_overlaps_holes_and_trailing_bytes() {
    refused(file(pair([0, 4], [2, 6], 4), b"123456"), "`b` starting at byte 2, inside `a`");
    refused(file(pair([0, 4], [0, 4], 4), b"1234"), "`b` starting at byte 0, inside `a`");
    refused(file(pair([0, 4], [6, 10], 4), b"1234567890"), "a hole at bytes 4 to 6, before `b`");
    refused(file(pair([1, 5], [5, 9], 4), b"123456789"), "a hole at bytes 0 to 1, before `a`");
    refused(file(pair([0, 4], [4, 8], 4), b"1234567890"), "found 2 bytes more");
    refused(file(pair([4, 0], [4, 8], 4), b"12345678"), "`a` ending at byte 0, before its start 4");
    refused(file("{}", b"1"), "found 1 bytes more");
    // Data in another order than the header's names is sound.
    let swapped = Weights::from_bytes(file(pair([4, 8], [0, 4], 4), b"12345678"), "w").unwrap();
    assert_eq!(swapped.names().collect::<Vec<_>>(), ["b", "a"]);
}

#[test]
fn fault_5_a_shape_that_overflows_or_has_other_bytes() {
    let tensor = |dtype: &str, shape: &str, end: u64| {
        file(
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#),
            b"12345678",
        )
    };
    refused(tensor("F32", "[4294967296,4294967296,4294967296]", 8), "which overflows");
    refused(tensor("F32", "[9223372036854775807]", 8), "which overflows");
    refused(tensor("F32", "[3]", 8), "expected 12 bytes for `a`, F32 [3], found 8 bytes");
    refused(tensor("F32", "[]", 8), "expected 4 bytes for `a`, F32 [], found 8 bytes");
    refused(tensor("F4", "[15]", 8), "found 8 bytes");
    refused(tensor("F32", "[2]", u64::MAX), "cut short");
    refused(tensor("F32", "[99999999999999999999]", 8), "a safetensors header in JSON");
}

#[test]
fn fault_6_duplicate_keys() {
    let tensor = r#""a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    refused(file(format!("{{{tensor},{tensor}}}"), b"1"), "the key `a` comes twice");
    refused(file(r#"{"__metadata__":{"k":"1","k":"2"}}"#, b""), "the key `k` comes twice");
    refused(file(r#"{"__metadata__":{},"__metadata__":{}}"#, b""), "the key `__metadata__` comes twice");
    let inner = r#"{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#;
    refused(file(inner, b"1"), "duplicate field `dtype`");
}

#[test]
fn fault_7_files_that_are_something_else() {
    let whole = two();
    for length in 0..whole.len() {
        refusal(&whole[..length]);
    }
    refused(&whole[..whole.len() - 1], "the file is cut short");
    refused(&whole[..100], "cut short");
    refused("", "an empty file");
    refused("abc", "found 3 bytes");
    refused("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "a Git LFS pointer");
    for page in ["<!DOCTYPE html><html>", "\n  <html lang=en>", "\u{feff}<?xml version=\"1.0\"?>", "<html>"] {
        refused(page, "a web page");
    }
    // A header of 0x3c bytes begins with `<` and is no page.
    let json = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}       "#;
    assert_eq!(file(json, b"1")[0], b'<');
    Weights::from_bytes(file(json, b"1"), "w").unwrap();
}

#[test]
fn fault_8_other_types_are_converted_or_refused() {
    let f64s: Vec<u8> = [0.1f64, -1e30].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(single(Dtype::F64, &[2], &f64s).f32("a").unwrap(), [0.1f32, -1e30]);
    let brain: Vec<u8> = [1.5f32, -1e30].iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
    assert_eq!(single(Dtype::BF16, &[2], &brain).f32("a").unwrap(), [1.5, bf16::from_f32(-1e30).to_f32()]);
    let halves: Vec<u8> = [1.5f32, 65504.0].iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
    assert_eq!(single(Dtype::F16, &[2], &halves).f32("a").unwrap(), [1.5, 65504.0]);
    for (dtype, bytes) in [(Dtype::I64, 8), (Dtype::F8_E4M3, 1), (Dtype::BOOL, 1), (Dtype::U32, 4)] {
        let weights = single(dtype, &[1], &vec![0; bytes]);
        assert_eq!(weights.dtype("a"), Some(dtype));
        for error in [weights.f32("a").unwrap_err(), weights.f16("a").unwrap_err()] {
            let expected = format!("model.safetensors: expected `a` as F32, F16, BF16 or F64, found {dtype}");
            assert_eq!(error.to_string(), expected);
        }
    }
}

#[test]
fn fault_11_non_finite_weights_need_permission() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let weights = single(Dtype::F32, &[3], &le(&[1.0, bad, 2.0]));
        let error = weights.f32("a").unwrap_err().to_string();
        let expected =
            "model.safetensors: expected finite weights in `a`, found NaN or infinity at element 1";
        assert_eq!(error, expected);
        assert!(weights.f16("a").is_err());
        let values = weights.allow_non_finite(true).f32("a").unwrap();
        assert_eq!(values[1].to_bits(), bad.to_bits());
    }
    assert!(single(Dtype::F64, &[1], &1e300f64.to_le_bytes()).f32("a").is_err());
    let large = single(Dtype::F32, &[1], &le(&[1e6]));
    assert_eq!(large.f32("a").unwrap(), [1e6]);
    assert!(large.f16("a").is_err());
}

/// A tensor that no model asks for is no reason to take a broken file.
#[test]
fn fault_11_all_of_a_file_is_checked() {
    // Larger than the part that is checked at once.
    let mut values = vec![1.0; 300_000];
    single(Dtype::F32, &[values.len()], &le(&values)).check().unwrap();
    values[299_000] = f32::NAN;
    let weights = single(Dtype::F32, &[values.len()], &le(&values));
    let told = weights.check().unwrap_err().to_string();
    assert!(told.contains("in `a`, found NaN or infinity at element 299000"), "{told}");
    weights.allow_non_finite(true).check().unwrap();
    // Whole numbers, as tables of positions, are never otherwise.
    single(Dtype::I64, &[1], &i64::MIN.to_le_bytes()).check().unwrap();
}

#[test]
fn rows_are_read_as_they_are_wanted() {
    // Larger than the part that is checked at once, so that the number of a wrong element is counted through.
    let (rows, width) = (3000, 128);
    let mut values: Vec<f32> = (0..rows * width).map(|i| (i % 2048) as f32 - 1000.0).collect();
    let stored = |dtype, values: &[f32]| match dtype {
        Dtype::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        _ => le(values),
    };
    for dtype in [Dtype::F32, Dtype::F16] {
        let weights = single(dtype, &[rows, width], &stored(dtype, &values));
        let table = weights.rows("a").unwrap();
        drop(weights);
        let chosen = [0, 2999, 1, 1].map(|row: u32| &values[row as usize * width..][..width]).concat();
        assert_eq!(table.f32(&[0, 2999, 1, 1]).unwrap(), chosen);
        assert!(table.f32(&[]).unwrap().is_empty());
        let told = table.f32(&[3000]).unwrap_err().to_string();
        assert!(told.contains("a row 3000 of `a`, found 3000 rows"), "{told}");
    }
    let wrong = rows * width - 5;
    values[wrong] = f32::NAN;
    let weights = single(Dtype::F32, &[rows, width], &le(&values));
    let told = weights.rows("a").err().unwrap().to_string();
    assert!(told.contains(&format!("NaN or infinity at element {wrong}")), "{told}");
    let table = weights.allow_non_finite(true).rows("a").unwrap();
    assert!(table.f32(&[2999]).unwrap()[width - 5].is_nan());
    let told = single(Dtype::F32, &[4], &le(&[0.0; 4])).rows("a").err().unwrap().to_string();
    assert!(told.contains("a matrix `a`, found a shape of [4]"), "{told}");
}

#[test]
fn fault_16_what_begins_as_a_pickle_is_read_as_one() {
    for bytes in [
        &b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl"[..],
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M",
    ] {
        let error = refusal(bytes);
        assert!(error.contains("a PyTorch pickle") && error.contains("save_file"), "{error}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.safetensors");
    let error = Weights::open(&missing).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot read: ", missing.display())), "{error}");
    assert!(Weights::open(folder.path()).is_err());
    let empty = folder.path().join("empty.safetensors");
    std::fs::write(&empty, b"").unwrap();
    assert!(Weights::open(&empty).unwrap_err().to_string().contains("an empty file"));
}

/// Reads everything a file offers; only panics fail.
fn read_all(bytes: Vec<u8>) {
    if let Ok(weights) = Weights::from_bytes(bytes, "w") {
        let names: Vec<String> = weights.names().map(String::from).collect();
        for name in names {
            let elements: usize = weights.shape(&name).unwrap().iter().product();
            if let Ok(values) = weights.f32(&name) {
                assert_eq!(values.len(), elements);
            }
        }
    }
}

#[test]
fn every_change_of_one_byte_never_panics() {
    let whole = two();
    for at in 0..whole.len() {
        for value in 0..=255 {
            let mut bytes = whole.clone();
            bytes[at] = value;
            read_all(bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn changed_bytes_never_panic(edits in prop::collection::vec((0usize..220, any::<u8>()), 1..6), cut in prop::option::of(0usize..260)) {
        let mut bytes = two();
        for (at, value) in edits {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        read_all(bytes);
    }

    #[test]
    fn any_places_and_shapes_never_panic(
        shape in prop::collection::vec(prop_oneof![0usize..5, any::<usize>()], 0..4),
        start in prop_oneof![0usize..20, any::<usize>()],
        end in prop_oneof![0usize..20, any::<usize>()],
        data in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let json = format!(
            r#"{{"a":{{"dtype":"F16","shape":{shape:?},"data_offsets":[{start},{end}]}},
                "b":{{"dtype":"F64","shape":[1],"data_offsets":[{end},{start}]}}}}"#
        );
        read_all(file(json, &data));
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(bytes.clone());
        read_all(file(&bytes, b"12345678"));
    }
}

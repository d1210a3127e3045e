//! Files changed at random, with what they are built of in mind.

use serde_json::{Map, Value, json};
use wgrad::random::{below, mix};

/// Random numbers that follow from a seed.
pub(crate) struct Source {
    seed: u64,
    drawn: u64,
}

impl Source {
    /// The numbers of one input.
    pub(crate) fn new(seed: u64, input: u64) -> Self {
        Source { seed: mix(mix(seed) ^ input), drawn: 0 }
    }

    /// A number below `most`, which is not 0.
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.drawn += 1;
        below(mix(self.seed ^ mix(self.drawn)), most as u32) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// What a file is built of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// Bytes, numbers among them.
    Bytes,
    /// One value of JSON.
    Json,
    /// Lines, of JSON or of cells.
    Rows,
    /// A length of eight bytes, JSON of so many bytes, and more bytes: safetensors.
    Headed,
}

/// The file with one to four changes.
pub(crate) fn mutate(bytes: &[u8], shape: Shape, random: &mut Source) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    for _ in 0..=random.below(4) {
        // Now and then a file of any kind is changed as bytes are, so that it is broken in other ways too.
        let shape = if random.below(8) == 0 { Shape::Bytes } else { shape };
        changed = match shape {
            Shape::Bytes => of_bytes(changed, random),
            Shape::Json => of_json(&changed, random),
            Shape::Rows => of_rows(&changed, random),
            Shape::Headed => headed(&changed, random),
        };
    }
    changed
}

/// Numbers at which sizes overflow, signs turn, or limits lie.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

fn of_bytes(mut bytes: Vec<u8>, random: &mut Source) -> Vec<u8> {
    if bytes.is_empty() {
        return b"\0".to_vec();
    }
    // Headers and footers say what the rest is.
    let length = bytes.len();
    let at = match random.below(3) {
        0 => random.below(length.min(64)),
        1 => length - 1 - random.below(length.min(64)),
        _ => random.below(length),
    };
    let end = (at + 1 + random.below(64)).min(length);
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.below(256) as u8,
        2 => bytes.truncate(at),
        3 => _ = bytes.drain(at..end),
        4 => {
            let piece = bytes[at..end].to_vec();
            let to = random.below(length);
            bytes.splice(to..to, piece);
        }
        5 => bytes[at..end].fill(*random.one(&[0, 0xff, b'A', b'{', b'"'])),
        6 => {
            let piece: Vec<u8> = (0..1 + random.below(16)).map(|_| random.below(256) as u8).collect();
            bytes.splice(at..at, piece);
        }
        _ => {
            let number = *random.one(&NUMBERS);
            let mut number =
                if random.below(4) == 0 { number.to_be_bytes() } else { number.to_le_bytes() }.to_vec();
            number.truncate(*random.one(&[2, 4, 8]));
            for (byte, value) in bytes[at..].iter_mut().zip(number) {
                *byte = value;
            }
        }
    }
    bytes
}

fn of_json(bytes: &[u8], random: &mut Source) -> Vec<u8> {
    match serde_json::from_slice::<Value>(bytes) {
        Err(_) => of_bytes(bytes.to_vec(), random),
        Ok(mut value) => {
            let values = count(&value);
            let other =
                node(&mut value, &mut random.below(values)).map(|node| node.clone()).unwrap_or_default();
            if let Some(place) = node(&mut value, &mut random.below(values)) {
                change(place, other, random);
            }
            let mut text = value.to_string().into_bytes();
            // What a parser takes the last of: a key that comes twice.
            if random.below(12) == 0 && text.starts_with(b"{\"") {
                text.splice(
                    1..1,
                    b"\"model_type\":\"bert\",\"version\":3,\"model_type\":null,".iter().copied(),
                );
            }
            text
        }
    }
}

/// How many values there are in a tree.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(keys) => keys.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// The value of that number, from the root on.
fn node<'a>(value: &'a mut Value, number: &mut usize) -> Option<&'a mut Value> {
    if *number == 0 {
        return Some(value);
    }
    *number -= 1;
    match value {
        Value::Array(list) => list.iter_mut().find_map(|value| node(value, number)),
        Value::Object(keys) => keys.values_mut().find_map(|value| node(value, number)),
        _ => None,
    }
}

fn change(place: &mut Value, other: Value, random: &mut Source) {
    match (&mut *place, random.below(4)) {
        (Value::Object(keys), 0..2) if !keys.is_empty() => {
            let key = keys.keys().nth(random.below(keys.len())).cloned().unwrap_or_default();
            match random.below(3) {
                0 => _ = keys.remove(&key),
                1 => {
                    let value = keys.remove(&key).unwrap_or_default();
                    keys.insert(word(&key, random), value);
                }
                _ => _ = keys.insert(word(&key, random), other),
            }
        }
        (Value::Array(list), 0..2) if !list.is_empty() => {
            let at = random.below(list.len());
            match random.below(4) {
                0 => _ = list.remove(at),
                1 => list.insert(at, other),
                2 => list.swap(0, at),
                _ => list.extend_from_within(at..),
            }
        }
        (Value::String(text), 0..3) => *text = word(text, random),
        (Value::Number(number), 0..3) => {
            let near = number.as_i64().map(|number| match random.below(4) {
                0 => number.wrapping_add(1),
                1 => number.wrapping_sub(1),
                2 => number.wrapping_neg(),
                _ => number.wrapping_mul(2),
            });
            *place = near.map_or(json!(0.5), |near| json!(near));
        }
        _ => *place = extreme(other, random),
    }
}

/// A value that nobody expects.
fn extreme(other: Value, random: &mut Source) -> Value {
    match random.below(12) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 | 3 => json!(random.one(&NUMBERS)),
        4 => json!(*random.one(&[-1.0, 0.5, 1e-320, 1e300, -1e300])),
        5 => json!(""),
        6 => json!("a".repeat(1 << random.below(16))),
        7 => json!([]),
        8 => json!({}),
        9 => (0..100).fold(other, |inner, _| json!([inner])),
        10 => json!(vec![other; 1 + random.below(20)]),
        _ => other,
    }
}

/// A text like `text`, or one that paths, patterns and terminals take for more than a text.
fn word(text: &str, random: &mut Source) -> String {
    match random.below(8) {
        0 => String::new(),
        1 => (*random.one(&[
            "../x",
            "/etc/passwd",
            "a\0b",
            "\u{1b}[2J",
            "\u{202e}",
            "[MASK]",
            "(a+)+$",
            "(?=)",
            "{",
        ]))
        .into(),
        2 => text.repeat(1 + random.below(8)),
        3 => text.to_uppercase(),
        4 => text.chars().rev().collect(),
        5 => text.chars().skip(1).collect(),
        6 => format!("{text}{text}"),
        _ => format!("{text}\u{301}"),
    }
}

fn of_rows(bytes: &[u8], random: &mut Source) -> Vec<u8> {
    let mut rows: Vec<Vec<u8>> = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let at = random.below(rows.len());
    match random.below(8) {
        0 => _ = rows.remove(at),
        1 => rows.insert(at, rows[at].clone()),
        2 => {
            let to = random.below(rows.len());
            rows.swap(at, to);
        }
        3 => rows.truncate(at),
        4..6 if rows[at].starts_with(b"{") => rows[at] = of_json(&rows[at], random),
        4 => {
            let with = *random.one(&[b',', b'\t', b'"', b'\r', b'\0', 0xff]);
            let place = random.below(rows[at].len() + 1);
            rows[at].insert(place, with);
        }
        5 => {
            let cells: Vec<Vec<u8>> = rows[at].split(|&byte| byte == b'\t').map(<[u8]>::to_vec).collect();
            rows[at] = cells.into_iter().rev().collect::<Vec<_>>().join(&b'\t');
        }
        _ => rows[at] = of_bytes(std::mem::take(&mut rows[at]), random),
    }
    rows.join(&b'\n')
}

/// Of safetensors the header is changed, and its length written again, or not.
fn headed(bytes: &[u8], random: &mut Source) -> Vec<u8> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return of_bytes(bytes.to_vec(), random);
    };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX).min(rest.len());
    let (header, data) = rest.split_at(length);
    let header = match serde_json::from_slice::<Map<String, Value>>(header) {
        // Places of tensors, exchanged and moved.
        Ok(mut tensors) if random.below(3) == 0 && tensors.len() > 1 => {
            let key = |random: &mut Source| {
                tensors.keys().nth(random.below(tensors.len())).cloned().unwrap_or_default()
            };
            let [from, to] = [key(random), key(random)];
            let field = *random.one(&["data_offsets", "shape", "dtype"]);
            let value = tensors[&from].get(field).cloned().unwrap_or_default();
            if let Some(fields) = tensors[&to].as_object_mut() {
                fields.insert(field.to_owned(), value);
            }
            Value::Object(tensors).to_string().into_bytes()
        }
        _ => of_json(header, random),
    };
    let told = if random.below(8) == 0 { *random.one(&NUMBERS) } else { header.len() as u64 };
    [&told.to_le_bytes()[..], &header, data].concat()
}

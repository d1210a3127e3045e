//! The wanted fields of JSON objects, one a line or in one array.

use std::fmt;
use std::io::{self, BufRead};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::clean::CleanReader;
use super::lost::OTHER_COLUMN;
use crate::budget;
use crate::format::shortened;

/// What was expected and what was found.
pub(super) type Complaint = (String, String);

/// What became of the wanted fields of an object.
pub(super) enum Found {
    /// Their values, one per column.
    Values(Vec<String>),
    /// The object has no such field.
    Missing(Complaint),
    /// What is there cannot be used.
    Broken(Complaint),
}

/// How the objects of a file follow one another.
#[derive(Debug)]
pub(super) enum Layout {
    /// Not yet known: nothing was read.
    Unknown,
    /// One a line.
    Lines,
    /// In an array, or over several lines each.
    Spread,
}

/// The next object of `reader` is put into `buffer`; none at the end. `line` is raised to the last line read, and what is
/// given back is the line on which the object begins.
pub(super) fn next_object(
    reader: &mut CleanReader,
    layout: &mut Layout,
    line: &mut u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<u64>> {
    loop {
        buffer.clear();
        if matches!(layout, Layout::Spread) {
            return spread_object(reader, line, buffer);
        }
        if reader.read_until(b'\n', buffer)? == 0 {
            return Ok(None);
        }
        *line += 1;
        let text = buffer.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if matches!(layout, Layout::Unknown) {
            // An array, or an object that does not end on its line.
            let open = text.starts_with(b"[") || text == b"{";
            *layout = if open { Layout::Spread } else { Layout::Lines };
            if open {
                let rest = text.strip_prefix(b"[").unwrap_or(text);
                reader.push_back(&[rest, b"\n"].concat());
                *line -= 1;
                continue;
            }
        }
        return Ok(Some(*line));
    }
}

/// The next object of an array, found by its brackets: what stands between two objects does not matter.
fn spread_object(reader: &mut CleanReader, line: &mut u64, buffer: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    let mut begun = *line;
    loop {
        let ready = reader.fill_buf()?;
        if ready.is_empty() {
            return Ok((!buffer.is_empty()).then_some(begun + 1));
        }
        let mut taken = 0;
        for &byte in ready {
            taken += 1;
            if byte == b'\n' {
                *line += 1;
            }
            if depth == 0 && byte != b'{' {
                // Values that are no objects are rows too, and broken ones.
                if byte.is_ascii_whitespace() || matches!(byte, b',' | b']') {
                    if buffer.is_empty() {
                        continue;
                    }
                    reader.consume(taken);
                    return Ok(Some(begun + 1));
                }
                if buffer.is_empty() {
                    begun = *line;
                }
                buffer.push(byte);
                continue;
            }
            if depth == 0 {
                begun = *line;
            }
            buffer.push(byte);
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => depth += 1,
                b'}' | b']' if !quoted => {
                    depth -= 1;
                    if depth == 0 {
                        reader.consume(taken);
                        return Ok(Some(begun + 1));
                    }
                }
                _ => {}
            }
        }
        reader.consume(taken);
    }
}

/// The wanted fields of one object; numbers and booleans as they are written, null as an empty text. A column `a.b` is the
/// field `b` of the object `a`, where no field is called so.
/// With `lists` an array is the text of its JSON.
pub(super) fn values(object: &[u8], columns: &[String], lists: bool) -> Found {
    fn parsed<'a>(bytes: &'a [u8], wanted: Wanted<'_>) -> serde_json::Result<Fields<'a>> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let fields = wanted.deserialize(&mut json)?;
        json.end().map(|()| fields)
    }
    let parse = |bytes| parsed(bytes, Wanted { columns });
    // Python writes NaN and Infinity where JSON has no word for them.
    let changed;
    let fields = match parse(object) {
        Err(error) => match without_nan(object) {
            None => Err(error),
            Some(object) => {
                changed = object;
                parse(&changed)
            }
        },
        fields => fields,
    };
    let mut fields = match fields {
        Ok(fields) => fields,
        Err(error) => {
            let found = match object.first() {
                Some(b'"') => "a text".to_owned(),
                Some(b'[') => "an array".to_owned(),
                _ => error.to_string(),
            };
            return Found::Broken(("a JSON object, one a line or in an array".to_owned(), found));
        }
    };
    let mut values = Vec::with_capacity(columns.len());
    for (column, value) in columns.iter().zip(&mut fields.values) {
        let kind = match value.take().map(|raw| (raw, raw.get().as_bytes()[0])) {
            // Only a list becomes values in memory, of which each takes many times its bytes here.
            Some((raw, b'[')) if lists && raw.get().len() as u64 <= budget::record_limit() / 4 => {
                match serde_json::from_str::<Value>(raw.get()) {
                    Ok(list) => values.push(list.to_string()),
                    Err(error) => return Found::Broken(("a JSON object".to_owned(), error.to_string())),
                }
                continue;
            }
            Some((_, b'[')) if lists => "a list that takes more than --memory",
            Some((_, b'[')) => "an array",
            Some((_, b'{')) => "an object",
            Some((raw, _)) => {
                match serde_json::from_str::<Value>(raw.get()) {
                    Ok(Value::String(text)) => values.push(text),
                    Ok(Value::Null) => values.push(String::new()),
                    Ok(value) => values.push(value.to_string()),
                    Err(error) => return Found::Broken(("a JSON object".to_owned(), error.to_string())),
                }
                continue;
            }
            None => {
                let found = match fields.names.is_empty() {
                    true => "no fields".to_owned(),
                    false => format!("`{}` ({OTHER_COLUMN})", fields.names.join("`, `")),
                };
                return Found::Missing((format!("a field called `{column}`"), found));
            }
        };
        return Found::Broken((format!("a string in `{column}`"), kind.to_owned()));
    }
    Found::Values(values)
}

/// What the fields of an object are called, the first of them.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn names(object: &[u8]) -> Vec<String> {
    let mut json = serde_json::Deserializer::from_slice(object);
    Wanted { columns: &[] }.deserialize(&mut json).map_or_else(|_| Vec::new(), |fields| fields.names)
}

/// The same JSON with `null` for each `NaN`, `Infinity` and `-Infinity` outside of strings; none if there is none.
fn without_nan(object: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let mut changed = Vec::with_capacity(object.len());
    let (mut quoted, mut escaped, mut found) = (false, false, false);
    let mut rest = object;
    while let Some(&byte) = rest.first() {
        if !quoted && let Some(word) = WORDS.iter().find(|word| rest.starts_with(word)) {
            changed.extend_from_slice(b"null");
            rest = &rest[word.len()..];
            found = true;
            continue;
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        changed.push(byte);
        rest = &rest[1..];
    }
    found.then_some(changed)
}

/// The field of an object that `key` names, if it is one and has it.
fn field<'a>(object: &'a RawValue, key: &str) -> Option<&'a RawValue> {
    let columns = [key.to_owned()];
    // A dot in the name of a field is part of it here.
    let fields =
        Wanted { columns: &columns }.deserialize(&mut serde_json::Deserializer::from_str(object.get()));
    fields.ok()?.values[0]
}

/// The wanted fields of an object, and what its fields are called. The values of other fields are passed over unread,
/// so that half a surrogate in them, or a huge list, does no harm.
struct Fields<'a> {
    values: Vec<Option<&'a RawValue>>,
    /// The first of them.
    names: Vec<String>,
}

#[derive(Clone, Copy)]
struct Wanted<'a> {
    columns: &'a [String],
}

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Fields<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Fields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields { values: vec![None; self.columns.len()], names: Vec::new() };
        while let Some(name) = map.next_key::<String>()? {
            if fields.names.len() < 20 {
                fields.names.push(shortened(&name, 40).to_string());
            }
            let outer = |column: &String| {
                column
                    .strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            if !self.columns.iter().any(outer) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &'de RawValue = map.next_value()?;
            for (column, place) in self.columns.iter().zip(&mut fields.values) {
                if *column == name {
                    *place = Some(value);
                } else if place.is_none()
                    && let Some(path) =
                        column.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('.'))
                {
                    *place = path.split('.').try_fold(value, field);
                }
            }
        }
        Ok(fields)
    }
}

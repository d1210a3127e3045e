//! JSON as a flat list, and how much of it is too much to parse.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// No file of settings, and no tokenizer, has more bytes.
pub(crate) const MAX_BYTES: usize = 64 << 20;
/// Nor more values, each of which takes up to a hundred bytes when it is parsed.
const MAX_VALUES: usize = 4 << 20;

/// Weighs JSON before it is parsed.
///
/// # Errors
/// What was expected, and what was found.
pub(crate) fn weigh(json: &[u8]) -> Result<(), (String, String)> {
    if json.len() > MAX_BYTES {
        return Err((format!("JSON of at most {MAX_BYTES} bytes"), json.len().to_string()));
    }
    // Those within texts are counted too, which errs by little.
    let values = json.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    match values <= MAX_VALUES {
        true => Ok(()),
        false => Err((format!("JSON of at most {MAX_VALUES} values"), values.to_string())),
    }
}

/// The values of a tree of objects by their dotted keys. An object within it is taken apart where `opens` says so of
/// its key and its fields, else it is a value itself.
pub(crate) fn leaves<'a>(
    fields: &'a Map<String, Value>,
    opens: &dyn Fn(&str, &Map<String, Value>) -> bool,
) -> Vec<(String, &'a Value)> {
    fn walk<'a>(
        prefix: &str,
        fields: &'a Map<String, Value>,
        opens: &dyn Fn(&str, &Map<String, Value>) -> bool,
        found: &mut Vec<(String, &'a Value)>,
    ) {
        for (key, value) in fields {
            let path = format!("{prefix}{key}");
            match value {
                Value::Object(inner) if opens(&path, inner) => walk(&format!("{path}."), inner, opens, found),
                leaf => found.push((path, leaf)),
            }
        }
    }
    let mut found = Vec::new();
    walk("", fields, opens, &mut found);
    found
}

/// Finds a key that an object of the JSON has twice, of which parsers would take the last one only. None where there is none,
/// and where it is no JSON.
pub(crate) fn key_twice(json: &[u8]) -> Option<String> {
    let mut twice = None;
    let mut parsed = serde_json::Deserializer::from_slice(json);
    // That it ends early, or is no JSON, is nothing to this search.
    _ = Keys(&mut twice).deserialize(&mut parsed);
    twice
}

/// Goes through a value and notes the first key that comes twice.
struct Keys<'a>(&'a mut Option<String>);

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                *self.0 = Some(key);
                return Err(A::Error::custom("a key that comes twice"));
            }
            seen.insert(key);
            map.next_value_seed(Keys(&mut *self.0))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Keys(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn what_is_too_much_to_parse_is_known_by_its_size() {
        assert!(super::weigh(b"[1, 2]").is_ok());
        assert!(super::weigh(&b"[0,".repeat(super::MAX_VALUES / 2 + 1)).is_err());
        assert!(super::weigh(&vec![b' '; super::MAX_BYTES + 1]).is_err());
    }

    #[test]
    fn a_key_that_comes_twice_is_found() {
        let twice = |text: &str| super::key_twice(text.as_bytes());
        assert_eq!(twice(r#"{"a": [1, {"b": -1, "c": null, "b": true}], "d": 1.5}"#).as_deref(), Some("b"));
        assert_eq!(twice(r#"{"a": {"a": "a"}, "b": {"a": 1}}"#), None);
        assert_eq!(twice(r#"{"\u0061": 1, "a": 2}"#).as_deref(), Some("a"));
        assert_eq!(twice("{"), None);
    }

    #[test]
    fn objects_are_taken_apart_where_asked() {
        let tree = json!({"a": 1, "b": {"c": [2], "d": {"e": 3}}, "f": {}});
        let keys = |opens: &dyn Fn(&str) -> bool| -> Vec<String> {
            let found = super::leaves(tree.as_object().unwrap(), &|path, _| opens(path));
            found.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(&|_| true), ["a", "b.c", "b.d.e"]);
        assert_eq!(keys(&|path| path == "b"), ["a", "b.c", "b.d", "f"]);
    }
}

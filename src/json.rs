//! JSON as a flat list.

use serde_json::{Map, Value};

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

#[cfg(test)]
mod tests {
    use serde_json::json;

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

//! Cells that hold a list: of words, of their tags, or of the labels of a text.

use serde_json::Value;

use crate::format::shortened;

/// What was expected and what was found.
pub(super) type Complaint = (String, String);

/// The texts of a list in JSON; numbers are their digits.
///
/// # Errors
/// What is no such list.
pub(super) fn list(cell: &str) -> Result<Vec<String>, Complaint> {
    let wrong = |found: String| ("a list of texts or numbers".to_owned(), found);
    let shown = || format!("`{}`", shortened(cell, 40));
    let Ok(Value::Array(items)) = serde_json::from_str(cell) else {
        return Err(wrong(if cell.trim().is_empty() { "nothing".to_owned() } else { shown() }));
    };
    let text = |item: Value| match item {
        Value::String(text) => Ok(text),
        number @ Value::Number(_) => Ok(number.to_string()),
        _ => Err(wrong(shown())),
    };
    items.into_iter().map(text).collect()
}

/// The labels of a cell, each once: a list in JSON, or names with `separator` between them. An empty cell has none.
///
/// # Errors
/// A list of something else than texts and numbers.
pub(super) fn separated(cell: &str, separator: &str) -> Result<Vec<String>, Complaint> {
    let cell = cell.trim();
    let parts = match cell.starts_with('[') && cell.ends_with(']') {
        true => names(cell)?,
        false if separator.is_empty() => vec![cell.to_owned()],
        false => cell.split(separator).map(str::to_owned).collect(),
    };
    let mut labels: Vec<String> = Vec::new();
    for part in parts.iter().map(|part| part.trim()) {
        if !part.is_empty() && !labels.iter().any(|label| label == part) {
            labels.push(part.to_owned());
        }
    }
    Ok(labels)
}

/// The texts of a list in JSON, which are labels. Several that are all zeros and ones say of the label of each place whether
/// a text has it, and are no labels.
fn names(cell: &str) -> Result<Vec<String>, Complaint> {
    let names = list(cell)?;
    let is_mark = |name: &String| name.parse().is_ok_and(|number: f64| number == 0.0 || number == 1.0);
    match names.len() > 1 && names.iter().all(is_mark) {
        true => Err((
            "a list of the labels that a text has".to_owned(),
            format!("`{}`, a mark for each label there is", shortened(cell, 40)),
        )),
        false => Ok(names),
    }
}

/// A list in JSON, as [`parsed`] reads it.
pub(super) fn spelled(texts: &[String]) -> String {
    Value::from(texts).to_string()
}

/// The texts of a list that [`spelled`] wrote; none of anything else.
pub(super) fn parsed(cell: Option<&str>) -> Vec<String> {
    cell.and_then(|cell| serde_json::from_str(cell).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_a_cell() {
        for (cell, separator, expected) in [
            ("a, b ,a,", ",", vec!["a", "b"]),
            ("a|b c", "|", vec!["a", "b c"]),
            ("", ",", vec![]),
            (r#"["a, b", 3]"#, ",", vec!["a, b", "3"]),
            ("[]", "|", vec![]),
            ("one", ";", vec!["one"]),
        ] {
            assert_eq!(separated(cell, separator).unwrap(), expected, "{cell}");
            assert_eq!(parsed(Some(&spelled(&separated(cell, separator).unwrap()))), expected);
        }
        for wrong in ["[null]", "[[1]]", "[a, b]"] {
            assert_eq!(separated(wrong, ",").unwrap_err().1, format!("`{wrong}`"));
        }
        assert_eq!(list(" ").unwrap_err().1, "nothing");
        assert_eq!(separated("[12, 12, 7]", ",").unwrap(), ["12", "7"]);
        assert_eq!(separated("[1]", ",").unwrap(), ["1"]);
        for marks in ["[0, 1, 0]", "[1.0, 1.0]", "[0, 1]"] {
            assert!(separated(marks, ",").unwrap_err().1.ends_with("a mark for each label there is"));
        }
    }
}

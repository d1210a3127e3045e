//! The scores of a Unigram model's pieces, as Python's library reads them.
//!
//! Where two ways to split a word have the same score, as `II` and `I` in either order, the last bit of the sums before them
//! decides. Python's library reads a number as a whole one divided by a power of ten, which rounds twice where it has more
//! digits than a float, and this program reads the nearest float. So that both split a word alike, scores are rounded
//! as they are there.

use std::borrow::Cow;

use serde_json::Value;

/// The `tokenizer.json` for the library: with such scores where its model is Unigram, else as it is.
pub(super) fn as_in_python(json: &[u8]) -> Cow<'_, [u8]> {
    // Few have one, and a file may be tens of megabytes.
    let named = b"\"Unigram\"";
    if !json.windows(named.len()).any(|word| word == named) {
        return json.into();
    }
    let Ok(mut file) = serde_json::from_slice::<Value>(json) else { return json.into() };
    let Some(pieces) = file.pointer_mut("/model/vocab").and_then(Value::as_array_mut) else {
        return json.into();
    };
    for score in pieces.iter_mut().filter_map(|piece| piece.get_mut(1)) {
        if let Some(rounded) = twice_rounded(&score.to_string()) {
            *score = rounded.into();
        }
    }
    serde_json::to_vec(&file).map_or(json.into(), Cow::Owned)
}

/// The value of a number's text, of its digits first and then of their power of ten; none for what is no decimal fraction.
fn twice_rounded(text: &str) -> Option<f64> {
    let (sign, text) = text.strip_prefix('-').map_or((1.0, text), |text| (-1.0, text));
    let (decimal, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = decimal.split_once('.')?;
    let digits: u64 = format!("{whole}{fraction}").parse().ok()?;
    let exponent = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
    let power: f64 = format!("1e{}", exponent.unsigned_abs()).parse().ok()?;
    let value = if exponent < 0 { digits as f64 / power } else { digits as f64 * power };
    Some(sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_rounded_twice() {
        // Of these Python's library writes what it read.
        for (text, read) in [
            ("-3.8084720565764734", -3.808472056576474),
            ("-8.08195937180303", -8.081_959_371_803_03),
            ("1.5e-7", 1.5e-7),
        ] {
            assert_eq!(twice_rounded(text), Some(read), "{text}");
        }
        assert_eq!(twice_rounded("-3"), None);
        let other = br#"{"model": {"type": "BPE", "vocab": {"a": 0}}}"#;
        assert_eq!(as_in_python(other), &other[..]);
        let ours = br#"{"model": {"type": "Unigram", "vocab": [["a", -3.8084720565764734], ["b", 0]]}}"#;
        let expected = br#"{"model":{"type":"Unigram","vocab":[["a",-3.808472056576474],["b",0]]}}"#;
        assert_eq!(String::from_utf8_lossy(&as_in_python(ours)), String::from_utf8_lossy(expected));
    }
}

//! The scores of a Unigram model's pieces, as Python's library reads them.
//!
//! Where two ways to split a word have the same score, as `II` and `I` in either order, the last bit of the sums before them
//! decides. Python's library reads a number as a whole one divided by a power of ten, which rounds twice where it has more
//! digits than a float, and this program reads the nearest float. So that both split a word alike, scores are rounded
//! as they are there.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The scores of a file, as they are spelled.
#[derive(Deserialize)]
struct File<'j> {
    #[serde(borrow)]
    model: Model<'j>,
}

#[derive(Deserialize)]
struct Model<'j> {
    #[serde(borrow)]
    vocab: Vec<(Cow<'j, str>, &'j RawValue)>,
}

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
    let Ok(spelled) = serde_json::from_slice::<File<'_>>(json) else { return json.into() };
    let spelled = spelled.model.vocab.iter().map(|(_, score)| score.get());
    for (score, text) in pieces.iter_mut().filter_map(|piece| piece.get_mut(1)).zip(spelled) {
        if let Some(rounded) = twice_rounded(text) {
            *score = rounded.into();
        }
    }
    serde_json::to_vec(&file).map_or(json.into(), Cow::Owned)
}

/// The value of a number's text, of its digits first and then of their power of ten; none for a whole number. Digits from the
/// first on with which they would be no 64-bit number are not looked at.
fn twice_rounded(text: &str) -> Option<f64> {
    let (sign, text) = text.strip_prefix('-').map_or((1.0, text), |text| (-1.0, text));
    let (decimal, power) =
        text.split_once(['e', 'E']).map_or((text, None), |(text, power)| (text, Some(power)));
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    if fraction.is_empty() && power.is_none() {
        return None;
    }
    let mut exponent: i32 = power.map_or(Some(0), |power| power.parse().ok())?;
    let mut digits = 0_u64;
    let mut full = false;
    for (digit, after) in
        whole.bytes().map(|digit| (digit, 0)).chain(fraction.bytes().map(|digit| (digit, 1)))
    {
        let more =
            digits.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit.checked_sub(b'0')?)));
        match more.filter(|_| !full) {
            Some(more) => {
                digits = more;
                exponent = exponent.checked_sub(after)?;
            }
            None => {
                full = true;
                exponent = exponent.checked_add(1 - after)?;
            }
        }
    }
    let mut value = digits as f64;
    // Powers beyond those that a float holds are divided by in two steps.
    while exponent < -308 && value != 0.0 {
        (value, exponent) = (value / 1e308, exponent + 308);
    }
    let power: f64 = format!("1e{}", exponent.unsigned_abs()).parse().ok()?;
    let value = if exponent < 0 { value / power } else { value * power };
    value.is_finite().then_some(sign * value)
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
            // Past 64 bits digits are not looked at.
            ("-8.0819593718030299999999", -8.081959371803029),
            ("-3.80847205657647341234567890", -3.808472056576474),
            ("-123456789.12345678901234567", -123_456_789.123_456_8),
            ("-0.00000012345678901234567890123", -1.2345678901234566e-7),
            ("-1234567890123456789012345.678", -1.2345678901234568e24),
            ("-18446744073709551616.5", -1.8446744073709552e19),
            ("-12.22222222222222222", -12.222222222222223),
            ("-16.3333333333333333333333333333333333", -16.333333333333336),
            ("-1.7976931348623157e-310", -1.797_693_134_862_34e-310),
            ("-3E1", -30.0),
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

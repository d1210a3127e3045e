//! A page that holds everything it needs.

use base64::Engine as _;
use serde::Serialize;

use super::super::colour::hex;
use super::super::xml::escape;
use super::{Options, Shown, Token, View, positions, rollout};
use crate::{Error, Result};

/// Style, script and places for what is drawn.
const PAGE: &str = include_str!("page.html");
/// More probabilities than this are stored in one byte each instead of two, to keep the page's size bearable.
const EXACT: usize = 2_000_000;

/// What the page's script reads.
#[derive(Serialize)]
struct Data<'a> {
    tokens: Vec<&'a Token>,
    layers: &'a [usize],
    heads: &'a [usize],
    border: Option<usize>,
    view: View,
    /// Bytes of a stored probability: 2 for q = 65535 p, little endian; 1 for q = 255 √p.
    bytes: usize,
    /// `[layers, heads, T, T]`, in base64.
    probabilities: String,
    /// 256 colours from 0 to the greatest probability, on a square-root scale.
    colours: Vec<String>,
}

pub(super) fn page(shown: &Shown) -> Result<String> {
    let maps: Vec<f32> = shown
        .layers
        .iter()
        .flat_map(|&layer| shown.heads.iter().map(move |&head| (layer, head)))
        .flat_map(|(layer, head)| shown.map(layer, head))
        .collect();
    let exact = maps.len() <= EXACT;
    let stored: Vec<u8> = if exact {
        maps.iter().flat_map(|p| ((p.clamp(0.0, 1.0) * 65535.0).round() as u16).to_le_bytes()).collect()
    } else {
        maps.iter().map(|p| (p.clamp(0.0, 1.0).sqrt() * 255.0).round() as u8).collect()
    };
    let theme = shown.options.theme;
    let data = Data {
        tokens: (0..shown.len()).map(|at| shown.token(at)).collect(),
        layers: &shown.layers,
        heads: &shown.heads,
        border: shown.border(),
        view: shown.options.view,
        bytes: if exact { 2 } else { 1 },
        probabilities: base64::engine::general_purpose::STANDARD.encode(stored),
        colours: (0..256).map(|at| hex(theme.map(f64::from(at) / 255.0))).collect(),
    };
    // Inside of a script element only `<` could end the data.
    let data = serde_json::to_string(&data)
        .map_err(|error| Error::config("page", "data that JSON can hold", error))?
        .replace('<', "\\u003c");
    // The views that are the same for all layers and heads are pictures in the page.
    let whole = Options { layer: None, head: None, ..shown.options };
    let inks = theme.inks();
    let mut notes = Vec::new();
    if !exact {
        notes.push("values to 0.4 points: there are many".to_owned());
    }
    if shown.options.no_special {
        notes.push("special tokens are left out".to_owned());
    }
    if shown.all.truncated > 0 {
        notes.push(format!("the text was too long: {} tokens of it were left out", shown.all.truncated));
    }
    let notes = notes.iter().map(|note| format!(" · {note}")).collect::<String>();
    let values = [
        ("title", escape(&format!("{}: attention", shown.all.model))),
        ("about", escape(&format!("{} tokens{notes}", shown.all.tokens.len()))),
        ("page", hex(inks.page)),
        ("ink", hex(inks.ink)),
        ("soft", hex(inks.soft)),
        ("frame", hex(inks.frame)),
        ("border", hex(inks.border)),
        ("line", hex(inks.above)),
        ("rollout", rollout::draw(shown).svg()),
        ("positions", positions::draw(&shown.all.shown(&whole)?).svg()),
        ("data", data),
    ];
    // One pass over the template: what is put in is not searched for places again.
    let mut page = String::new();
    for (index, part) in PAGE.split("{{").enumerate() {
        let (name, rest) = if index == 0 { ("", part) } else { part.split_once("}}").unwrap_or(("", part)) };
        page.extend(values.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.as_str()));
        page.push_str(rest);
    }
    Ok(page)
}

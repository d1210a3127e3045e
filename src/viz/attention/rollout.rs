//! Attention rollout, and each token's relevance as a heat strip under the text.

use super::super::Picture;
use super::super::colour::Scale;
use super::super::font;
use super::super::picture::{Area, Label};
use super::sheet::{MARGIN, SMALL, Sheet, TOP, percent, visible};
use super::{Shown, head, measures};

/// The width of the text.
const WIDTH: f64 = 760.0;
const LETTERS: f64 = 15.0;
const LINE: f64 = 34.0;
const STRIP: f64 = 7.0;

pub(super) fn draw(shown: &Shown) -> Picture {
    let mut sheet = Sheet::new(shown, format!("{}: attention rollout over all layers", shown.all.model));
    let rolled = measures::rollout(shown.all);
    let relevance = measures::relevance(&rolled, shown.all.tokens.len());
    let relevance: Vec<f64> = shown.positions.iter().map(|&at| f64::from(relevance[at])).collect();
    let (ink, soft) = (sheet.inks.ink, sheet.inks.soft);
    let heading = |sheet: &mut Sheet, y: f64, text: &str, about: &str| {
        let label = Label::new(MARGIN, y, 14.0, ink, text).bold();
        let x = MARGIN + label.length() + 12.0;
        sheet.picture.label(label);
        sheet.picture.label(Label::new(x, y, SMALL, soft, about));
    };
    let about = "a token's share in all tokens: the mean of its column below";
    heading(&mut sheet, TOP + 8.0, "Relevance", about);
    // Special tokens gather so much that nothing else could be told apart beside them.
    let ordinary = |at: &usize| !shown.token(*at).special;
    let words: Vec<usize> = (0..shown.len()).filter(ordinary).collect();
    let words = if words.is_empty() { (0..shown.len()).collect() } else { words };
    let scale = Scale { root: false, ..Scale::of(words.iter().map(|&at| relevance[at])) };
    let y = strip(&mut sheet, &relevance, scale, TOP + 20.0);
    let beyond: Vec<String> = (0..shown.len())
        .filter(|&at| relevance[at] > scale.most)
        .map(|at| format!("{} {}", shown.token(at).label, percent(relevance[at])))
        .collect();
    if !beyond.is_empty() {
        sheet.note(format!("Relevance beyond the scale: {}.", beyond.join(", ")));
    }
    sheet.colour_bar(MARGIN, y + 4.0, scale, "relevance");
    let y = y + 66.0;
    heading(&mut sheet, y, "Rollout", "how much of each input token is in each output token");
    let values = shown.select(&rolled);
    let of_words = words.iter().flat_map(|i| words.iter().map(move |j| i * shown.len() + j));
    let scale = Scale::of(of_words.map(|at| f64::from(values[at])));
    if values.iter().any(|&value| f64::from(value) > scale.most) {
        sheet.note("Rollout: shares of special tokens beyond the scale have the colour of its end.");
    }
    let bottom = head::map(&mut sheet, &values, scale, "share", y + 22.0);
    sheet.note(
        "Rollout (Abnar and Zuidema 2020): the product over layers of (A + I) / 2, A the mean of the heads. It \
         leaves out values, feed-forward parts and norms.",
    );
    sheet.finish(bottom)
}

/// The text from `top` on, a heat strip under each token. Says where it ends.
fn strip(sheet: &mut Sheet, relevance: &[f64], scale: Scale, top: f64) -> f64 {
    let theme = sheet.shown.options.theme;
    let (mut x, mut y) = (MARGIN, top);
    for (index, &value) in relevance.iter().enumerate() {
        let token = sheet.shown.token(index);
        let text = if token.text.is_empty() { &token.label } else { &token.text };
        let width = font::width(text, LETTERS, false).max(4.0);
        let new_part = sheet.shown.border() == Some(index);
        let space = if token.space_before || token.special || new_part { 6.0 } else { 0.0 };
        let after_special = index > 0 && sheet.shown.token(index - 1).special && x > MARGIN;
        let space = if after_special { 6.0 } else { space };
        if x > MARGIN && (x + space + width > MARGIN + WIDTH || new_part) {
            if new_part {
                let line = y + LINE + 2.0;
                let ink = sheet.inks.border;
                sheet.picture.line(vec![[MARGIN, line], [MARGIN + WIDTH, line]], ink, 1.2);
                y += 8.0;
            }
            (x, y) = (MARGIN, y + LINE);
        } else if x > MARGIN {
            x += space;
        }
        let ink = if token.special { sheet.inks.soft } else { sheet.inks.ink };
        let (text, special) = (visible(text), token.special);
        let size = if special { 11.0 } else { LETTERS };
        let width = if special { font::width(&text, size, false) } else { width };
        sheet.picture.label(Label::new(x, y + 18.0, size, ink, text));
        sheet
            .picture
            .fill(Area::new(x, y + 23.0, (width - 0.5).max(1.0), STRIP), theme.map(scale.share(value)));
        x += width;
    }
    y + LINE + 6.0
}

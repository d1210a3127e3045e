//! What every view shares: heading, colour bar, and what the picture has to say about itself.

use super::super::colour::{Inks, Scale};
use super::super::picture::{Area, Label, Picture, shortened};
use super::Shown;

pub(super) const MARGIN: f64 = 24.0;
pub(super) const TITLE: f64 = 18.0;
pub(super) const SMALL: f64 = 12.0;
/// Where a view begins under its heading.
pub(super) const TOP: f64 = 78.0;

/// A picture under construction.
pub(super) struct Sheet<'a> {
    pub shown: &'a Shown<'a>,
    pub picture: Picture,
    pub inks: &'static Inks,
    /// What is said under the view.
    notes: Vec<String>,
    title: String,
}

impl<'a> Sheet<'a> {
    /// A sheet with the heading `title`.
    pub(super) fn new(shown: &'a Shown<'a>, title: String) -> Self {
        let inks = shown.options.theme.inks();
        let picture = Picture::new(inks.page, format!("{title}. {}", subtitle(shown)));
        let mut sheet = Sheet { shown, picture, inks, notes: Vec::new(), title };
        if shown.options.no_special {
            sheet.note("Special tokens are left out; what they give and get is not shown.");
        }
        if shown.all.truncated > 0 {
            sheet.note(format!("The text was too long: {} tokens of it were left out.", shown.all.truncated));
        }
        sheet
    }

    /// Says something under the view.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// The bar of a colour scale with its upper left corner at (x, y), and what it measures.
    pub(super) fn colour_bar(&mut self, x: f64, y: f64, scale: Scale, what: &str) {
        const WIDTH: usize = 240;
        let theme = self.shown.options.theme;
        let colours = (0..WIDTH).map(|at| theme.map((at as f64 + 0.5) / WIDTH as f64)).collect();
        let area = Area::new(x, y, WIDTH as f64, 12.0);
        self.picture.items.push(super::super::picture::Item::Cells { area, columns: WIDTH, colours });
        self.picture.frame(area, self.inks.frame);
        for value in ticks(scale) {
            let at = x + scale.share(value) * WIDTH as f64;
            self.picture.line(vec![[at, y + 12.0], [at, y + 16.0]], self.inks.soft, 1.0);
            let text = Label::new(at, y + 27.0, 10.5, self.inks.soft, percent(value));
            self.picture.label(text.middle());
        }
        let text = if scale.root { format!("{what} (square-root scale)") } else { what.to_owned() };
        self.picture.label(Label::new(x + WIDTH as f64 + 22.0, y + 10.5, SMALL, self.inks.soft, text));
    }

    /// The picture with its heading, and its notes from `bottom` on.
    pub(super) fn finish(mut self, bottom: f64) -> Picture {
        // The heading and the notes are as wide as the view, but never narrower than a heading needs.
        self.picture.fit(MARGIN);
        let room = self.picture.width.max(560.0) - 2.0 * MARGIN;
        let title = shortened(&self.title, TITLE, true, room);
        let (ink, soft) = (self.inks.ink, self.inks.soft);
        self.picture.label(Label::new(MARGIN, 36.0, TITLE, ink, title).bold());
        let about = shortened(&subtitle(self.shown), SMALL, false, room);
        self.picture.label(Label::new(MARGIN, 57.0, SMALL, soft, about));
        let mut y = bottom;
        for note in std::mem::take(&mut self.notes) {
            for line in wrapped(&note, room) {
                y += 17.0;
                self.picture.label(Label::new(MARGIN, y, SMALL, soft, line));
            }
        }
        self.picture.fit(MARGIN);
        self.picture
    }
}

/// What a line between two texts is.
pub(super) const BORDER: &str = "Blue lines: the border between the two texts.";

/// The text and its length.
fn subtitle(shown: &Shown) -> String {
    let mut parts = [String::new(), String::new()];
    for token in shown.all.tokens.iter().filter(|token| !token.special) {
        let part = &mut parts[token.part.min(1)];
        if token.space_before && !part.is_empty() {
            part.push(' ');
        }
        part.push_str(&visible(&token.text));
    }
    let room = if parts[1].is_empty() { 900.0 } else { 420.0 };
    let [first, second] = parts.map(|part| shortened(&part, SMALL, false, room));
    let texts =
        if second.is_empty() { format!("“{first}”") } else { format!("“{first}” | “{second}”") };
    format!("{} tokens: {texts}", shown.all.tokens.len())
}

/// `text` with a sign where it has a line end or another character that leaves no mark.
pub(super) fn visible(text: &str) -> String {
    let sign = |character: char| match character {
        '\n' | '\r' => '↵',
        control if control.is_control() => '·',
        other => other,
    };
    text.chars().map(sign).collect()
}

/// The lines of `text`, broken at spaces, none longer than `room` where a word allows that.
fn wrapped(text: &str, room: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last().map_or("", String::as_str);
        let longer = if last.is_empty() { word.to_owned() } else { format!("{last} {word}") };
        if last.is_empty() || super::super::font::width(&longer, SMALL, false) <= room {
            lines.pop();
            lines.push(longer);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Round values on a scale, far enough apart.
fn ticks(scale: Scale) -> Vec<f64> {
    let round = [1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4];
    let mut ticks = vec![0.0];
    let mut above = 2.0;
    for value in round.into_iter().filter(|&value| value <= scale.most * 1.0001) {
        let share = scale.share(value);
        if above - share >= 0.14 && share >= 0.14 {
            ticks.push(value);
            above = share;
        }
    }
    ticks
}

/// Three digits, at most two after the point: `12.3%`, `0.5%`.
pub(super) fn percent(value: f64) -> String {
    let percent = 100.0 * value;
    let text = if percent < 9.995 { format!("{percent:.2}") } else { format!("{percent:.1}") };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}%")
}

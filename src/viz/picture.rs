//! One description of a picture, from which the SVG and the PNG are both made.

use super::colour::Rgb;
use super::font;

/// Where something lies, in pixels at scale 1; y grows downwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Area {
    pub(super) fn new(x: f64, y: f64, width: f64, height: f64) -> Self {
        Area { x, y, width, height }
    }

    pub(super) fn right(&self) -> f64 {
        self.x + self.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.y + self.height
    }
}

/// Which point of a text stands at its x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A line of text, its base line at y.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Label {
    pub x: f64,
    pub y: f64,
    pub size: f64,
    pub anchor: Anchor,
    pub bold: bool,
    /// Whether it runs upwards.
    pub upwards: bool,
    pub ink: Rgb,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    /// A filled rectangle.
    Fill { area: Area, colour: Rgb },
    /// An open line.
    Line { points: Vec<[f64; 2]>, colour: Rgb, width: f64, dashed: bool },
    /// A filled outline.
    Shape { points: Vec<[f64; 2]>, colour: Rgb, opacity: f64 },
    /// A matrix of colours, row after row, `columns` to a row.
    Cells { area: Area, columns: usize, colours: Vec<Rgb> },
    /// Text.
    Label(Label),
}

/// A finished drawing: [`Picture::svg`] and [`Picture::png`] write it down.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) page: Rgb,
    /// The picture in words, for those who do not see it.
    pub(super) description: String,
    pub(super) items: Vec<Item>,
}

impl Picture {
    pub(super) fn new(page: Rgb, description: String) -> Self {
        Picture { width: 0.0, height: 0.0, page, description, items: Vec::new() }
    }

    /// Its width and height, in pixels at scale 1.
    pub fn size(&self) -> [f64; 2] {
        [self.width, self.height]
    }

    pub(super) fn fill(&mut self, area: Area, colour: Rgb) {
        self.items.push(Item::Fill { area, colour });
    }

    pub(super) fn line(&mut self, points: Vec<[f64; 2]>, colour: Rgb, width: f64) {
        self.items.push(Item::Line { points, colour, width, dashed: false });
    }

    /// A thin frame around `area`.
    pub(super) fn frame(&mut self, area: Area, colour: Rgb) {
        let Area { x, y, .. } = area;
        let (r, b) = (area.right(), area.bottom());
        self.line(vec![[x, y], [r, y], [r, b], [x, b], [x, y]], colour, 1.0);
    }

    pub(super) fn label(&mut self, label: Label) {
        self.items.push(Item::Label(label));
    }

    /// Makes the page large enough for everything on it, and `margin` more.
    pub(super) fn fit(&mut self, margin: f64) {
        let (mut width, mut height) = (0.0f64, 0.0f64);
        for item in &self.items {
            let (right, bottom) = item.reach();
            width = width.max(right);
            height = height.max(bottom);
        }
        (self.width, self.height) = ((width + margin).ceil(), (height + margin).ceil());
    }
}

impl Item {
    /// The right and the lower end.
    fn reach(&self) -> (f64, f64) {
        match self {
            Item::Fill { area, .. } | Item::Cells { area, .. } => (area.right(), area.bottom()),
            Item::Line { points, .. } | Item::Shape { points, .. } => {
                points.iter().fold((0.0, 0.0), |(x, y), p| (f64::max(x, p[0]), f64::max(y, p[1])))
            }
            Item::Label(label) => {
                let length = label.length();
                let after = match label.anchor {
                    Anchor::Start => length,
                    Anchor::Middle => length / 2.0,
                    Anchor::End => 0.0,
                };
                if label.upwards {
                    (label.x + 0.3 * label.size, label.y + length - after)
                } else {
                    (label.x + after, label.y + 0.3 * label.size)
                }
            }
        }
    }
}

impl Label {
    /// A text that begins at (x, y).
    pub(super) fn new(x: f64, y: f64, size: f64, ink: Rgb, text: impl Into<String>) -> Self {
        Label { x, y, size, anchor: Anchor::Start, bold: false, upwards: false, ink, text: text.into() }
    }

    /// How long the text is.
    pub(super) fn length(&self) -> f64 {
        font::width(&self.text, self.size, self.bold)
    }

    /// Its middle at x.
    pub(super) fn middle(self) -> Self {
        Label { anchor: Anchor::Middle, ..self }
    }

    /// Its end at x.
    pub(super) fn end(self) -> Self {
        Label { anchor: Anchor::End, ..self }
    }

    pub(super) fn bold(self) -> Self {
        Label { bold: true, ..self }
    }

    /// Running upwards.
    pub(super) fn upwards(self) -> Self {
        Label { upwards: true, ..self }
    }
}

/// `text` in at most `room` pixels, its end replaced by `…` where it is longer.
pub(super) fn shortened(text: &str, size: f64, bold: bool, room: f64) -> String {
    if font::width(text, size, bold) <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut length = font::width("…", size, bold);
    for character in text.chars() {
        length += font::width(character.encode_utf8(&mut [0; 4]), size, bold);
        if length > room {
            break;
        }
        short.push(character);
    }
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

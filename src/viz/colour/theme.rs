//! The colours of pictures of attention: two themes, each with its inks and its colour map.

use serde::{Deserialize, Serialize};

/// Red, green and blue, each 0 to 255 (sRGB).
pub(in crate::viz) type Rgb = [u8; 3];

/// What a picture is drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// Dark ink on white; the greatest values are the darkest.
    #[default]
    Light,
    /// Light ink on near-black; the greatest values are the lightest.
    Dark,
}

/// The inks of a theme.
pub(in crate::viz) struct Inks {
    /// The page.
    pub page: Rgb,
    /// Headings and labels.
    pub ink: Rgb,
    /// What explains.
    pub soft: Rgb,
    /// Frames and axes.
    pub frame: Rgb,
    /// The border between two texts.
    pub border: Rgb,
    /// Curves and bars above zero.
    pub above: Rgb,
    /// Bars below zero.
    pub below: Rgb,
}

const LIGHT: Inks = Inks {
    page: [255, 255, 255],
    ink: [31, 35, 40],
    soft: [89, 99, 110],
    frame: [208, 214, 221],
    border: [11, 107, 203],
    above: [194, 65, 12],
    below: [11, 107, 203],
};

const DARK: Inks = Inks {
    page: [13, 17, 23],
    ink: [230, 237, 243],
    soft: [145, 152, 161],
    frame: [61, 68, 77],
    border: [88, 166, 255],
    above: [240, 136, 62],
    below: [88, 166, 255],
};

impl Theme {
    /// Its inks.
    pub(in crate::viz) fn inks(self) -> &'static Inks {
        match self {
            Theme::Light => &LIGHT,
            Theme::Dark => &DARK,
        }
    }

    /// The colour of `share`, 0 to 1: magma, which is perceptually even, from the page's end of it.
    pub(in crate::viz) fn map(self, share: f64) -> Rgb {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        let colour = colorous::MAGMA.eval_continuous(match self {
            Theme::Light => 1.0 - share,
            Theme::Dark => share,
        });
        [colour.r, colour.g, colour.b]
    }

    /// An ink that is read on the colour of `share`.
    pub(in crate::viz) fn on(self, share: f64) -> Rgb {
        let [r, g, b] = self.map(share).map(f64::from);
        // Rec. 709 weights, near enough on encoded values.
        if 0.2126 * r + 0.7152 * g + 0.0722 * b > 128.0 { [20, 20, 20] } else { [245, 245, 245] }
    }
}

/// `#rrggbb`
pub(in crate::viz) fn hex([r, g, b]: Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// What a value between 0 and `most` is on the colour map; above it the map's end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::viz) struct Scale {
    pub most: f64,
    /// Of its square root, so that the small values that most attention is made of can be told apart.
    pub root: bool,
}

impl Scale {
    /// Of square roots, up to the greatest of `values`.
    pub(in crate::viz) fn of(values: impl Iterator<Item = f64>) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        Scale { most: if most > 0.0 { most } else { 1.0 }, root: true }
    }

    /// 0 to 1.
    pub(in crate::viz) fn share(self, value: f64) -> f64 {
        let share = (value / self.most).clamp(0.0, 1.0);
        if self.root { share.sqrt() } else { share }
    }
}

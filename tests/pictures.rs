//! Pictures of attention: pixel by pixel as they were when they were looked at, and whole whatever they are given.
//!
//! `WGRAD_BLESS=1 cargo test --test pictures` writes the golden pictures anew; look at them before they are kept.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::path::Path;

use wgrad::viz::Theme;
use wgrad::viz::attention::{Attention, Options, Token, View};

const VIEWS: [View; 4] = [View::Grid, View::Head, View::Rollout, View::Positions];

/// Deterministic attention of `layers` × `heads` over tokens spelled `labels`, the second text from `second` on.
fn attention(layers: usize, heads: usize, labels: &[&str], second: usize) -> Attention {
    let tokens = labels.len();
    let mut probabilities = Vec::new();
    for head in 0..layers * heads {
        for i in 0..tokens {
            let logit = |j: usize| match head % 4 {
                // The token before, the first, itself and its like, all.
                0 => 5.0 * f64::from(j + 1 == i),
                1 => 4.0 * f64::from(j == 0),
                2 => 3.0 * f64::from(labels[i] == labels[j]) + f64::from(i == j),
                _ => ((i * 7 + j * 3 + head) % 5) as f64 / 2.0,
            };
            let total: f64 = (0..tokens).map(|j| logit(j).exp()).sum();
            probabilities.extend((0..tokens).map(|j| (logit(j).exp() / total) as f32));
        }
    }
    let token = |(at, label): (usize, &&str)| {
        let special = label.starts_with('[');
        Token {
            label: (*label).to_owned(),
            text: if special { String::new() } else { label.trim_start_matches('#').to_owned() },
            space_before: !label.starts_with("##"),
            special,
            part: usize::from(at >= second),
        }
    };
    let wave = |at: usize| ((at % 32) as f32 / 5.0).sin() * (1 + at / 32) as f32 / 4.0;
    Attention {
        model: "model".into(),
        layers,
        heads,
        tokens: labels.iter().enumerate().map(token).collect(),
        probabilities,
        by_distance: Some((0..layers * heads * 32).map(wave).collect()),
        truncated: 0,
    }
}

/// Accents, a script without its own letters in the first font, an emoji, one that no font has, and markup.
const PAIR: [&str; 12] = [
    "[CLS]",
    "ação",
    "東京",
    "##ing",
    "😀",
    "[SEP]",
    "<b>&\"",
    "\u{1f9ff}",
    "ação",
    "a\nb",
    "längeresWort",
    "[SEP]",
];

fn pair() -> Attention {
    attention(2, 3, &PAIR, 6)
}

fn options(view: View, theme: Theme) -> Options {
    Options { view, theme, ..Options::default() }
}

/// Width, height and RGB pixels.
fn decode(png: &[u8]) -> (u32, u32, Vec<u8>) {
    let image = image::load_from_memory(png).unwrap().into_rgb8();
    (image.width(), image.height(), image.into_raw())
}

#[test]
fn pictures_are_those_that_were_looked_at() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures");
    let bless = std::env::var_os("WGRAD_BLESS").is_some();
    for (view, theme, name) in [
        (View::Grid, Theme::Light, "grid"),
        (View::Head, Theme::Light, "head"),
        (View::Rollout, Theme::Dark, "rollout"),
        (View::Positions, Theme::Dark, "positions"),
    ] {
        let png = pair().picture(&options(view, theme)).unwrap().png(1.0).unwrap();
        let path = folder.join(name).with_extension("png");
        if bless {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &png).unwrap();
        }
        let (width, height, found) = decode(&png);
        let (expected_width, expected_height, expected) = decode(&std::fs::read(&path).unwrap());
        assert_eq!((width, height), (expected_width, expected_height), "{name}");
        // Processors round the edges of letters differently; a shifted line or another colour is far above this.
        let differ = found.iter().zip(&expected).filter(|(a, b)| a.abs_diff(**b) > 8).count();
        assert!(differ * 2000 <= found.len(), "{name}: {differ} of {} differ", found.len());
    }
}

/// Every tag is closed, and no number is none.
fn check_svg(svg: &str) {
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && svg.ends_with("</svg>\n"));
    assert!(!svg.contains("NaN") && !svg.contains("=\"inf"));
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        assert!(!text.contains('>') && !text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
    }
    assert!(open.is_empty());
}

#[test]
fn any_number_of_tokens_layers_and_heads_is_drawn() {
    let word = ["a", "##b", "[SEP]", "longer"];
    for (layers, heads, tokens) in [(1, 1, 1), (1, 2, 2), (3, 1, 7), (12, 12, 9), (2, 2, 129), (1, 2, 512)] {
        let labels: Vec<&str> = (0..tokens).map(|at| word[at % 4]).collect();
        let attention = attention(layers, heads, &labels, tokens.div_ceil(2));
        for view in VIEWS {
            let picture = attention.picture(&options(view, Theme::Light)).unwrap();
            check_svg(&picture.svg());
            let [width, height] = picture.size();
            assert!(
                width > 100.0 && height > 100.0 && width < 2000.0 && height < 3200.0,
                "{width} x {height}"
            );
        }
    }
}

#[test]
fn what_is_left_out_is_said() {
    let many = attention(2, 2, &["word"; 500], 500);
    let svg = |options: &Options| many.picture(options).unwrap().svg();
    assert!(
        svg(&options(View::Grid, Theme::Light)).contains("Each point is the largest of 2 × 2 probabilities.")
    );
    assert!(svg(&options(View::Head, Theme::Light)).contains("Every 6th token is labelled."));
    let cut = Attention { truncated: 17, ..pair() };
    for view in VIEWS {
        let options = Options { no_special: true, ..options(view, Theme::Dark) };
        let svg = cut.picture(&options).unwrap().svg();
        assert!(svg.contains("17 tokens of it were left out"), "{svg}");
        assert!(svg.contains("Special tokens are left out"));
        assert_eq!(svg.contains("border between the two texts"), view != View::Positions);
        assert!(!svg.contains("[CLS]<"));
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let refused =
        |attention: &Attention, options: Options| attention.picture(&options).unwrap_err().to_string();
    let plain = options(View::Grid, Theme::Light);
    assert!(
        refused(&pair(), Options { layer: Some(2), ..plain }).contains("layer: expected 0 to 1, found 2")
    );
    assert!(refused(&pair(), Options { head: Some(3), ..plain }).contains("head: expected 0 to 2, found 3"));
    let short = Attention { probabilities: vec![0.0; 5], ..pair() };
    assert!(refused(&short, plain).contains("[L, H, T, T]"));
    assert!(refused(&Attention::default(), plain).contains("none of them 0"));
    let uneven = Attention { by_distance: Some(vec![0.0; 33]), ..pair() };
    assert!(refused(&uneven, plain).contains("buckets"));
    let specials = attention(1, 1, &["[CLS]", "[SEP]"], 2);
    assert!(
        refused(&specials, Options { no_special: true, ..plain }).contains("tokens besides the special ones")
    );
    let picture = pair().picture(&plain).unwrap();
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e6] {
        assert!(picture.png(scale).unwrap_err().to_string().starts_with("scale: expected"), "{scale}");
    }
}

/// The page's data are JSON that ends where the script ends, and its probabilities are those it was given.
#[test]
fn the_page_holds_everything() {
    let attention = pair();
    let page = attention.html(&options(View::Head, Theme::Dark)).unwrap();
    for outside in ["http://", "https://", "src=", "url(", "{{"] {
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains(outside), "{outside}");
    }
    let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["tokens"][6]["label"], "<b>&\"");
    assert_eq!((&data["border"], &data["view"]), (&6.into(), &"head".into()));
    assert_eq!(data["colours"].as_array().unwrap().len(), 256);
    let encoded = data["probabilities"].as_str().unwrap();
    assert_eq!(encoded.len(), (2 * attention.probabilities.len()).div_ceil(3) * 4);
    assert_eq!(page.matches("<svg xmlns").count(), 2);
}

#[test]
fn a_second_run_gives_the_same_bytes() {
    for theme in [Theme::Light, Theme::Dark] {
        let draw = || pair().picture(&options(View::Rollout, theme)).unwrap();
        assert_eq!(draw().png(2.0).unwrap(), draw().png(2.0).unwrap());
        assert_eq!(draw().svg(), draw().svg());
    }
}

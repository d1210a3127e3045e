//! All colours of the pictures.

pub(super) mod curve;
#[cfg(not(target_arch = "wasm32"))]
mod theme;

#[cfg(not(target_arch = "wasm32"))]
pub use theme::Theme;
#[cfg(not(target_arch = "wasm32"))]
pub(super) use theme::{Inks, Rgb, Scale, hex};

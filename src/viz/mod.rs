//! Pictures from plain arrays. Nothing here knows files or GPUs.
//!
//! A page draws for itself, so of these it has the loss curve alone, which needs no fonts.

#[cfg(not(target_arch = "wasm32"))]
pub mod attention;
mod axis;
mod colour;
#[cfg(not(target_arch = "wasm32"))]
mod font;
pub mod loss_curve;
#[cfg(not(target_arch = "wasm32"))]
mod picture;
#[cfg(not(target_arch = "wasm32"))]
mod raster;
#[cfg(not(target_arch = "wasm32"))]
mod svg;
mod xml;

#[cfg(not(target_arch = "wasm32"))]
pub use colour::Theme;
#[cfg(not(target_arch = "wasm32"))]
pub use picture::Picture;

//! Pictures from plain arrays. Nothing here knows files or GPUs.

pub mod attention;
mod axis;
mod colour;
mod font;
pub mod loss_curve;
mod picture;
mod raster;
mod svg;
mod xml;

pub use colour::Theme;
pub use picture::Picture;

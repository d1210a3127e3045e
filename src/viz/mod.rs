//! Pictures from plain arrays. Nothing here knows files or GPUs.

mod axis;
pub mod loss_curve;

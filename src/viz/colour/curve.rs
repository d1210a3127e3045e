//! The colours of loss curves, as SVG spells them.

pub(in crate::viz) const PAPER: &str = "#ffffff";
pub(in crate::viz) const INK: &str = "#1f2328";
pub(in crate::viz) const SOFT: &str = "#59636e";
pub(in crate::viz) const GRID: &str = "#e6e9ed";
pub(in crate::viz) const TRAIN: &str = "#0b6bcb";
pub(in crate::viz) const HELD_OUT: &str = "#c2410c";
pub(in crate::viz) const RATE_INK: &str = "#6d4bc3";
pub(in crate::viz) const BATCH_INK: &str = "#0f766e";
pub(in crate::viz) const REFERENCE: &str = "#8a6d00";

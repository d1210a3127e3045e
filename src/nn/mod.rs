//! Layers and their parameters: declared once, laid out on a device, bound in each recording.

mod context;
mod declare;
mod dropout;
mod init;
mod layers;
mod padding;
mod parameters;
mod role;

pub use context::{Context, Dropouts};
pub use declare::{Declarations, Declared, Init, Parameter, ParameterSpec, Scope};
pub use dropout::DropoutSite;
pub use init::initial_values;
pub use layers::{Embedding, Ids, LayerNorm, Linear};
pub use padding::Padding;
pub(crate) use parameters::ALIGNMENT;
pub use parameters::Parameters;
pub use role::{Division, Role};

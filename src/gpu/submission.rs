//! What a device remembers of the commands that were handed to its driver.

use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

/// What a device remembers of what it was given.
pub(super) struct Submissions {
    /// Holds the newest read-back's number, which travels with its data.
    pub(super) proof: wgpu::Buffer,
    pub(super) reads: Mutex<u32>,
    /// How many submissions go before one that is lost; `u32::MAX` when none is to be.
    pub(super) before_loss: AtomicU32,
    /// How long one is meant to take at most, in seconds.
    pub(super) longest: f64,
    /// What was planned since somebody wanted to know.
    pub(super) plans: Mutex<Option<Vec<NamedPlan>>>,
}

/// What a recording is called, and how many seconds each of its submissions should take.
pub(super) type NamedPlan = (&'static str, Vec<f64>);

/// How long a submission should take at most, in seconds: drivers reset a device that does not answer for a second or
/// two, and some sooner.
pub const LONGEST_SUBMISSION: f64 = 0.25;

impl Submissions {
    pub(super) fn new(device: &wgpu::Device, longest: Option<f64>) -> Self {
        let proof = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("proof"),
            size: 4,
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let longest = longest.unwrap_or(LONGEST_SUBMISSION);
        let (reads, before_loss) = (Mutex::new(0), AtomicU32::new(u32::MAX));
        Submissions { proof, reads, before_loss, longest, plans: Mutex::default() }
    }
}

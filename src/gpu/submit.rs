//! Handing commands to the driver, and noticing when it loses them: some drivers drop a submission and report it as
//! done.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::context::Gpu;
use super::lock::lock;
use super::submission::NamedPlan;

impl Gpu {
    /// Submits commands; what became of them shows in [`Gpu::check`] and in what they prove. Gives back which submission it
    /// was, unless a test had it lost.
    pub(super) fn submit(&self, commands: wgpu::CommandBuffer) -> Option<wgpu::SubmissionIndex> {
        let before = &self.0.submissions.before_loss;
        let left = before.load(Ordering::Relaxed);
        if left != u32::MAX {
            before.store(left.wrapping_sub(1), Ordering::Relaxed);
        }
        (left != 0).then(|| self.0.queue.submit([commands]))
    }

    /// Writes the next read-back's number, which travels with the data as their proof, to where the device copies it from.
    /// The commands of the read-back are to be submitted before the guard is let go, so that no other takes the number.
    pub(super) fn number_read(&self) -> MutexGuard<'_, u32> {
        let mut number = lock(&self.0.submissions.reads);
        *number = number.wrapping_add(1);
        self.0.queue.write_buffer(&self.0.submissions.proof, 0, &number.to_le_bytes());
        number
    }

    /// Keeps the plan of a recording if somebody wants to know.
    pub(super) fn note_plan(&self, label: &'static str, plan: impl FnOnce() -> Vec<f64>) {
        if let Some(plans) = &mut *lock(&self.0.submissions.plans) {
            plans.push((label, plan()));
        }
    }

    /// The plans ([`super::Recording::plan`]) of all recordings that were made since this was called before, none the
    /// first time. For tests: most recordings are out of sight in what they serve.
    #[doc(hidden)]
    pub fn take_plans(&self) -> Vec<NamedPlan> {
        lock(&self.0.submissions.plans).replace(Vec::new()).unwrap_or_default()
    }

    /// Loses one submission without a word, as a bad driver does: the one after the next `before`. For tests.
    #[doc(hidden)]
    pub fn lose_submission(&self, before: u32) {
        self.0.submissions.before_loss.store(before, Ordering::Relaxed);
    }
}

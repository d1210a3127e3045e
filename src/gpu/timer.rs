//! Taking a [profile](super::profile).

use super::context::Gpu;
use super::lock::lock;
use super::profile::{Profile, Timing};
use crate::{Error, Result};

/// Queries in one set: WebGPU's limit.
const QUERIES: u32 = 4096;

/// Times the dispatches of one submission.
pub(super) struct Timer {
    sets: Vec<wgpu::QuerySet>,
    timings: Vec<Timing>,
}

impl Timer {
    fn new(gpu: &Gpu, dispatches: usize) -> Self {
        let set = |_| {
            gpu.0.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count: QUERIES,
            })
        };
        let sets = (0..(2 * dispatches).div_ceil(QUERIES as usize)).map(set).collect();
        Timer { sets, timings: Vec::with_capacity(dispatches) }
    }

    /// The timestamps around the next dispatch.
    pub(super) fn around(&mut self, timing: Timing) -> wgpu::ComputePassTimestampWrites<'_> {
        let first = 2 * self.timings.len() as u32;
        self.timings.push(timing);
        wgpu::ComputePassTimestampWrites {
            query_set: &self.sets[(first / QUERIES) as usize],
            beginning_of_pass_write_index: Some(first % QUERIES),
            end_of_pass_write_index: Some(first % QUERIES + 1),
        }
    }

    /// Lets the timestamps arrive in a buffer, for [`Gpu::take_profile`].
    pub(super) fn finish(self, gpu: &Gpu, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let bytes = self.sets.len() as u64 * u64::from(QUERIES) * 8;
        if bytes == 0 {
            return Ok(());
        }
        let buffer = gpu.allocate("timestamps", bytes, usage)?;
        let queries = 2 * self.timings.len() as u32;
        for (index, set) in (0..).zip(&self.sets) {
            let count = QUERIES.min(queries - index * QUERIES);
            encoder.resolve_query_set(set, 0..count, &buffer.0.raw, u64::from(index * QUERIES) * 8);
        }
        if let Some(profile) = &mut *lock(&gpu.0.profile) {
            profile.0.push((self.timings, buffer));
        }
        Ok(())
    }
}

impl Gpu {
    /// Times every dispatch of the replays that follow, until [`Gpu::take_profile`].
    ///
    /// # Errors
    /// [`Error::Limit`] on a device that was opened without timestamps, or has none.
    pub fn start_profile(&self) -> Result<()> {
        if !self.0.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(Error::Limit {
                operation: "a profile".into(),
                adapter: self.capabilities().name.clone(),
                expected: "timestamps".into(),
                found: "none".into(),
            });
        }
        *lock(&self.0.profile) = Some(Profile::default());
        Ok(())
    }

    /// What the dispatches took since [`Gpu::start_profile`], in the order in which they ran.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn take_profile(&self) -> Result<Vec<Timing>> {
        let Some(profile) = lock(&self.0.profile).take() else { return Ok(Vec::new()) };
        let tick = f64::from(self.0.queue.get_timestamp_period()) * 1e-9;
        let mut all = Vec::new();
        for (timings, buffer) in profile.0 {
            let stamps: Vec<u64> = self.read(&buffer, 0, 2 * timings.len()).await?;
            all.extend(timings.into_iter().zip(stamps.chunks(2)).map(|(timing, pair)| Timing {
                seconds: pair[1].saturating_sub(pair[0]) as f64 * tick,
                ..timing
            }));
        }
        Ok(all)
    }

    /// Whether a profile is taken.
    pub(super) fn is_profiled(&self) -> bool {
        lock(&self.0.profile).is_some()
    }

    /// A timer for a submission of so many dispatches, while a profile is taken.
    pub(super) fn timer(&self, dispatches: impl FnOnce() -> usize) -> Option<Timer> {
        self.is_profiled().then(|| Timer::new(self, dispatches()))
    }
}

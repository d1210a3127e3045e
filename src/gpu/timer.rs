//! Taking a [profile](super::profile).

use super::context::Gpu;
use super::cost::Cost;
use super::lock::lock;
use super::profile::{Profile, Timing};
use crate::{Error, Result};

/// Queries in one set: WebGPU's limit.
const QUERIES: u32 = 4096;

/// Lists the commands of one submission, and times its dispatches.
pub(super) struct Timer {
    /// None where nothing is timed.
    sets: Vec<wgpu::QuerySet>,
    timed: bool,
    timings: Vec<Timing>,
    /// How many of them are dispatches.
    dispatches: u32,
}

impl Timer {
    fn new(gpu: &Gpu, dispatches: usize, timed: bool) -> Self {
        let set = |_| {
            gpu.0.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count: QUERIES,
            })
        };
        let sets = if timed { (2 * dispatches).div_ceil(QUERIES as usize) } else { 0 };
        let sets = (0..sets).map(set).collect();
        Timer { sets, timed, timings: Vec::with_capacity(dispatches), dispatches: 0 }
    }

    /// Lists a command that cannot be timed.
    pub(super) fn list(&mut self, kernel: &str, bytes: f64) {
        let (kernel, cost) = (kernel.to_owned(), Cost::of_transfer(bytes));
        self.timings.push(Timing { kernel, groups: [0; 3], cost, seconds: None });
    }

    /// The timestamps around the next dispatch.
    pub(super) fn around(&mut self, timing: Timing) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let first = 2 * self.dispatches;
        self.dispatches += 1;
        self.timings.push(timing);
        self.timed.then(|| wgpu::ComputePassTimestampWrites {
            query_set: &self.sets[(first / QUERIES) as usize],
            beginning_of_pass_write_index: Some(first % QUERIES),
            end_of_pass_write_index: Some(first % QUERIES + 1),
        })
    }

    /// Lets the timestamps arrive in a buffer, for [`Gpu::take_profile`].
    pub(super) fn finish(self, gpu: &Gpu, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let bytes = self.sets.len() as u64 * u64::from(QUERIES) * 8;
        let buffer = match bytes {
            0 => None,
            bytes => Some(gpu.allocate("timestamps", bytes, usage)?),
        };
        if let Some(buffer) = &buffer {
            let queries = 2 * self.dispatches;
            for (index, set) in (0..).zip(&self.sets) {
                let count = QUERIES.min(queries - index * QUERIES);
                encoder.resolve_query_set(set, 0..count, &buffer.0.raw, u64::from(index * QUERIES) * 8);
            }
        }
        if let Some(profile) = &mut *lock(&gpu.0.profile) {
            profile.submissions.push((self.timings, buffer));
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
        if !self.has_timestamps() {
            return Err(Error::Limit {
                operation: "a profile".into(),
                adapter: self.capabilities().name.clone(),
                expected: "timestamps".into(),
                found: "none".into(),
            });
        }
        *lock(&self.0.profile) = Some(Profile { timed: true, submissions: Vec::new() });
        Ok(())
    }

    /// Lists every command of the replays that follow, until [`Gpu::take_profile`], and times none.
    pub fn start_list(&self) {
        *lock(&self.0.profile) = Some(Profile { timed: false, submissions: Vec::new() });
    }

    /// Whether dispatches can be timed: the device was opened with timestamps, and has them.
    pub fn has_timestamps(&self) -> bool {
        self.0.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// The commands since [`Gpu::start_profile`] or [`Gpu::start_list`], in the order in which they ran.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn take_profile(&self) -> Result<Vec<Timing>> {
        let Some(profile) = lock(&self.0.profile).take() else { return Ok(Vec::new()) };
        let tick = f64::from(self.0.queue.get_timestamp_period()) * 1e-9;
        let mut all = Vec::new();
        for (timings, buffer) in profile.submissions {
            let Some(buffer) = buffer else {
                all.extend(timings);
                continue;
            };
            let dispatches = timings.iter().filter(|timing| timing.groups != [0; 3]).count();
            let stamps: Vec<u64> = self.read(&buffer, 0, 2 * dispatches).await?;
            let mut pairs = stamps.chunks(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * tick);
            let timed = |timing: Timing| match timing.groups {
                [0, 0, 0] => timing,
                _ => Timing { seconds: pairs.next(), ..timing },
            };
            all.extend(timings.into_iter().map(timed));
        }
        Ok(all)
    }

    /// Whether a profile is taken.
    pub(super) fn is_profiled(&self) -> bool {
        lock(&self.0.profile).is_some()
    }

    /// A timer for a submission of so many dispatches, while a profile is taken.
    pub(super) fn timer(&self, dispatches: impl FnOnce() -> usize) -> Option<Timer> {
        let timed = lock(&self.0.profile).as_ref().map(|profile| profile.timed)?;
        Some(Timer::new(self, dispatches(), timed))
    }
}

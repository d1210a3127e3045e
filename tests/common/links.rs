//! Links between ranks that count what they carry, and that break.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wgrad::gpu::{Gpu, GpuOptions, MatrixOperands};
use wgrad::train::ranks::{Link, Local, Team, TrainerPlan, work};
use wgrad::{Error, Result};

use super::ranks::{PATIENCE, hello, with_others};

/// A link that counts the bytes that it sends, and breaks after some messages from rank 0.
pub struct Counting {
    pub link: Local,
    pub sent: Arc<AtomicU64>,
    /// So many messages arrive yet.
    pub lives: u64,
}

impl Link for Counting {
    fn rank(&self) -> usize {
        self.link.rank()
    }

    fn size(&self) -> usize {
        self.link.size()
    }

    fn send(&mut self, to: usize, message: Vec<u8>) -> Result<()> {
        self.sent.fetch_add(message.len() as u64, Ordering::Relaxed);
        self.link.send(to, message)
    }

    fn receive(&mut self, from: usize) -> Result<Vec<u8>> {
        if from == 0 {
            let message = "it was killed".to_owned();
            self.lives = self.lives.checked_sub(1).ok_or(Error::Rank { rank: 0, message })?;
        }
        self.link.receive(from)
    }
}

/// Runs `first` as rank 0 of two, and says how many bytes the other rank sends meanwhile.
pub fn sent_by_the_other(first: impl FnOnce(&Team)) -> u64 {
    // It must outlive the thread of the other rank.
    let all: &'static AtomicU64 = Box::leak(Box::default());
    let counts = move |link: Local| {
        let open = |_: &TrainerPlan, _: Option<MatrixOperands>| {
            pollster::block_on(Gpu::open(&GpuOptions::default()))
        };
        let sent = Arc::new(AtomicU64::new(0));
        let ended = work(&mut Counting { link, sent: sent.clone(), lives: u64::MAX }, &hello(), open);
        all.store(sent.load(Ordering::Relaxed), Ordering::Relaxed);
        ended
    };
    let ((), others) = with_others(2, PATIENCE, counts, first);
    others.into_iter().for_each(|other| other.unwrap());
    all.load(Ordering::Relaxed)
}

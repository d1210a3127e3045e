//! Links between ranks that count what they carry, and that break.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wgrad::train::ranks::{Link, Local};
use wgrad::{Error, Result};

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

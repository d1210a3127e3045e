//! How ranks reach each other: whole messages, in order, between any two.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::{Error, Result};

/// The way from one rank to all others. Messages between two ranks arrive whole and in the order in which they were sent.
pub trait Link {
    /// This rank, counted from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// Hands a message over, and does not wait until it has arrived; at most until some of what was sent before has left.
    /// Messages are taken in whether or not anybody waits for them, so that all ranks may send before they receive.
    ///
    /// # Errors
    /// [`Error::Rank`] when `to` cannot be reached any more.
    fn send(&mut self, to: usize, message: Vec<u8>) -> Result<()>;

    /// Waits for the next message from a rank.
    ///
    /// # Errors
    /// [`Error::Rank`] when `from` cannot be reached any more, or has been silent for too long.
    fn receive(&mut self, from: usize) -> Result<Vec<u8>>;

    /// Waits until all that was sent has left. Nothing is sent or received afterwards.
    fn close(&mut self) {}
}

/// A [`Link`] between threads of one process.
#[derive(Debug)]
pub struct Local {
    rank: usize,
    patience: Duration,
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
}

/// The links of so many ranks, each for a thread of its own. Who hears nothing for `patience` gives up.
pub fn locals(ranks: usize, patience: Duration) -> Vec<Local> {
    let mut from: Vec<Vec<Receiver<Vec<u8>>>> = (0..ranks).map(|_| Vec::new()).collect();
    let mut to: Vec<Vec<Sender<Vec<u8>>>> = Vec::new();
    for _ in 0..ranks {
        let pair = |receivers: &mut Vec<_>| {
            let (sender, receiver) = channel();
            receivers.push(receiver);
            sender
        };
        to.push(from.iter_mut().map(pair).collect());
    }
    let links = to.into_iter().zip(from).enumerate();
    links.map(|(rank, (to, from))| Local { rank, patience, to, from }).collect()
}

/// The link of a rank without others.
pub(super) fn alone() -> Local {
    Local { rank: 0, patience: Duration::ZERO, to: Vec::new(), from: Vec::new() }
}

impl Link for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len().max(1)
    }

    fn send(&mut self, to: usize, message: Vec<u8>) -> Result<()> {
        self.to[to].send(message).map_err(|_| gone(to))
    }

    fn receive(&mut self, from: usize) -> Result<Vec<u8>> {
        self.from[from].recv_timeout(self.patience).map_err(|error| match error {
            RecvTimeoutError::Disconnected => gone(from),
            RecvTimeoutError::Timeout => {
                let message = format!("nothing was heard of it for {:.0} s", self.patience.as_secs_f64());
                Error::Rank { rank: from, message }
            }
        })
    }
}

fn gone(rank: usize) -> Error {
    Error::Rank { rank, message: "it has ended".to_owned() }
}

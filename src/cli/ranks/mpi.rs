//! The way between ranks by MPI: one thread of each process makes all calls, never waits in one, and tells the others every
//! few seconds that it lives.
//!
//! Messages travel in pieces, of which a few are under way at once. A rank of which nothing is heard for too long ends the
//! whole job, as a stopped process, or a network that has gone, answers nobody; and so does one that stays when rank 0 ends.

mod room;
#[cfg(test)]
mod tests;
mod traffic;
mod world;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use mpi::Threading;
use wgrad::train::ranks::Link;
use wgrad::{Error, Result};

use super::super::print;
use room::Room;
use traffic::{Lost, Traffic};
use world::{ENDING, World, end_unless_done};

/// So long rank 0 waits for an answer of a rank that lives, and so long the others wait to be told what to do.
const ANSWER: [Duration; 2] = [Duration::from_secs(30 * 60), Duration::from_secs(24 * 60 * 60)];

/// This process among those of the job.
#[derive(Debug)]
pub struct Mpi {
    rank: usize,
    size: usize,
    orders: Option<Sender<(usize, Vec<u8>)>>,
    room: Arc<Room>,
    messages: Vec<Receiver<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Mpi {
    /// Joins the job. `lost` is told, on a thread of its own, which rank was silent for how long, right before all end.
    ///
    /// # Errors
    /// When MPI cannot be started.
    pub fn start(lost: impl Fn(usize, Duration) + Send + 'static) -> Result<Self> {
        let failed =
            |message: String| Error::Rank { rank: 0, message: format!("cannot start MPI: {message}") };
        let (orders, taken) = channel();
        let (ready, joined) = channel();
        let work = move || {
            // The thread that starts MPI makes all its calls.
            let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else { return };
            let world = World::new(&universe);
            let (senders, messages): (Vec<_>, Vec<_>) = (0..world.size).map(|_| channel()).unzip();
            let closing = Closing(Arc::new(Room::new(world.size)));
            let room = Arc::clone(&closing.0);
            if ready.send((world.rank, world.size, Arc::clone(&room), messages)).is_ok() {
                let tell = |found| match found {
                    Lost::Silent(rank, silent) => lost(rank, silent),
                    Lost::Stays(rank, stayed) => print::note(format_args!(
                        "error: rank {rank}: it lives, and has not ended {} s after rank 0: all ranks end",
                        stayed.as_secs()
                    )),
                };
                Traffic::new(world, senders, room).run(&taken, &tell);
            }
            drop(closing);
            // All ranks have said that they end, and wait for each other once more.
            let ended = end_unless_done(|| {
                print::note(format_args!(
                    "error: MPI has not ended in {} s, as when a rank is stopped after all is done: all ranks end",
                    ENDING.as_secs()
                ));
            });
            drop(universe);
            drop(ended);
        };
        let thread = Builder::new().name("mpi".to_owned()).spawn(work);
        let thread = thread.map_err(|error| failed(error.to_string()))?;
        let (rank, size, room, messages) =
            joined.recv().map_err(|_| failed("it was started before".to_owned()))?;
        Ok(Mpi { rank, size, orders: Some(orders), room, messages, thread: Some(thread) })
    }
}

/// Lets go who waits to send, however the thread of MPI ends.
struct Closing(Arc<Room>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Link for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&mut self, to: usize, message: Vec<u8>) -> Result<()> {
        // The thread of MPI takes all that comes, so what this waits for leaves though the other rank waits as well.
        let sent = self.room.enter(to, message.len())
            && self.orders.as_ref().is_some_and(|orders| orders.send((to, message)).is_ok());
        if sent { Ok(()) } else { Err(gone(to)) }
    }

    fn receive(&mut self, from: usize) -> Result<Vec<u8>> {
        let patience = ANSWER[usize::from(self.rank > 0)];
        self.messages[from].recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Disconnected => gone(from),
            RecvTimeoutError::Timeout => {
                let minutes = patience.as_secs() / 60;
                Error::Rank {
                    rank: from,
                    message: format!("it lives, and has not answered for {minutes} minutes"),
                }
            }
        })
    }

    fn close(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        self.close();
    }
}

fn gone(rank: usize) -> Error {
    Error::Rank { rank, message: "it has left".to_owned() }
}

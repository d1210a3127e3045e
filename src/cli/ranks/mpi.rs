//! The way between ranks by MPI: one thread of each process makes all calls, never waits in one, and tells the others every
//! few seconds that it lives.
//!
//! Messages travel in pieces, of which a few are under way at once. A rank of which nothing is heard for too long ends the
//! whole job: a stopped process, or a network that has gone, answers nobody.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::environment::Universe;
use mpi::ffi;
use wgrad::train::ranks::Link;
use wgrad::{Error, Result};

/// Bytes of a piece.
const PIECE: usize = 4 << 20;
/// Pieces between two ranks that are under way at once, in one direction.
const UNDER_WAY: usize = 4;
/// So often a rank says that it lives.
const BEAT: Duration = Duration::from_secs(2);
/// After so long a silence a rank is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// So much later by ranks that leave it to another one to tell.
const LATER: Duration = Duration::from_secs(10);
/// A thread that itself did not run for so long has no say in who was silent.
const ASLEEP: Duration = Duration::from_secs(10);
/// So long rank 0 waits for an answer of a rank that lives, and so long the others wait to be told what to do.
const ANSWER: [Duration; 2] = [Duration::from_secs(30 * 60), Duration::from_secs(24 * 60 * 60)];

/// What a piece is, as its tag.
const MORE: i32 = 1;
const LAST: i32 = 2;
const ALIVE: i32 = 3;
const BYE: i32 = 4;

/// This process among those of the job.
#[derive(Debug)]
pub struct Mpi {
    rank: usize,
    size: usize,
    orders: Option<Sender<(usize, Vec<u8>)>>,
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
            if ready.send((world.rank, world.size, messages)).is_ok() {
                Traffic::new(world, senders).run(&taken, &lost);
            }
            drop(universe);
        };
        let thread = Builder::new().name("mpi".to_owned()).spawn(work);
        let thread = thread.map_err(|error| failed(error.to_string()))?;
        let (rank, size, messages) = joined.recv().map_err(|_| failed("it was started before".to_owned()))?;
        Ok(Mpi { rank, size, orders: Some(orders), messages, thread: Some(thread) })
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
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send((to, message)).is_ok());
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

/// All processes of the job.
struct World {
    comm: ffi::MPI_Comm,
    rank: usize,
    size: usize,
}

impl World {
    fn new(_: &Universe) -> Self {
        let (mut rank, mut size) = (0, 1);
        // SAFETY: MPI was started, as the argument shows; the communicator of all processes always is, and what is written
        // to lives until the calls return.
        let comm = unsafe {
            let comm = ffi::RSMPI_COMM_WORLD;
            ffi::MPI_Comm_rank(comm, &mut rank);
            ffi::MPI_Comm_size(comm, &mut size);
            comm
        };
        World { comm, rank: rank.unsigned_abs() as usize, size: size.unsigned_abs() as usize }
    }

    /// Begins to send a piece.
    fn send(&self, to: usize, tag: i32, bytes: Box<[u8]>) -> UnderWay {
        // SAFETY: a handle that is about to be filled in.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        let count = bytes.len() as i32;
        // SAFETY: the bytes stay where they are, unchanged, until `UnderWay::is_done` has said that MPI no longer reads them.
        unsafe {
            let byte = ffi::RSMPI_UINT8_T;
            ffi::MPI_Isend(bytes.as_ptr().cast(), count, byte, to as i32, tag, self.comm, &mut request);
        }
        UnderWay { request, tag, bytes }
    }

    /// Begins to receive a piece, from whichever rank one has come.
    fn receive(&self) -> Option<(usize, UnderWay)> {
        // SAFETY: MPI fills the handles and the status in before they are read; the bytes that it writes to stay where they
        // are, unread, until `UnderWay::is_done` says that it has.
        unsafe {
            let (mut found, mut count) = (0, 0);
            let mut message = ffi::RSMPI_MESSAGE_NULL;
            let mut status: ffi::MPI_Status = std::mem::zeroed();
            let (any, tag) = (ffi::RSMPI_ANY_SOURCE, ffi::RSMPI_ANY_TAG);
            ffi::MPI_Improbe(any, tag, self.comm, &mut found, &mut message, &mut status);
            if found == 0 {
                return None;
            }
            let byte = ffi::RSMPI_UINT8_T;
            ffi::MPI_Get_count(&status, byte, &mut count);
            let mut bytes = vec![0_u8; count.unsigned_abs() as usize].into_boxed_slice();
            let mut request = ffi::RSMPI_REQUEST_NULL;
            ffi::MPI_Imrecv(bytes.as_mut_ptr().cast(), count, byte, &mut message, &mut request);
            let from = status.MPI_SOURCE.unsigned_abs() as usize;
            Some((from, UnderWay { request, tag: status.MPI_TAG, bytes }))
        }
    }

    /// Ends all processes.
    fn abort(&self) {
        // SAFETY: it takes plain values, and does not return.
        unsafe {
            ffi::MPI_Abort(self.comm, 1);
        }
    }
}

/// A piece that MPI reads or writes.
struct UnderWay {
    request: ffi::MPI_Request,
    tag: i32,
    bytes: Box<[u8]>,
}

impl UnderWay {
    fn is_done(&mut self) -> bool {
        let mut done = 0;
        // SAFETY: the handle is that of a call that was begun, or the null handle that the call below leaves.
        unsafe {
            ffi::MPI_Test(&mut self.request, &mut done, ffi::RSMPI_STATUS_IGNORE);
        }
        done != 0
    }
}

/// What goes on between this rank and another.
struct Peer {
    /// Messages to send, and how much of the first was.
    waiting: VecDeque<Vec<u8>>,
    sent: usize,
    sending: VecDeque<UnderWay>,
    receiving: VecDeque<UnderWay>,
    /// What has come of the message whose end has not.
    begun: Vec<u8>,
    /// None when the process no longer listens.
    to: Option<Sender<Vec<u8>>>,
    heard: Instant,
    told: Instant,
    /// The newest sign of life that was sent.
    beat: Option<UnderWay>,
    /// It has nothing more to say, and was told that this rank has not.
    left: bool,
    said_bye: bool,
}

struct Traffic {
    world: World,
    peers: Vec<Peer>,
    leaving: bool,
}

impl Traffic {
    fn new(world: World, senders: Vec<Sender<Vec<u8>>>) -> Self {
        let now = Instant::now();
        let peer = |to| Peer {
            waiting: VecDeque::new(),
            sent: 0,
            sending: VecDeque::new(),
            receiving: VecDeque::new(),
            begun: Vec::new(),
            to: Some(to),
            heard: now,
            told: now,
            beat: None,
            left: false,
            said_bye: false,
        };
        Traffic { peers: senders.into_iter().map(peer).collect(), world, leaving: false }
    }

    /// Carries messages until there are no more orders, all have arrived, and no other rank has anything to say.
    fn run(&mut self, orders: &Receiver<(usize, Vec<u8>)>, lost: &dyn Fn(usize, Duration)) {
        let (mut last, mut idle_since) = (Instant::now(), Instant::now());
        loop {
            let mut moved = self.take_orders(orders);
            moved |= self.receive();
            moved |= self.send();
            let now = Instant::now();
            if now - last > ASLEEP {
                self.peers.iter_mut().for_each(|peer| peer.heard = now);
            }
            last = now;
            if let Some((rank, silent)) = self.silent(now) {
                lost(rank, silent);
                self.world.abort();
            }
            if self.is_over() {
                return;
            }
            if moved {
                idle_since = now;
            } else {
                // The next message of an exchange comes soon; a step takes long.
                let quiet = now - idle_since;
                sleep(if quiet < Duration::from_millis(50) {
                    Duration::from_micros(50)
                } else {
                    Duration::from_millis(1)
                });
            }
        }
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.world.rank;
        (0..self.world.size).filter(move |&rank| rank != own)
    }

    fn take_orders(&mut self, orders: &Receiver<(usize, Vec<u8>)>) -> bool {
        let mut moved = false;
        while !self.leaving {
            match orders.try_recv() {
                Ok((to, message)) => {
                    self.peers[to].waiting.push_back(message);
                    moved = true;
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.leaving = true,
            }
        }
        moved
    }

    fn receive(&mut self) -> bool {
        let mut moved = false;
        while self.peers.iter().all(|peer| peer.receiving.len() < UNDER_WAY) {
            let Some((from, piece)) = self.world.receive() else { break };
            self.peers[from].receiving.push_back(piece);
            moved = true;
        }
        for peer in &mut self.peers {
            while let Some(mut piece) = peer.receiving.pop_front() {
                if !piece.is_done() {
                    peer.receiving.push_front(piece);
                    break;
                }
                (peer.heard, moved) = (Instant::now(), true);
                match piece.tag {
                    MORE | LAST => {
                        peer.begun.extend_from_slice(&piece.bytes);
                        if piece.tag == LAST {
                            let message = std::mem::take(&mut peer.begun);
                            if peer.to.as_ref().is_some_and(|to| to.send(message).is_err()) {
                                peer.to = None;
                            }
                        }
                    }
                    BYE => (peer.left, peer.to) = (true, None),
                    _ => {}
                }
            }
        }
        moved
    }

    fn send(&mut self) -> bool {
        let mut moved = false;
        for rank in self.others() {
            let Traffic { world, peers, leaving } = &mut *self;
            let peer = &mut peers[rank];
            while peer.sending.front_mut().is_some_and(UnderWay::is_done) {
                peer.sending.pop_front();
                moved = true;
            }
            while peer.sending.len() < UNDER_WAY {
                let Some(message) = peer.waiting.front() else { break };
                let end = message.len().min(peer.sent + PIECE);
                let piece = message[peer.sent..end].into();
                let tag = if end == message.len() { LAST } else { MORE };
                peer.sent = end;
                if tag == LAST {
                    peer.waiting.pop_front();
                    peer.sent = 0;
                }
                peer.sending.push_back(world.send(rank, tag, piece));
                (peer.told, moved) = (Instant::now(), true);
            }
            // Also while much is under way: a rank that is stopped takes nothing, and says nothing either.
            if peer.told.elapsed() > BEAT
                && !peer.said_bye
                && peer.beat.as_mut().is_none_or(UnderWay::is_done)
            {
                peer.told = Instant::now();
                peer.beat = Some(world.send(rank, ALIVE, Box::default()));
            }
            if *leaving && !peer.said_bye && peer.waiting.is_empty() {
                peer.said_bye = true;
                peer.sending.push_back(world.send(rank, BYE, Box::default()));
            }
        }
        moved
    }

    /// A rank that was silent for too long, and for how long. One rank tells it, unless that is the one.
    fn silent(&self, now: Instant) -> Option<(usize, Duration)> {
        self.others().find_map(|rank| {
            let peer = &self.peers[rank];
            let first = usize::from(rank == 0);
            let limit = if self.world.rank == first { SILENCE } else { SILENCE + LATER };
            let silent = now - peer.heard;
            (!peer.left && silent > limit).then_some((rank, silent))
        })
    }

    /// Whether nobody has anything to say any more.
    fn is_over(&self) -> bool {
        let over = |rank: usize| {
            let peer = &self.peers[rank];
            peer.left && peer.said_bye && peer.sending.is_empty() && peer.receiving.is_empty()
        };
        self.leaving && self.others().all(over)
    }
}

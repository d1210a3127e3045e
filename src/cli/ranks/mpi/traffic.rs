//! What the thread of MPI does: it carries messages in pieces, tells the others that this rank lives, and ends all where one
//! does not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::room::Room;
use super::world::{UnderWay, World};

/// Bytes of a piece: few, as only a whole one shows that a rank on a slow network lives.
const PIECE: usize = 128 << 10;
/// Pieces between two ranks that are under way at once, in one direction.
const UNDER_WAY: usize = 16;
/// So often a rank says that it lives.
const BEAT: Duration = Duration::from_secs(2);
/// After so long a silence a rank is given up, and so long one that lives may take to end when rank 0 does.
const SILENCE: Duration = Duration::from_secs(30);
/// So much later by ranks that leave it to another one to tell.
const LATER: Duration = Duration::from_secs(10);
/// A thread that itself did not run for so long has no say in who was silent.
const ASLEEP: Duration = Duration::from_secs(10);

/// What a piece is, as its tag.
const MORE: i32 = 1;
const LAST: i32 = 2;
const ALIVE: i32 = 3;
const BYE: i32 = 4;

/// Why all ranks are ended, with the rank because of which, and for how long it was so.
pub enum Lost {
    /// Nothing was heard of it.
    Silent(usize, Duration),
    /// It lives, and does not end though rank 0 does.
    Stays(usize, Duration),
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

pub struct Traffic {
    world: World,
    peers: Vec<Peer>,
    room: Arc<Room>,
    leaving: bool,
    /// When a piece of a message last arrived somewhere, or rank 0 began to leave.
    moved: Instant,
}

impl Traffic {
    /// `senders` take the messages of each rank; what waits for each is counted in `room`.
    pub fn new(world: World, senders: Vec<Sender<Vec<u8>>>, room: Arc<Room>) -> Self {
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
        let peers = senders.into_iter().map(peer).collect();
        Traffic { peers, world, room, leaving: false, moved: now }
    }

    /// Carries messages until there are no more orders, all have arrived, and no other rank has anything to say.
    pub fn run(&mut self, orders: &Receiver<(usize, Vec<u8>)>, lost: &dyn Fn(Lost)) {
        let (mut last, mut idle_since) = (Instant::now(), Instant::now());
        loop {
            let rank_0_left = self.rank_0_left();
            let mut moved = self.take_orders(orders);
            moved |= self.receive();
            moved |= self.send();
            let now = Instant::now();
            if now - last > ASLEEP {
                self.peers.iter_mut().for_each(|peer| peer.heard = now);
                self.moved = now;
            }
            last = now;
            if self.rank_0_left() != rank_0_left {
                self.moved = now;
            }
            if let Some(found) = self.silent(now).or_else(|| self.stays(now)) {
                lost(found);
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

    /// Takes all that comes, whether or not anybody waits for it: so a rank that sends before it receives is not held back by
    /// another one that does the same.
    fn receive(&mut self) -> bool {
        let (mut moved, mut arrived) = (false, false);
        for rank in self.others() {
            let Traffic { world, peers, .. } = &mut *self;
            let peer = &mut peers[rank];
            while peer.receiving.len() < UNDER_WAY {
                let Some(piece) = world.receive(rank) else { break };
                peer.receiving.push_back(piece);
                (peer.heard, moved) = (Instant::now(), true);
            }
            // In whatever order they come, each shows that the rank lives.
            let done = peer.receiving.iter_mut().map(|piece| piece.becomes_done()).filter(|done| *done);
            if done.count() > 0 {
                (peer.heard, moved) = (Instant::now(), true);
            }
            while peer.receiving.front_mut().is_some_and(UnderWay::is_done) {
                let Some(piece) = peer.receiving.pop_front() else { break };
                moved = true;
                match piece.tag {
                    MORE | LAST => {
                        arrived = true;
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
        if arrived {
            self.moved = Instant::now();
        }
        moved
    }

    fn send(&mut self) -> bool {
        let mut moved = false;
        for rank in self.others() {
            let Traffic { world, peers, room, leaving, moved: arrived } = &mut *self;
            let peer = &mut peers[rank];
            while peer.sending.front_mut().is_some_and(UnderWay::is_done) {
                peer.sending.pop_front();
                (*arrived, moved) = (Instant::now(), true);
            }
            while peer.sending.len() < UNDER_WAY {
                let Some(message) = peer.waiting.front() else { break };
                let end = message.len().min(peer.sent + PIECE);
                let piece = message[peer.sent..end].into();
                let tag = if end == message.len() { LAST } else { MORE };
                peer.sent = end;
                if tag == LAST {
                    room.leave(rank, end);
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

    /// The rank that was silent the longest, where that is too long. One rank tells it, unless that is the one.
    fn silent(&self, now: Instant) -> Option<Lost> {
        let silent = |rank: usize| {
            let peer = &self.peers[rank];
            let first = usize::from(rank == 0);
            let limit = if self.world.rank == first { SILENCE } else { SILENCE + LATER };
            let silent = now - peer.heard;
            (!peer.left && silent > limit).then_some((silent, rank))
        };
        let (silent, rank) = self.others().filter_map(silent).max()?;
        Some(Lost::Silent(rank, silent))
    }

    /// Rank 0 leaves when nobody has anything to do any more, or no more can be done.
    fn rank_0_left(&self) -> bool {
        if self.world.rank == 0 { self.leaving } else { self.peers[0].left }
    }

    /// A rank that lives and does not end although rank 0 does, as the thread that computes waits for its device: for ever,
    /// perhaps, where a driver hangs.
    fn stays(&self, now: Instant) -> Option<Lost> {
        let limit = if self.world.rank == 0 { SILENCE } else { SILENCE + LATER };
        let stayed = now - self.moved;
        if !self.rank_0_left() || stayed <= limit {
            return None;
        }
        let own = (!self.leaving).then_some(self.world.rank);
        let rank = own.or_else(|| self.others().find(|&rank| !self.peers[rank].left))?;
        Some(Lost::Stays(rank, stayed))
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

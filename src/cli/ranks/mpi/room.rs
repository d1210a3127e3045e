//! How much may wait to be sent.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that may wait for one rank; a single message may be longer.
const LIMIT: usize = 64 << 20;

/// The bytes that wait for each rank. Who would send too much waits until some have left.
#[derive(Debug)]
pub struct Room {
    /// None when nothing is sent any more.
    waiting: Mutex<Option<Vec<usize>>>,
    changed: Condvar,
}

impl Room {
    pub fn new(ranks: usize) -> Self {
        Room { waiting: Mutex::new(Some(vec![0; ranks])), changed: Condvar::new() }
    }

    /// Counts a message of so many bytes in, once there is room. False when nothing is sent any more.
    pub fn enter(&self, to: usize, bytes: usize) -> bool {
        let full = |waiting: &mut Option<Vec<usize>>| {
            waiting.as_ref().is_some_and(|waiting| waiting[to] > 0 && waiting[to] + bytes > LIMIT)
        };
        let waiting = self.changed.wait_while(self.waiting(), full);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = &mut *waiting else { return false };
        waiting[to] += bytes;
        true
    }

    /// A message of so many bytes has left.
    pub fn leave(&self, to: usize, bytes: usize) {
        if let Some(waiting) = &mut *self.waiting() {
            waiting[to] -= bytes;
        }
        self.changed.notify_all();
    }

    /// Nothing is sent any more.
    pub fn close(&self) {
        *self.waiting() = None;
        self.changed.notify_all();
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Vec<usize>>> {
        // The numbers are whole whenever the lock is free.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_sends_too_much_waits_until_some_has_left_or_all_ends() {
        let room = Room::new(2);
        // A message that is longer than all that may wait goes alone.
        assert!(room.enter(1, 2 * LIMIT));
        assert!(room.enter(0, LIMIT - 1) && room.enter(0, 1));
        for end in [false, true] {
            let (entered, found) = channel();
            thread::scope(|scope| {
                scope.spawn(|| entered.send(room.enter(1, 1)));
                let early = found.recv_timeout(Duration::from_millis(100));
                if end {
                    room.close();
                } else {
                    room.leave(1, 2 * LIMIT);
                }
                assert_eq!(early, Err(RecvTimeoutError::Timeout));
            });
            assert_eq!(found.recv(), Ok(!end));
            if !end {
                room.leave(1, 1);
                assert!(room.enter(1, 2 * LIMIT));
            }
        }
    }
}

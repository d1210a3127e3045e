//! Recordings by the shape of what they compute, such as B sequences of T tokens.

use crate::{Error, Result};

/// Bytes of transient memory that kept recordings may take on the device.
const KEPT_BYTES: u64 = 1 << 30;

/// What was recorded for some shapes; the one used last stands last, and the others give way when memory is short.
#[derive(Debug)]
pub(crate) struct Shapes<R, S = (usize, usize)> {
    kept: Vec<Entry<R, S>>,
    /// Whether they use each other's memory.
    shares: bool,
}

#[derive(Debug)]
struct Entry<R, S> {
    shape: S,
    bytes: u64,
    recorded: R,
}

impl<R, S: PartialEq> Shapes<R, S> {
    /// None yet.
    pub(crate) fn new() -> Self {
        Shapes { kept: Vec::new(), shares: false }
    }

    /// None yet, of recordings that use the memory of the one they are made beside. A page has no room for what chooses.
    pub(crate) fn sharing() -> Self {
        Shapes { kept: Vec::new(), shares: cfg!(not(target_arch = "wasm32")) }
    }

    /// Gives up all of them.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }

    /// What was recorded for `shape`; `make` records it, and says how many bytes it holds beyond those of the recording
    /// that it is made beside, where there is none. Memory of recordings that are given up is free when the device is done
    /// with them, for which `settle` waits.
    ///
    /// # Errors
    /// Those of `make`; when memory ran out, once more after all others were given up.
    pub(crate) fn get(
        &mut self,
        shape: S,
        make: impl Fn(Option<&R>) -> Result<(R, u64)>,
        settle: impl FnOnce() -> Result<()>,
    ) -> Result<&mut R> {
        let entry = match self.kept.iter().position(|entry| entry.shape == shape) {
            Some(at) => self.kept.remove(at),
            None => {
                let (recorded, bytes) = match make(self.largest().map(|entry| &entry.recorded)) {
                    Err(Error::OutOfMemory { .. }) if !self.kept.is_empty() => {
                        self.kept.clear();
                        settle()?;
                        make(None)?
                    }
                    other => other?,
                };
                while !self.kept.is_empty() && self.bytes(bytes) > KEPT_BYTES {
                    self.kept.remove(0);
                }
                Entry { shape, bytes, recorded }
            }
        };
        self.kept.push(entry);
        let last = self.kept.len() - 1;
        Ok(&mut self.kept[last].recorded)
    }

    /// The one that has most memory for others.
    fn largest(&self) -> Option<&Entry<R, S>> {
        if cfg!(target_arch = "wasm32") || !self.shares {
            return None;
        }
        self.kept.iter().max_by_key(|entry| entry.bytes)
    }

    /// What all hold together with a new one, but for the memory that they use in turn.
    fn bytes(&self, new: u64) -> u64 {
        let in_turn = self.largest().map_or(0, |entry| entry.bytes.max(new));
        self.kept.iter().map(|entry| entry.bytes).sum::<u64>() + new - in_turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_are_made_once_until_memory_is_short() {
        let made = std::cell::RefCell::new(Vec::new());
        let mut shapes = Shapes::new();
        let mut get = |shape: (usize, usize), bytes| {
            let make = |_: Option<&(usize, usize)>| {
                made.borrow_mut().push(shape);
                Ok((shape, bytes))
            };
            assert_eq!(*shapes.get(shape, make, || Ok(())).unwrap(), shape);
        };
        get((1, 8), 1 << 29);
        get((1, 16), 1 << 29);
        get((1, 8), 1 << 29);
        // (1, 16) was used longest ago.
        get((1, 32), 1 << 29);
        get((1, 8), 1 << 29);
        get((1, 16), 1 << 29);
        assert_eq!(*made.borrow(), [(1, 8), (1, 16), (1, 32), (1, 16)]);
    }

    #[test]
    fn a_full_device_gets_a_second_try() {
        let mut shapes = Shapes::new();
        shapes.get((1, 8), |_| Ok((1, 1)), || Ok(())).unwrap();
        let tries = std::cell::Cell::new(0);
        let full = |_: Option<&i32>| {
            tries.set(tries.get() + 1);
            let (operation, hint) = ("test".to_string(), String::new());
            if tries.get() == 1 { Err(Error::OutOfMemory { operation, bytes: 1, hint }) } else { Ok((2, 1)) }
        };
        let settled = std::cell::Cell::new(0);
        let settle = || {
            settled.set(tries.get());
            Ok(())
        };
        assert_eq!(*shapes.get((1, 16), full, settle).unwrap(), 2);
        assert_eq!(settled.get(), 1);
        assert_eq!(tries.get(), 2);
    }

    #[test]
    fn what_shares_memory_stays_beside_the_largest() {
        let mut shapes = Shapes::sharing();
        let mut get = |shape: (usize, usize), bytes| {
            let beside = std::cell::Cell::new(None);
            let make = |with: Option<&(usize, usize)>| {
                beside.set(with.copied());
                Ok((shape, bytes))
            };
            shapes.get(shape, make, || Ok(())).unwrap();
            beside.get()
        };
        assert_eq!(get((1, 512), 3 << 30), None);
        assert_eq!(get((1, 8), 1 << 20), Some((1, 512)));
        assert_eq!(get((1, 16), 1 << 20), Some((1, 512)));
        // None of them was given up.
        assert_eq!([get((1, 512), 0), get((1, 8), 0), get((1, 16), 0)], [None; 3]);
        // One that is larger by more than may be kept takes the place of the oldest.
        assert_eq!(get((1, 1024), 5 << 30), Some((1, 512)));
        assert_eq!(get((1, 512), 0), Some((1, 1024)));
    }
}

//! How much memory texts may take on their way from a file to a batch.
//!
//! One budget for the whole process, since memory is the process's: readers refuse a record that would not fit
//! ([`record_limit`]), tables kept whole are counted as they grow ([`Kept`]), and tokenizing, which takes a hundred and more
//! times the bytes of its text, waits for its turn ([`tokenizing`]). Models and what a GPU's driver takes are not in it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::format::thousands;
use crate::{Error, Result};

/// Bytes, unless [`set`] says otherwise.
pub const DEFAULT: u64 = 2 << 30;
/// With less, no text of a usual length could be tokenized beside the buffers of the readers.
pub const LEAST: u64 = 64 << 20;

/// What tokenizing takes at most for each byte of a text, in bytes: a text of single letters has a word, a token and their
/// places for every two bytes.
const PER_BYTE: u64 = 512;
/// No model sees as much of a text.
const LONGEST_TEXT: usize = 2 << 20;

static BUDGET: AtomicU64 = AtomicU64::new(DEFAULT);
/// Bytes of text that are being tokenized.
static TOKENIZED: Mutex<u64> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// Sets the budget in bytes.
///
/// # Errors
/// [`Error::Config`] for one below [`LEAST`].
pub fn set(bytes: u64) -> Result<()> {
    if bytes < LEAST {
        return Err(Error::config("memory", format!("at least {}", megabytes(LEAST)), megabytes(bytes)));
    }
    BUDGET.store(bytes, Ordering::Relaxed);
    Ok(())
}

/// The budget in bytes.
pub fn get() -> u64 {
    BUDGET.load(Ordering::Relaxed)
}

/// The bytes that a row, a line or a document may have before it is refused. Reading one takes some copies, and of one with
/// very many fields their places too.
pub fn record_limit() -> u64 {
    get() / 16
}

/// The bytes of a text that are looked at; what is beyond is left out or, in a corpus, is a text of its own.
pub fn text_limit() -> usize {
    usize::try_from(tokenized_at_once()).map_or(LONGEST_TEXT, |bytes| bytes.min(LONGEST_TEXT))
}

/// The bytes of texts to read before they are worked on together.
pub fn batch_limit() -> usize {
    usize::try_from(get() / 64).map_or(8 << 20, |bytes| bytes.min(8 << 20))
}

/// The most bytes of text that are tokenized at the same time.
fn tokenized_at_once() -> u64 {
    get() / 2 / PER_BYTE
}

/// `what` of `path` takes more than the budget, of which `found` tells.
pub fn exceeded(path: &Path, what: &str, found: impl Into<String>) -> Error {
    let expected = format!("{what} within {} (--memory gives more)", megabytes(get()));
    Error::file(path, expected, found)
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", thousands(bytes / 1_000_000))
}

/// Counts what is kept of a file until all of it was read.
#[derive(Debug, Default)]
pub struct Kept(u64);

impl Kept {
    /// Counts so many bytes more, of `path`.
    ///
    /// # Errors
    /// [`Error::File`] when they are more than the budget.
    pub fn add(&mut self, more: u64, path: &Path) -> Result<()> {
        self.0 += more;
        if self.0 <= get() {
            return Ok(());
        }
        Err(exceeded(path, "texts that are kept", "more of them"))
    }
}

/// The turn of one text to be tokenized.
#[derive(Debug)]
pub struct Turn(u64);

impl Drop for Turn {
    fn drop(&mut self) {
        *TOKENIZED.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        FREED.notify_all();
    }
}

/// Waits until a text that cleaning makes so many bytes long can be tokenized beside those that are. One alone need not
/// wait, so that a single thread never does.
pub fn tokenizing(bytes: u64) -> Turn {
    let mut others = TOKENIZED.lock().unwrap_or_else(PoisonError::into_inner);
    while *others > 0 && *others + bytes > tokenized_at_once() {
        others = FREED.wait(others).unwrap_or_else(PoisonError::into_inner);
    }
    *others += bytes;
    Turn(bytes)
}

/// Whether a text that cleaning makes so many bytes long can be tokenized at all.
pub fn can_be_tokenized(bytes: u64) -> bool {
    // Special tokens, and a prompt, come to the longest text that readers give.
    bytes <= tokenized_at_once().saturating_add(tokenized_at_once() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_waited_for() {
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let share = tokenized_at_once() / 3;
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let _turn = tokenizing(share);
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!((2..=3).contains(&most.into_inner()));
    }

    #[test]
    fn what_is_kept_is_counted() {
        let mut kept = Kept::default();
        kept.add(get(), Path::new("rows.csv")).unwrap();
        let error = kept.add(1, Path::new("rows.csv")).unwrap_err().to_string();
        assert!(error.contains("rows.csv") && error.contains("--memory"), "{error}");
        assert!(set(LEAST - 1).is_err());
    }
}

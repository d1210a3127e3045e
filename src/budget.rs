//! How much memory texts may take on their way from a file to a batch.
//!
//! One budget for the whole process, since memory is the process's: readers refuse a record that would not fit
//! ([`record_limit`]), and tokenizing, which takes a hundred and more times the bytes of its text, waits for its turn
//! ([`tokenizing`]). Tables that are kept whole are counted as they grow ([`Kept`]), all of them together: one to train with and
//! one to measure on share the budget. Models and what a GPU's driver takes are not in it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use crate::format::thousands;
use crate::{Error, Result};

/// The bytes that are the budget, unless [`set`] says otherwise or half of the machine's memory is more.
pub const DEFAULT: u64 = 2 << 30;
/// What is to be done about a refusal. Not all that read texts are commands, nor do all commands let one choose.
pub const HINT: &str = "a command's --memory gives more";
/// With less, no text of a usual length could be tokenized beside the buffers of the readers.
pub const LEAST: u64 = 64 << 20;

/// What tokenizing takes at most for each letter of a cleaned text, in bytes: a text of single letters has a word, a token and
/// their places for every two letters, of which one is a blank.
const PER_LETTER: u64 = 512;
/// No model sees as much of a text.
const LONGEST_TEXT: usize = 2 << 20;

/// What was set; 0 before.
static BUDGET: AtomicU64 = AtomicU64::new(0);
static IN_TURN: Mutex<InTurn> = Mutex::new(InTurn { letters: 0, waiting: 0 });
static FREED: Condvar = Condvar::new();
/// The bytes of all that is kept in this process.
static KEPT: AtomicU64 = AtomicU64::new(0);

/// Who is being tokenized, and who waits for it.
struct InTurn {
    letters: u64,
    /// Threads; mostly there are none to wake.
    waiting: usize,
}

/// Whether so many bytes can be the budget.
///
/// # Errors
/// [`Error::Config`] for less than [`LEAST`].
pub fn check(bytes: u64) -> Result<()> {
    if bytes < LEAST {
        return Err(Error::config("memory", format!("at least {}", megabytes(LEAST)), megabytes(bytes)));
    }
    Ok(())
}

/// Sets the budget in bytes.
///
/// # Errors
/// As [`check`].
pub fn set(bytes: u64) -> Result<()> {
    check(bytes)?;
    BUDGET.store(bytes, Ordering::Relaxed);
    Ok(())
}

/// The budget in bytes.
pub fn get() -> u64 {
    match BUDGET.load(Ordering::Relaxed) {
        0 => default(),
        set => set,
    }
}

/// [`DEFAULT`], or half of the memory that the machine, or the container that this process is in, has if that is more.
pub fn default() -> u64 {
    static HALF: OnceLock<u64> = OnceLock::new();
    DEFAULT.max(*HALF.get_or_init(|| physical().unwrap_or(0) / 2))
}

/// Bytes of memory that programs may still take, where the system tells; on macOS all there are.
pub fn free() -> Option<u64> {
    #[cfg(target_os = "linux")]
    return told("MemAvailable:");
    #[cfg(not(target_os = "linux"))]
    return physical();
}

/// What Linux says of its memory under this name, in bytes.
#[cfg(target_os = "linux")]
fn told(name: &str) -> Option<u64> {
    let about = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = about.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix("kB")?;
    Some(kibibytes.trim().parse::<u64>().ok()? << 10)
}

/// The bytes of memory that there are for this process, where the system tells.
#[cfg(target_os = "linux")]
fn physical() -> Option<u64> {
    let total = told("MemTotal:")?;
    // What a container may take, of the second and of the first version of control groups.
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = limits.iter().filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
    Some(limits.fold(total, u64::min))
}

#[cfg(target_os = "macos")]
fn physical() -> Option<u64> {
    let output = std::process::Command::new("sysctl").args(["-n", "hw.memsize"]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn physical() -> Option<u64> {
    None
}

/// The bytes that a row, a line or a document may have before it is refused. Reading one takes some copies, and of one with
/// very many fields their places too.
pub fn record_limit() -> u64 {
    get() / 16
}

/// The bytes of a text that are looked at; what is beyond is left out.
pub fn text_limit() -> usize {
    document_limit().min(LONGEST_TEXT)
}

/// The bytes that a document may have which is tokenized as a whole; in a corpus, what is beyond is a document of its own.
pub fn document_limit() -> usize {
    usize::try_from(tokenized_at_once()).unwrap_or(usize::MAX)
}

/// The part of a text that is looked at: whole characters within [`text_limit`].
pub fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(text_limit())]
}

/// Whether a part of a text is not looked at.
pub fn is_cut(text: &str) -> bool {
    text.len() > text_limit()
}

/// The bytes of texts to read before they are worked on together.
pub fn batch_limit() -> usize {
    usize::try_from(get() / 64).map_or(8 << 20, |bytes| bytes.min(8 << 20))
}

/// The most letters that are tokenized at the same time.
fn tokenized_at_once() -> u64 {
    get() / 2 / PER_LETTER
}

/// `what` of `path` takes more than the budget, of which `found` tells.
pub fn exceeded(path: &Path, what: &str, found: impl Into<String>) -> Error {
    let expected = format!("{what} within {} ({HINT})", megabytes(get()));
    Error::file(path, expected, found)
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", thousands(bytes / 1_000_000))
}

/// The share of the budget that something takes which is kept, such as a table; given back when this is dropped. A clone takes
/// as much once more.
#[derive(Debug)]
pub struct Kept {
    bytes: u64,
    /// What everything takes that has a share of the same budget.
    all: &'static AtomicU64,
}

impl Default for Kept {
    fn default() -> Self {
        Kept { bytes: 0, all: &KEPT }
    }
}

impl Kept {
    /// Counts so many bytes more, of `path`.
    ///
    /// # Errors
    /// [`Error::File`] when all that is kept comes to more than the budget.
    pub fn add(&mut self, more: u64, path: &Path) -> Result<()> {
        self.bytes += more;
        let before = self.all.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) <= get() {
            return Ok(());
        }
        Err(exceeded(path, "tables that are kept, all of them together,", "more"))
    }

    /// Takes over the share of another.
    pub fn join(&mut self, mut other: Kept) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Clone for Kept {
    fn clone(&self) -> Self {
        self.all.fetch_add(self.bytes, Ordering::Relaxed);
        Kept { bytes: self.bytes, all: self.all }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Two shares are equal whatever they take: they are no part of what a table says.
impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Kept {}

/// The turn of one text to be tokenized.
#[derive(Debug)]
pub struct Turn(u64);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = IN_TURN.lock().unwrap_or_else(PoisonError::into_inner);
        turns.letters -= self.0;
        if turns.waiting > 0 {
            FREED.notify_all();
        }
    }
}

/// Waits until a text that cleaning leaves so many letters of can be tokenized beside those that are. One alone need not
/// wait, so that a single thread never does.
pub fn tokenizing(letters: u64) -> Turn {
    let mut turns = IN_TURN.lock().unwrap_or_else(PoisonError::into_inner);
    while turns.letters > 0 && turns.letters + letters > tokenized_at_once() {
        turns.waiting += 1;
        turns = FREED.wait(turns).unwrap_or_else(PoisonError::into_inner);
        turns.waiting -= 1;
    }
    turns.letters += letters;
    Turn(letters)
}

/// Whether a text that cleaning leaves so many letters of can be tokenized at all.
pub fn can_be_tokenized(letters: u64) -> bool {
    // Special tokens, a prompt, and accents apart from their letters come to the longest text that readers give.
    letters <= tokenized_at_once().saturating_add(tokenized_at_once() / 2)
}

/// Whether so few letters are so small a part of what is tokenized at once that nobody need count them.
pub fn is_short(letters: u64) -> bool {
    letters <= tokenized_at_once() / 16
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
    fn all_that_is_kept_shares_one_budget() {
        static ALL: AtomicU64 = AtomicU64::new(0);
        let new = || Kept { bytes: 0, all: &ALL };
        let path = Path::new("rows.csv");
        let (mut train, mut more) = (new(), new());
        train.add(get() / 2, path).unwrap();
        more.add(get() / 2, path).unwrap();
        let error = new().add(2, path).unwrap_err().to_string();
        assert!(error.contains("rows.csv") && error.contains("--memory"), "{error}");
        // What was taken over is given back with what took it, and what is gone is not counted.
        train.join(more);
        let again = train.clone();
        assert!(new().add(0, path).is_err());
        drop(again);
        new().add(0, path).unwrap();
        drop(train);
        assert_eq!(ALL.load(Ordering::Relaxed), 0);
        new().add(get(), path).unwrap();
        assert!(set(LEAST - 1).is_err());
    }
}

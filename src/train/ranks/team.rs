//! The ranks that train together, as rank 0 sees them.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::blocks::shares;
use super::link::Link;
use super::message::{Kind, answered};
use super::times::StepTimes;
use crate::{Error, Result};

/// What ranks tell each other first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The program, with everything that decides what it computes. All must be the same.
    pub program: String,
    /// Its share of the work, in the units of the other ranks' shares.
    pub share: u32,
}

/// The version of what ranks tell each other.
const PROTOCOL: u32 = 3;

/// The ranks that train together, as rank 0 has them; itself alone where there are no others. Cheap to clone: all clones are
/// the same ranks.
#[derive(Clone, Default)]
pub struct Team {
    members: Option<Arc<Mutex<Members>>>,
    /// What the seconds of this rank's steps went to.
    times: Arc<Mutex<StepTimes>>,
}

pub(super) struct Members {
    pub link: Box<dyn Link + Send>,
    shares: Vec<u32>,
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team").field("ranks", &self.size()).finish()
    }
}

impl Team {
    /// No others.
    pub fn alone() -> Self {
        Team::default()
    }

    /// Greets the other ranks, as rank 0.
    ///
    /// # Errors
    /// [`Error::Rank`] for one that is another program, or that cannot be reached.
    pub fn gather(mut link: impl Link + Send + 'static, hello: &Hello) -> Result<Self> {
        let mut all = vec![hello.share];
        let mut other = None;
        for rank in 1..link.size() {
            let theirs = link.receive(rank)?;
            match read_hello(&theirs) {
                Some(theirs) if theirs.program == hello.program => all.push(theirs.share),
                theirs => {
                    let found = theirs.map_or("another".to_owned(), |theirs| theirs.program);
                    other.get_or_insert((rank, found));
                }
            }
        }
        // All are told, so that all end.
        let welcome = vec![u8::from(other.is_none())];
        for rank in 1..link.size() {
            link.send(rank, welcome.clone())?;
        }
        if let Some((rank, found)) = other {
            let message = format!(
                "expected the same wgrad on all ranks ({}), found {found}: install one version everywhere",
                hello.program
            );
            return Err(Error::Rank { rank, message });
        }
        let members = Members { link: Box::new(link), shares: all };
        Ok(Team { members: Some(Arc::new(Mutex::new(members))), ..Team::default() })
    }

    /// How many ranks there are.
    pub fn size(&self) -> usize {
        self.members().map_or(1, |members| members.link.size())
    }

    /// Which of so many blocks each rank computes.
    ///
    /// # Errors
    /// As [`shares`].
    pub fn divide(&self, blocks: usize) -> Result<Vec<Range<usize>>> {
        match self.members() {
            Some(members) => shares(blocks, &members.shares),
            None => shares(blocks, &[1]),
        }
    }

    /// What the seconds of all steps so far went to, by rank; no step of one block is taken apart.
    ///
    /// # Errors
    /// [`Error::Rank`] for one that cannot be reached any more.
    pub fn times(&self) -> Result<Vec<StepTimes>> {
        self.tell_all(&Kind::Times.message().0)?;
        let others = self.answers(|rank, bytes| {
            let take = |from: &mut super::wire::Reader<'_>| {
                serde_json::from_str(&from.text()?).map_err(|_| from.broken())
            };
            answered(bytes, rank, take)
        })?;
        let own = *self.times.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::iter::once(own).chain(others).collect())
    }

    /// Counts a step of this rank that was done.
    pub(super) fn count(&self, step: StepTimes) {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner) += step;
    }

    /// Tells the others that there is nothing more to do, and waits until they know.
    pub fn end(&self) {
        // Who cannot be reached has ended.
        let _ = self.tell_all(&Kind::End.message().0);
        if let Some(mut members) = self.members() {
            members.link.close();
        }
    }

    pub(super) fn members(&self) -> Option<MutexGuard<'_, Members>> {
        // What a thread that panicked was sending does not matter to who ends because of it.
        Some(self.members.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends one message to all others.
    pub(super) fn tell_all(&self, message: &[u8]) -> Result<()> {
        let Some(mut members) = self.members() else { return Ok(()) };
        (1..members.link.size()).try_for_each(|rank| members.link.send(rank, message.to_vec()))
    }

    /// Sends a message to one.
    pub(super) fn tell(&self, rank: usize, message: Vec<u8>) -> Result<()> {
        self.members().map_or(Ok(()), |mut members| members.link.send(rank, message))
    }

    /// The answer of one.
    pub(super) fn answer<T>(&self, rank: usize, take: impl Fn(&[u8]) -> Result<T>) -> Result<T> {
        let Some(mut members) = self.members().filter(|members| (1..members.link.size()).contains(&rank))
        else {
            let message = "expected a rank of this team: this is a defect".to_owned();
            return Err(Error::Rank { rank, message });
        };
        take(&members.link.receive(rank)?)
    }

    /// The answers of all others in their order; the first error only after all have answered, so that none is left unread.
    pub(super) fn answers<T>(&self, take: impl Fn(usize, &[u8]) -> Result<T>) -> Result<Vec<T>> {
        let Some(mut members) = self.members() else { return Ok(Vec::new()) };
        let mut answers = Vec::new();
        for rank in 1..members.link.size() {
            let bytes = members.link.receive(rank)?;
            answers.push(take(rank, &bytes));
        }
        answers.into_iter().collect()
    }
}

/// Greets rank 0, as any other, and says whether it wants this one. It says itself why it does not.
///
/// # Errors
/// [`Error::Rank`] when rank 0 cannot be reached.
pub(super) fn greet(link: &mut dyn Link, hello: &Hello) -> Result<bool> {
    link.send(0, written(hello))?;
    Ok(link.receive(0)? == [1])
}

fn written(hello: &Hello) -> Vec<u8> {
    // Two plain fields always serialise.
    serde_json::to_vec(&(PROTOCOL, hello)).unwrap_or_default()
}

/// None from a program that greets otherwise.
fn read_hello(bytes: &[u8]) -> Option<Hello> {
    let (protocol, hello) = serde_json::from_slice::<(u32, Hello)>(bytes).ok()?;
    (protocol == PROTOCOL).then_some(hello)
}

//! What a recipe says of local steps: ranks that learn by themselves, and only now and then from each other (DiLoCo, Douillard et
//! al. 2023).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::optimizer::is_amount;
use crate::error::quoted;
use crate::{Error, Result};

/// When ranks make one model of all of theirs, and how. Recipes hold it as text, `every=50,after=500,lr=0.7,momentum=0.9,ranks=4`, of which
/// only `every` must be there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalSteps {
    /// H: ranks synchronise after each step whose number is a multiple of it.
    pub every: u64,
    /// So many steps of the run are exact first.
    pub after: u64,
    /// The outer learning rate.
    pub learning_rate: f64,
    /// The outer momentum, by Nesterov.
    pub momentum: f64,
    /// How many ranks there are; none before the run has begun.
    pub ranks: Option<usize>,
}

/// What DiLoCo found best.
const LEARNING_RATE: f64 = 0.7;
const MOMENTUM: f64 = 0.9;

const EXPECTED: &str = "every=STEPS, and after=STEPS, lr=RATE, momentum=SHARE with commas between";

impl LocalSteps {
    /// Ranks that synchronise after each so many steps.
    pub fn every(steps: u64) -> Self {
        LocalSteps { every: steps, after: 0, learning_rate: LEARNING_RATE, momentum: MOMENTUM, ranks: None }
    }

    /// Whether the step after `done` steps is a rank's own.
    pub fn is_local(&self, done: u64) -> bool {
        done >= self.after
    }

    /// Whether ranks synchronise when `done` steps are done.
    pub fn is_sync(&self, done: u64) -> bool {
        done > self.after && done.is_multiple_of(self.every)
    }

    /// Whether something that is due every `interval` steps, 0 for never, is done after `done`: between two synchronisations there is no
    /// one model, and it waits for the next.
    pub fn is_due(&self, interval: u64, done: u64) -> bool {
        if interval == 0 {
            return false;
        }
        if done <= self.after {
            return done.is_multiple_of(interval);
        }
        let last = done.saturating_sub(self.every).max(self.after);
        self.is_sync(done) && done / interval > last / interval
    }

    /// After how many of `steps` steps something is exchanged.
    pub fn exchanges(&self, steps: u64) -> u64 {
        let exact = self.after.min(steps);
        let synced = steps / self.every - exact / self.every;
        // The last step is followed by one in any case.
        exact + synced + u64::from(steps > exact && !self.is_sync(steps))
    }

    fn check(&self) -> Result<()> {
        if self.every == 0 {
            return Err(Error::config("sync", "every=1 or more", "every=0"));
        }
        if !(self.learning_rate > 0.0 && is_amount(self.learning_rate)) {
            return Err(Error::config("sync", "lr=RATE, more than 0", format!("lr={}", self.learning_rate)));
        }
        // The outer step is done in f32, where a number just below 1 may become 1.
        if !((0.0..1.0).contains(&self.momentum) && (self.momentum as f32) < 1.0) {
            let found = format!("momentum={}", self.momentum);
            return Err(Error::config("sync", "momentum=SHARE, from 0 to below 1", found));
        }
        if self.ranks == Some(0) {
            return Err(Error::config("sync", "ranks=1 or more", "ranks=0"));
        }
        Ok(())
    }
}

impl FromStr for LocalSteps {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        fn number<T: FromStr>(value: &str, text: &str) -> Result<T> {
            value.trim().parse().map_err(|_| Error::config("sync", EXPECTED, quoted(text)))
        }
        let mut steps = LocalSteps::every(0);
        let mut given = false;
        for part in text.split(',') {
            let Some((key, value)) = part.split_once('=') else {
                return Err(Error::config("sync", EXPECTED, quoted(text)));
            };
            match key.trim() {
                "every" => (steps.every, given) = (number(value, text)?, true),
                "after" => steps.after = number(value, text)?,
                "lr" => steps.learning_rate = number(value, text)?,
                "momentum" => steps.momentum = number(value, text)?,
                "ranks" => steps.ranks = Some(number(value, text)?),
                _ => return Err(Error::config("sync", EXPECTED, quoted(text))),
            }
        }
        if !given {
            return Err(Error::config("sync", EXPECTED, quoted(text)));
        }
        steps.check()?;
        Ok(steps)
    }
}

impl fmt::Display for LocalSteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LocalSteps { every, after, learning_rate, momentum, ranks } = self;
        write!(f, "every={every},after={after},lr={learning_rate},momentum={momentum}")?;
        ranks.map_or(Ok(()), |ranks| write!(f, ",ranks={ranks}"))
    }
}

impl TryFrom<String> for LocalSteps {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<LocalSteps> for String {
    fn from(steps: LocalSteps) -> Self {
        steps.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let steps: LocalSteps = "every=50".parse().unwrap();
        assert_eq!(steps, LocalSteps::every(50));
        assert_eq!(steps.to_string(), "every=50,after=0,lr=0.7,momentum=0.9");
        let all: LocalSteps = "every=5, after=500, lr=1, momentum=0, ranks=4".parse().unwrap();
        assert_eq!(
            all,
            LocalSteps { every: 5, after: 500, learning_rate: 1.0, momentum: 0.0, ranks: Some(4) }
        );
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<LocalSteps>(&json).unwrap(), all);
        for bad in [
            "",
            "50",
            "after=5",
            "every=0",
            "every=-1",
            "every=5,lr=0",
            "every=5,lr=nan",
            "every=5,momentum=1",
            "every=5,momentum=0.99999999999",
            "every=5,ranks=0",
            "every=5,later=1",
        ] {
            let refused = bad.parse::<LocalSteps>().unwrap_err().to_string();
            assert!(refused.starts_with("sync: expected "), "{bad}: {refused}");
        }
    }

    #[test]
    fn what_falls_due_between_two_synchronisations_waits_for_the_next() {
        let steps = LocalSteps { after: 7, ..LocalSteps::every(5) };
        let of = |is: &dyn Fn(u64) -> bool| (1..=26).filter(|&done| is(done)).collect::<Vec<_>>();
        assert_eq!(of(&|done| steps.is_sync(done)), [10, 15, 20, 25]);
        assert_eq!(of(&|done| steps.is_due(3, done)), [3, 6, 10, 15, 20, 25]);
        assert_eq!(of(&|done| steps.is_due(6, done)), [6, 15, 20, 25]);
        assert_eq!(of(&|done| steps.is_due(10, done)), [10, 20]);
        assert!(of(&|done| steps.is_due(0, done)).is_empty());
        assert!(!steps.is_local(6) && steps.is_local(7));
        // Seven exact ones, four as above, and the last.
        assert_eq!([5, 7, 8, 10, 25, 26].map(|all| steps.exchanges(all)), [5, 7, 8, 8, 11, 12]);
        assert_eq!(LocalSteps::every(10).exchanges(100), 10);
    }
}

//! Which of several forms of a kernel a device takes, where measuring has shown what no rule can know.

use serde::{Deserialize, Serialize};

/// Forms by the name of what they compute: `sums=whole attention.short=fused`. What is not named is left to the rules of the
/// operations, which know the names ([`ops::choices`](crate::ops::choices)); `rules` alone leaves all of it to them, and nothing
/// at all says that nobody has chosen yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choices(String);

impl Choices {
    /// The names and their forms.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.split_whitespace().filter(|&one| one != RULES);
        all.map(|one| one.split_once('=').unwrap_or((one, "")))
    }

    /// The form that was chosen for a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(chosen, _)| *chosen == name).map(|(_, form)| form)
    }

    /// The same with a form for a name.
    #[must_use]
    pub fn with(&self, name: &str, form: &str) -> Self {
        let others = self.iter().filter(|(chosen, _)| *chosen != name);
        let mut all: Vec<String> = others.map(|(name, form)| format!("{name}={form}")).collect();
        all.push(format!("{name}={form}"));
        Choices(all.join(" "))
    }

    /// All is left to the rules.
    pub fn rules() -> Self {
        Choices(RULES.to_owned())
    }

    /// Whether nobody has chosen anything, not even the rules.
    pub fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }
}

/// The word for all that is not named.
const RULES: &str = "rules";

impl From<&str> for Choices {
    fn from(text: &str) -> Self {
        Choices(text.to_owned())
    }
}

impl std::fmt::Display for Choices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Choices;

    #[test]
    fn a_name_has_one_form() {
        let none = Choices::default();
        assert!(none.is_empty() && none.get("sums").is_none());
        let both = none.with("sums", "parts").with("attention.long", "fused").with("sums", "whole");
        assert_eq!(both.to_string(), "attention.long=fused sums=whole");
        assert_eq!((both.get("sums"), both.get("attention.short")), (Some("whole"), None));
        assert!(!Choices::rules().is_empty() && Choices::rules().iter().next().is_none());
        assert_eq!(Choices::rules().with("sums", "whole"), Choices::from("sums=whole"));
    }
}

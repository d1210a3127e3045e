//! What a parameter is for, by which an optimizer may treat it differently.

/// What a parameter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A matrix of a linear layer within the encoder.
    Matrix,
    /// A table of which rows are looked up.
    Embedding,
    /// A matrix above the encoder.
    Head,
    /// A bias, or the weights of a norm.
    Vector,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 4] = [Role::Matrix, Role::Embedding, Role::Head, Role::Vector];

    /// Its name in recipes and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Role::Matrix => "matrix",
            Role::Embedding => "embedding",
            Role::Head => "head",
            Role::Vector => "vector",
        }
    }
}

/// Which roles share segments: those with the same number, counted from 0. It decides the order of the optimizer's
/// sums, and so the bits of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division([usize; Role::ALL.len()]);

impl Default for Division {
    /// Vectors apart, because weight decay does not apply to them.
    fn default() -> Self {
        Division::new(|role, other| (role == Role::Vector) == (other == Role::Vector))
    }
}

impl Division {
    /// Puts those roles together that are `alike`.
    pub fn new(alike: impl Fn(Role, Role) -> bool) -> Self {
        let mut parts: Vec<Role> = Vec::new();
        Division(Role::ALL.map(|role| {
            parts.iter().position(|&part| alike(part, role)).unwrap_or_else(|| {
                parts.push(role);
                parts.len() - 1
            })
        }))
    }

    /// The number of a role's part.
    pub fn part(self, role: Role) -> usize {
        self.0[role as usize]
    }

    /// The numbers of all parts, in the order of their segments.
    pub fn parts(self) -> std::ops::Range<usize> {
        0..self.0.iter().max().map_or(0, |last| last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Division, Role};

    #[test]
    fn roles_that_are_alike_share_a_part() {
        let parts = |division: Division| Role::ALL.map(|role| division.part(role));
        assert_eq!(parts(Division::default()), [0, 0, 0, 1]);
        let apart = Division::new(|role, other| role == other);
        assert_eq!((parts(apart), apart.parts()), ([0, 1, 2, 3], 0..4));
        assert_eq!(parts(Division::new(|_, _| true)), [0; 4]);
    }
}

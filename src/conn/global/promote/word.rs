//! What an operator takes upon himself.

use std::collections::BTreeSet;

/// What an operator takes upon himself when another quorum is made the first. By default, nothing.
///
/// ```
/// use zkcells::Promotion;
/// let word = Promotion::default().without(3);
/// # assert_ne!(word, Promotion::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Promotion {
    pub(super) without: BTreeSet<usize>,
    pub(super) though_incomplete: bool,
    pub(super) over_rivals: bool,
    pub(super) though_behind: bool,
}

impl Promotion {
    /// Mirror `number` cannot answer, and no other was made the first there. What it alone has of
    /// answered writes is lost.
    #[must_use]
    pub fn without(mut self, number: usize) -> Self {
        self.without.insert(number);
        self
    }

    /// The chosen quorum may be one that is not [complete](crate::Identity::complete): what it lacks of the
    /// tree is lost.
    #[must_use]
    pub fn though_incomplete(mut self) -> Self {
        self.though_incomplete = true;
        self
    }

    /// Of two that were made the first apart from each other, the chosen one, or the one whose mirror it
    /// is, is right: what was written on the other alone is lost.
    #[must_use]
    pub fn over_rivals(mut self) -> Self {
        self.over_rivals = true;
        self
    }

    /// The chosen quorum may lack writes that another mirror has: those are lost. Nothing is compared.
    #[must_use]
    pub fn though_behind(mut self) -> Self {
        self.though_behind = true;
        self
    }
}

//! The commands that messages tell people to type: for the cell that they are about.

use super::options::GlobalOptions;

/// The commands that look after one cell.
#[derive(Clone, Debug)]
pub(crate) struct Remedy {
    cell: String,
}

impl Remedy {
    /// For the set with these options. A cell keeps its set where its name says.
    pub(crate) fn of(options: &GlobalOptions) -> Self {
        let cell = options.home.components().next_back().unwrap_or_default().to_string();
        Remedy { cell }
    }

    /// How its quorums are made a set; `words` are flags.
    pub(crate) fn init(&self, words: &[&str]) -> String {
        self.command(&["init", &self.cell], words)
    }

    /// How its quorums are asked who they are.
    pub(crate) fn status(&self) -> String {
        self.command(&["status", &self.cell], &[])
    }

    /// How quorum `number` is made the first; `words` are flags.
    pub(crate) fn promote(&self, number: usize, words: &[&str]) -> String {
        let number = number.to_string();
        self.command(&["promote", &self.cell, &number, "--old-first-is-gone"], words)
    }

    /// How its quorums are compared.
    pub(crate) fn diff(&self) -> String {
        self.command(&["diff", &self.tree()], &[])
    }

    /// How its mirrors are mended.
    pub(crate) fn repair(&self) -> String {
        self.command(&["repair", "--apply", &self.tree()], &[])
    }

    fn tree(&self) -> String {
        format!("/zk/{}", self.cell)
    }

    fn command(&self, parts: &[&str], words: &[&str]) -> String {
        format!("`zk global {}`", [parts, words].concat().join(" "))
    }

    /// All that messages say of one quorum, and each command that others are put together of: for a test
    /// that types what it reads.
    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<String> {
        use super::identity::Wrong;
        let wrongs = [
            Wrong::Missing,
            Wrong::Unreadable("torn".into()),
            Wrong::Foreign,
            Wrong::Older(1, 2),
            Wrong::Newer(2, 1),
            Wrong::Two(1),
            Wrong::Twice,
            Wrong::NotFirst(1),
            Wrong::Restored,
            Wrong::Stopped,
        ];
        let commands =
            [self.init(&[]), self.status(), self.promote(3, &[]), self.diff(), self.repair()];
        wrongs.iter().map(|wrong| wrong.told(1, self)).chain(commands).collect()
    }
}

//! The names of contenders' nodes, in the four ways that are in use, and their order.

use std::fmt;

/// What may be held at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockMode {
    /// By one alone.
    Exclusive,
    /// By any number of those who share.
    Shared,
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockMode::Exclusive => "exclusive",
            LockMode::Shared => "shared",
        })
    }
}

/// Whose names the nodes of a lock have.
///
/// Clients of that system and of this crate exclude one another on one path. Whatever the own
/// choice, nodes with any of these names are waited for: each is some system's contender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockNames {
    /// `lock-0000000007`: Vitess's, and menagerie's. No other child may be in the directory as long
    /// as clients of Vitess use it: they wait for whatever sorts first.
    #[default]
    Vitess,
    /// `_c_2f0c…-lock-0000000007`: those of Curator's `InterProcessMutex` and `LeaderSelector`, and
    /// of go-zookeeper's lock.
    Curator,
    /// `2f0c…__lock__0000000007`: those of Kazoo's `Lock` and `Election`. Its clients do not make
    /// their directory anew, so it is persistent here too. Its `Lock` does not know of readers, and gets
    /// in beside those of an [`RwLock`](super::RwLock) (2.11): its `WriteLock` waits for them.
    Kazoo,
    /// `_c_2f0c…-write-0000000007`: those of the write side of zksync's `RWMutex`. No other child may
    /// be in the directory as long as its clients use it: they fail.
    Zksync,
}

/// A way to name nodes: what stands around the id, and before the number.
struct Form {
    names: LockNames,
    mode: LockMode,
    /// Whether an id stands before the stem, and what before the id.
    head: Option<&'static str>,
    stem: &'static str,
}

const fn form(
    names: LockNames,
    mode: LockMode,
    head: Option<&'static str>,
    stem: &'static str,
) -> Form {
    Form { names, mode, head, stem }
}

/// All ways, those of plain locks first.
const FORMS: &[Form] = &[
    form(LockNames::Vitess, LockMode::Exclusive, None, "lock-"),
    form(LockNames::Curator, LockMode::Exclusive, Some("_c_"), "-lock-"),
    form(LockNames::Kazoo, LockMode::Exclusive, Some(""), "__lock__"),
    form(LockNames::Zksync, LockMode::Exclusive, Some("_c_"), "-write-"),
    form(LockNames::Zksync, LockMode::Shared, Some("_c_"), "-read-"),
    form(LockNames::Kazoo, LockMode::Shared, Some(""), "__rlock__"),
    form(LockNames::Curator, LockMode::Exclusive, Some("_c_"), "-__WRIT__"),
    form(LockNames::Curator, LockMode::Shared, Some("_c_"), "-__READ__"),
];

/// What the name of a contender's node tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContenderName<'a> {
    pub(crate) names: LockNames,
    pub(crate) mode: LockMode,
    /// The random id in it, if the system puts one there.
    pub(crate) id: Option<&'a str>,
    pub(crate) sequence: i32,
}

impl<'a> ContenderName<'a> {
    /// Reads the name of a node; `None` if it is no contender's.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        FORMS.iter().find_map(|form| {
            let at = name.rfind(form.stem)?;
            let (before, sequence) = (&name[..at], &name[at + form.stem.len()..]);
            let id = match form.head {
                None => before.is_empty().then_some(None)?,
                Some(head) => Some(before.strip_prefix(head).filter(|id| !id.is_empty())?),
            };
            let Form { names, mode, .. } = *form;
            Some(ContenderName { names, mode, id, sequence: sequence_of(sequence)? })
        })
    }
}

/// Servers print numbers as `%010d`, so those behind the wrap have a sign.
fn sequence_of(text: &str) -> Option<i32> {
    (text.len() >= 10 && !text.starts_with('+')).then(|| text.parse().ok())?
}

/// The name of a lock's node up to its number, with `id` in it where there is a place for one.
pub(crate) fn stem(names: LockNames, id: &str) -> String {
    match names {
        LockNames::Vitess => "lock-".to_owned(),
        LockNames::Curator => format!("_c_{}-lock-", dashed(id)),
        LockNames::Kazoo => format!("{id}__lock__"),
        LockNames::Zksync => format!("_c_{id}-write-"),
    }
}

/// An id as a UUID is printed: Curator cuts 36 characters off its names.
pub(crate) fn dashed(id: &str) -> String {
    match uuid::Uuid::parse_str(id) {
        Ok(uuid) => uuid.hyphenated().to_string(),
        Err(_) => id.to_owned(),
    }
}

/// A random id, 32 hexadecimal digits.
pub(crate) fn random_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// How far number `a` is before number `b`: positive when it was given first. Numbers wrap behind
/// 2147483647, so they are compared by their distance.
pub(crate) fn distance(a: i32, b: i32) -> i32 {
    b.wrapping_sub(a)
}

/// Where a contender stands among the children of its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The own node is not there.
    Missing,
    /// Nobody is before it who matters.
    First,
    /// Its nearest predecessor, and how many there are.
    Behind(String, usize),
}

/// Where `own` stands among `names`, counting those for whom `matters` says so. Foreign children
/// are passed over.
pub(crate) fn standing(
    names: &[String],
    own: &str,
    matters: impl Fn(&ContenderName<'_>) -> bool,
) -> Standing {
    let Some(mine) = ContenderName::parse(own) else { return Standing::Missing };
    if !names.iter().any(|name| name == own) {
        return Standing::Missing;
    }
    let before = names.iter().filter_map(|name| {
        let other = ContenderName::parse(name)?;
        let ahead = distance(other.sequence, mine.sequence);
        (ahead > 0 && matters(&other)).then_some((ahead, name))
    });
    let count = before.clone().count();
    match before.min() {
        None => Standing::First,
        Some((_, nearest)) => Standing::Behind(nearest.clone(), count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn the_names_of_all_systems_are_read() {
        for (name, names, mode) in [
            ("lock-0000000007", LockNames::Vitess, LockMode::Exclusive),
            (
                "_c_01234567-89ab-cdef-0123-456789abcdef-lock-0000000007",
                LockNames::Curator,
                LockMode::Exclusive,
            ),
            (
                "_c_01234567-89ab-cdef-0123-456789abcdef-__READ__0000000007",
                LockNames::Curator,
                LockMode::Shared,
            ),
            (
                "0123456789abcdef0123456789abcdef__lock__0000000007",
                LockNames::Kazoo,
                LockMode::Exclusive,
            ),
            (
                "0123456789abcdef0123456789abcdef__rlock__0000000007",
                LockNames::Kazoo,
                LockMode::Shared,
            ),
            (
                "_c_0123456789abcdef0123456789abcdef-write-0000000007",
                LockNames::Zksync,
                LockMode::Exclusive,
            ),
            (
                "_c_0123456789abcdef0123456789abcdef-read-0000000007",
                LockNames::Zksync,
                LockMode::Shared,
            ),
        ] {
            let read = ContenderName::parse(name).unwrap();
            assert_eq!((read.names, read.mode, read.sequence), (names, mode, 7), "{name}");
        }
    }

    #[test]
    fn the_own_names_are_read_again() {
        for names in [LockNames::Vitess, LockNames::Curator, LockNames::Kazoo, LockNames::Zksync] {
            let name = format!("{}0000000012", stem(names, ID));
            let read = ContenderName::parse(&name).unwrap();
            assert_eq!((read.names, read.mode, read.sequence), (names, LockMode::Exclusive, 12));
            if let Some(id) = read.id {
                assert_eq!(id.replace('-', ""), ID);
            }
        }
    }

    #[test]
    fn foreign_names_are_nobodys() {
        for name in [
            "lock-7",
            "lock-",
            "xlock-0000000007",
            "lock-00000000x7",
            "__lock__0000000007",
            "read-1",
        ] {
            assert_eq!(ContenderName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn numbers_go_on_behind_the_wrap() {
        let names: Vec<String> = ["lock--2147483648", "lock-2147483646", "lock-2147483647", "x"]
            .map(str::to_owned)
            .into();
        let at = |own: &str| standing(&names, own, |_| true);
        assert_eq!(at("lock-2147483646"), Standing::First);
        assert_eq!(at("lock-2147483647"), Standing::Behind("lock-2147483646".into(), 1));
        assert_eq!(at("lock--2147483648"), Standing::Behind("lock-2147483647".into(), 2));
        assert_eq!(at("lock-0000000001"), Standing::Missing);
    }
}

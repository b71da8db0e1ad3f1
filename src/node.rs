//! What a node is: its data, its [`Stat`], who may touch it, and how it is created.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha1::{Digest as _, Sha1};

/// ZooKeeper's eleven facts about a node.
///
/// Transaction ids (`…zxid`) and times compare within one cell only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stat {
    /// The transaction that created the node.
    pub czxid: i64,
    /// The transaction that last set its data.
    pub mzxid: i64,
    /// When it was created, in milliseconds since 1970 by the server's clock.
    pub ctime: i64,
    /// When its data was last set, in milliseconds since 1970 by the server's clock.
    pub mtime: i64,
    /// How often its data was set.
    pub version: i32,
    /// How often its set of children changed.
    pub cversion: i32,
    /// How often its ACL was set.
    pub aversion: i32,
    /// The session that an ephemeral node belongs to; 0 for every other node. (Servers mark
    /// containers and TTL nodes here, but do not show it.)
    pub ephemeral_owner: i64,
    /// The length of its data in bytes.
    pub data_length: i32,
    /// How many children it has.
    pub num_children: i32,
    /// The transaction that last created or deleted a child.
    pub pzxid: i64,
}

impl Stat {
    /// Whether the node ends with the session that made it.
    pub fn is_ephemeral(&self) -> bool {
        self.ephemeral_owner != 0
    }

    /// [`ctime`](Self::ctime) as a time.
    pub fn created(&self) -> SystemTime {
        time(self.ctime)
    }

    /// [`mtime`](Self::mtime) as a time.
    pub fn modified(&self) -> SystemTime {
        time(self.mtime)
    }
}

fn time(millis: i64) -> SystemTime {
    let distance = Duration::from_millis(millis.unsigned_abs());
    let time = if millis < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A node's data together with its [`Stat`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The data, at most about 1 MiB.
    pub data: Bytes,
    /// The facts about it.
    pub stat: Stat,
}

/// The names below a node, sorted by their bytes, together with the node's [`Stat`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Children {
    /// The names, not paths, in ascending order.
    pub names: Vec<String>,
    /// The facts about the node that was listed.
    pub stat: Stat,
}

impl IntoIterator for Children {
    type Item = String;
    type IntoIter = std::vec::IntoIter<String>;
    fn into_iter(self) -> Self::IntoIter {
        self.names.into_iter()
    }
}

/// A set of rights on a node.
///
/// ```
/// use zkcells::Perms;
/// assert!(Perms::DIRECTORY.has(Perms::CREATE | Perms::DELETE));
/// assert_eq!(Perms::FILE.to_string(), "rw--a");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Perms(u32);

impl Perms {
    /// No right at all.
    pub const NONE: Perms = Perms(0);
    /// Get its data and list its children.
    pub const READ: Perms = Perms(1);
    /// Set its data.
    pub const WRITE: Perms = Perms(2);
    /// Create children.
    pub const CREATE: Perms = Perms(4);
    /// Delete children.
    pub const DELETE: Perms = Perms(8);
    /// Set its ACL.
    pub const ADMIN: Perms = Perms(16);
    /// Every right.
    pub const ALL: Perms = Perms(31);
    /// What Vitess gives a node that has children: every right.
    #[doc(alias = "PERM_DIRECTORY")]
    pub const DIRECTORY: Perms = Perms::ALL;
    /// What Vitess gives a node that behaves like a file: no children, so no right to make them.
    #[doc(alias = "PERM_FILE")]
    pub const FILE: Perms = Perms(1 | 2 | 16);

    /// The rights in ZooKeeper's bits; unknown bits are dropped.
    pub const fn from_bits(bits: u32) -> Self {
        Perms(bits & 31)
    }

    /// ZooKeeper's bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` is in this set.
    pub const fn has(self, other: Perms) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Perms {
    type Output = Perms;
    fn bitor(self, other: Perms) -> Perms {
        Perms(self.0 | other.0)
    }
}

impl std::ops::BitAnd for Perms {
    type Output = Perms;
    fn bitand(self, other: Perms) -> Perms {
        Perms(self.0 & other.0)
    }
}

/// Prints as `rwdca`, with `-` for what is missing, in the order of Vitess's `zk stat`.
impl fmt::Display for Perms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (perm, letter) in [
            (Perms::READ, 'r'),
            (Perms::WRITE, 'w'),
            (Perms::DELETE, 'd'),
            (Perms::CREATE, 'c'),
            (Perms::ADMIN, 'a'),
        ] {
            write!(f, "{}", if self.has(perm) { letter } else { '-' })?;
        }
        Ok(())
    }
}

/// One entry of a node's access list: who, and which rights.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acl {
    /// The rights.
    pub perms: Perms,
    /// How the identity was proved: `world`, `auth`, `digest`, `ip`, `sasl`, `x509`.
    pub scheme: String,
    /// Who, in the words of the scheme.
    pub id: String,
}

impl Acl {
    /// An entry as ZooKeeper spells it.
    pub fn new(perms: Perms, scheme: impl Into<String>, id: impl Into<String>) -> Self {
        Acl { perms, scheme: scheme.into(), id: id.into() }
    }

    /// Everybody, with these rights.
    pub fn world(perms: Perms) -> Self {
        Acl::new(perms, "world", "anyone")
    }

    /// Whoever creates the node, by every identity that the session has proved.
    pub fn creator(perms: Perms) -> Self {
        Acl::new(perms, "auth", "")
    }

    /// One user with a password, as ZooKeeper's `digest` scheme stores it.
    ///
    /// The scheme is `base64(sha1(user:password))` without salt: who can read it can guess it.
    ///
    /// ```
    /// use zkcells::{Acl, Perms};
    /// let acl = Acl::digest(Perms::ALL, "super", "test");
    /// assert_eq!(acl.id, "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
    /// ```
    pub fn digest(perms: Perms, user: &str, password: &str) -> Self {
        let hash = STANDARD.encode(Sha1::digest(format!("{user}:{password}")));
        Acl::new(perms, "digest", format!("{user}:{hash}"))
    }

    /// What a list grants: neither the order of its entries matters, nor how often one stands there.
    /// Servers drop doubles as they are sent, and may store two where they fill in who one is.
    pub(crate) fn granted(acl: &[Acl]) -> BTreeSet<String> {
        acl.iter().map(ToString::to_string).collect()
    }

    /// Whether servers keep the hash of a password from us: they do from who may not set the list.
    pub(crate) fn is_hidden(&self) -> bool {
        self.scheme == "digest" && self.id.ends_with(":x")
    }

    /// The list that gives everybody every right.
    pub fn open() -> Vec<Acl> {
        vec![Acl::world(Perms::ALL)]
    }
}

/// Prints as `world:anyone rwdca`.
impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.scheme, self.id, self.perms)
    }
}

/// Whether `acl` is that of a directory in Vitess's sense: every entry has [`Perms::DIRECTORY`].
///
/// An empty list is one too.
#[doc(alias = "IsDirectory")]
pub fn is_directory(acl: &[Acl]) -> bool {
    acl.iter().all(|entry| entry.perms == Perms::DIRECTORY)
}

/// How long a node lives and how it is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Until it is deleted.
    #[default]
    Persistent,
    /// Until it is deleted; the server appends a number of ten digits to the name.
    PersistentSequential,
    /// Until it is deleted or its session ends.
    Ephemeral,
    /// Until it is deleted or its session ends; the server appends a number to the name.
    EphemeralSequential,
    /// Until it has lost its last child; servers look about once a minute.
    Container,
    /// Until it has been idle and without children for this long. Servers must allow it
    /// (`zookeeper.extendedTypesEnabled`); otherwise `Unsupported`. Milliseconds count.
    Ttl(Duration),
    /// As [`Ttl`](Mode::Ttl); the server appends a number to the name.
    TtlSequential(Duration),
}

impl Mode {
    /// Whether the server appends a number to the name.
    pub fn is_sequential(self) -> bool {
        matches!(
            self,
            Mode::PersistentSequential | Mode::EphemeralSequential | Mode::TtlSequential(_)
        )
    }

    /// Whether the node ends with the session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, Mode::Ephemeral | Mode::EphemeralSequential)
    }

    /// The time to live, if it has one.
    pub fn ttl(self) -> Option<Duration> {
        match self {
            Mode::Ttl(ttl) | Mode::TtlSequential(ttl) => Some(ttl),
            _ => None,
        }
    }
}

/// How a node is created: its [`Mode`] and its access list.
///
/// A [`Mode`] converts, with every right for everybody.
///
/// ```
/// use zkcells::{Acl, CreateOptions, Mode, Perms};
/// let options = CreateOptions::from(Mode::Ephemeral).with_acl(vec![Acl::world(Perms::FILE)]);
/// assert_eq!(options.acl[0].perms, Perms::FILE);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateOptions {
    /// How long it lives and how it is named.
    pub mode: Mode,
    /// Who may do what with it.
    pub acl: Vec<Acl>,
    /// A random text that the node's name or data carries and no other node does.
    pub id: Option<Arc<str>>,
}

impl CreateOptions {
    /// The same, promising that the node's name or data carries `id`, which no other node does.
    ///
    /// By it a node is known as ours when the reply to its creation was lost: then such a create is
    /// always answered exactly, and a sequential one never makes a second node. Without it, a
    /// create whose reply was lost is mostly `OutcomeUnknown`.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The same with this access list.
    #[must_use]
    pub fn with_acl(mut self, acl: Vec<Acl>) -> Self {
        self.acl = acl;
        self
    }
}

impl Default for CreateOptions {
    fn default() -> Self {
        Mode::Persistent.into()
    }
}

impl From<Mode> for CreateOptions {
    fn from(mode: Mode) -> Self {
        CreateOptions { mode, acl: Acl::open(), id: None }
    }
}

impl From<&CreateOptions> for CreateOptions {
    fn from(options: &CreateOptions) -> Self {
        options.clone()
    }
}

/// Which version a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Whatever is there.
    Any,
    /// This one only; another is `BadVersion`.
    Exact(i32),
}

impl Version {
    /// ZooKeeper's number: -1 for any.
    pub fn number(self) -> i32 {
        match self {
            Version::Any => -1,
            Version::Exact(version) => version,
        }
    }

    /// Whether a node at `version` will do.
    pub fn allows(self, version: i32) -> bool {
        match self {
            Version::Any => true,
            Version::Exact(expected) => expected == version,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Any => f.write_str("any"),
            Version::Exact(version) => write!(f, "{version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vitess_permission_sets() {
        assert_eq!(Perms::DIRECTORY.bits(), 31);
        assert_eq!(Perms::FILE.bits(), 19);
        assert!(is_directory(&[]));
        assert!(is_directory(&Acl::open()));
        assert!(!is_directory(&[Acl::world(Perms::ALL), Acl::world(Perms::FILE)]));
    }
}

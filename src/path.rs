//! Paths and cell names, checked once at the edge.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};

/// An absolute path that ZooKeeper accepts, such as `/zk/nyc/vt/tablets`.
///
/// The rule is ZooKeeper's own, checked when the value is made: it starts with `/`, has no empty,
/// `.` or `..` component, no slash at the end, and no character that servers refuse (control
/// characters, private use, anything above U+FFFF). Nothing is normalised and nothing decoded.
///
/// ```
/// use zkcells::ZkPath;
/// let path = ZkPath::new("/zk/nyc/motd")?;
/// assert_eq!(path.name(), "motd");
/// assert_eq!(path.parent().unwrap().as_str(), "/zk/nyc");
/// assert!(ZkPath::new("/zk//motd").is_err());
/// # Ok::<(), zkcells::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZkPath(Arc<str>);

impl ZkPath {
    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// `BadPath` with the text and the reason.
    pub fn new(text: impl AsRef<str>) -> Result<Self, Error> {
        let text = text.as_ref();
        match why_not_a_path(text) {
            None => Ok(ZkPath(text.into())),
            Some(why) => Err(bad_path(text, why)),
        }
    }

    /// Checks the prefix of a sequential create: a path, or a path and one `/` behind it, where
    /// the number alone becomes the node's name.
    ///
    /// ```
    /// use zkcells::ZkPath;
    /// assert!(ZkPath::sequence_prefix("/queue/").is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// `BadPath` with the text and the reason.
    pub fn sequence_prefix(text: impl AsRef<str>) -> Result<Self, Error> {
        let text = text.as_ref();
        let stem = match text.strip_suffix('/') {
            Some("") => return Ok(Self::root()),
            Some(stem) => stem,
            None => text,
        };
        match why_not_a_path(stem) {
            None => Ok(ZkPath(text.into())),
            Some(why) => Err(bad_path(text, why)),
        }
    }

    /// The path `/`.
    pub fn root() -> Self {
        ZkPath("/".into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// Whether this is a [`sequence_prefix`](Self::sequence_prefix) that ends in a slash, which
    /// only a sequential create takes.
    pub fn is_bare_prefix(&self) -> bool {
        self.0.len() > 1 && self.0.ends_with('/')
    }

    /// The path above; `None` for `/`.
    pub fn parent(&self) -> Option<ZkPath> {
        if self.is_root() {
            return None;
        }
        match self.0.rfind('/') {
            None | Some(0) => Some(Self::root()),
            Some(slash) => Some(ZkPath(self.0[..slash].into())),
        }
    }

    /// The last component; empty for `/`.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The components from the top; none for `/`.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|component| !component.is_empty())
    }

    /// This path with `relative` (one or more components) below it.
    ///
    /// # Errors
    ///
    /// `BadPath` when the whole is not a path.
    pub fn join(&self, relative: impl AsRef<str>) -> Result<ZkPath, Error> {
        ZkPath::new(self.spell(relative.as_ref()))
    }

    /// As [`join`](Self::join), for a name that a server listed, which need not be checked again.
    pub(crate) fn child(&self, name: &str) -> ZkPath {
        ZkPath(self.spell(name).into())
    }

    fn spell(&self, relative: &str) -> String {
        if self.0.ends_with('/') {
            format!("{}{relative}", self.0)
        } else {
            format!("{}/{relative}", self.0)
        }
    }

    /// Whether this is `ancestor` or lies below it: `/a/b` is in `/a`, `/ab` is not.
    pub fn is_in(&self, ancestor: &ZkPath) -> bool {
        below(&self.0, &ancestor.0).is_some()
    }
}

/// What of `path` lies below `ancestor`: empty, or text that starts with a slash.
fn below<'a>(path: &'a str, ancestor: &str) -> Option<&'a str> {
    if ancestor == "/" {
        return Some(if path == "/" { "" } else { path });
    }
    path.strip_prefix(ancestor).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn bad_path(text: &str, why: impl Into<String>) -> Error {
    let shown: String = text.escape_debug().take(200).collect();
    Error::new("path", shown, ErrorKind::BadPath).with_detail(why)
}

fn why_not_a_path(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("it is empty; expected /zk/<cell>/…".into());
    }
    let Some(rest) = text.strip_prefix('/') else {
        return Some("it must start with /".into());
    };
    if rest.is_empty() {
        return None;
    }
    for component in rest.split('/') {
        match component {
            "" if text.ends_with('/') => return Some("it must not end with /".into()),
            "" => return Some("it has an empty component (two slashes in a row)".into()),
            "." | ".." => return Some(format!("{component} is not a name in ZooKeeper")),
            _ => {}
        }
    }
    text.chars()
        .find(|c| refused(*c))
        .map(|c| format!("ZooKeeper refuses the character U+{:04X}", u32::from(c)))
}

fn refused(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}'
        | '\u{fff0}'..='\u{ffff}' | '\u{10000}'..)
}

impl fmt::Display for ZkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ZkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl AsRef<str> for ZkPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for ZkPath {
    fn eq(&self, text: &str) -> bool {
        &*self.0 == text
    }
}

impl PartialEq<&str> for ZkPath {
    fn eq(&self, text: &&str) -> bool {
        &*self.0 == *text
    }
}

impl From<ZkPath> for Arc<str> {
    fn from(path: ZkPath) -> Self {
        path.0
    }
}

impl From<&ZkPath> for Arc<str> {
    fn from(path: &ZkPath) -> Self {
        path.0.clone()
    }
}

/// Whatever names a path: a string literal will do, and is checked when it is used.
///
/// Not for implementing elsewhere: `&str`, `String`, [`ZkPath`] and references to them have it.
pub trait IntoPath {
    /// The path.
    ///
    /// # Errors
    ///
    /// `BadPath` with the text and the reason.
    fn into_path(self) -> Result<ZkPath, Error>;

    /// The same as the prefix of a sequential create, which may end in a slash.
    ///
    /// # Errors
    ///
    /// `BadPath` with the text and the reason.
    fn into_sequence_prefix(self) -> Result<ZkPath, Error>;
}

impl IntoPath for &str {
    fn into_path(self) -> Result<ZkPath, Error> {
        ZkPath::new(self)
    }
    fn into_sequence_prefix(self) -> Result<ZkPath, Error> {
        ZkPath::sequence_prefix(self)
    }
}

impl IntoPath for String {
    fn into_path(self) -> Result<ZkPath, Error> {
        ZkPath::new(self)
    }
    fn into_sequence_prefix(self) -> Result<ZkPath, Error> {
        ZkPath::sequence_prefix(self)
    }
}

impl IntoPath for &String {
    fn into_path(self) -> Result<ZkPath, Error> {
        ZkPath::new(self)
    }
    fn into_sequence_prefix(self) -> Result<ZkPath, Error> {
        ZkPath::sequence_prefix(self)
    }
}

impl IntoPath for ZkPath {
    fn into_path(self) -> Result<ZkPath, Error> {
        if self.is_bare_prefix() { ZkPath::new(&self) } else { Ok(self) }
    }
    fn into_sequence_prefix(self) -> Result<ZkPath, Error> {
        Ok(self)
    }
}

impl IntoPath for &ZkPath {
    fn into_path(self) -> Result<ZkPath, Error> {
        self.clone().into_path()
    }
    fn into_sequence_prefix(self) -> Result<ZkPath, Error> {
        Ok(self.clone())
    }
}

/// Moves paths from below one node to below another: how a mount, a chroot and `local` are spelled.
///
/// ```
/// use zkcells::{Rebase, ZkPath};
/// let mount = Rebase::new(ZkPath::new("/zk/nyc")?, ZkPath::new("/app")?);
/// let inner = mount.apply(&ZkPath::new("/zk/nyc/motd")?).unwrap();
/// assert_eq!(inner.as_str(), "/app/motd");
/// assert_eq!(mount.inverse().apply(&inner).unwrap().as_str(), "/zk/nyc/motd");
/// # Ok::<(), zkcells::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebase {
    from: ZkPath,
    to: ZkPath,
}

impl Rebase {
    /// What is at or below `from` goes to the same place at or below `to`.
    pub fn new(from: ZkPath, to: ZkPath) -> Self {
        Rebase { from, to }
    }

    /// The way back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Rebase { from: self.to.clone(), to: self.from.clone() }
    }

    /// Where it moves from.
    pub fn from(&self) -> &ZkPath {
        &self.from
    }

    /// Where it moves to.
    pub fn to(&self) -> &ZkPath {
        &self.to
    }

    /// Whether it moves nothing.
    pub fn is_identity(&self) -> bool {
        self.from == self.to
    }

    /// Where `path` goes; `None` when it is not at or below `from`.
    pub fn apply(&self, path: &ZkPath) -> Option<ZkPath> {
        if self.from == self.to {
            return path.is_in(&self.from).then(|| path.clone());
        }
        let rest = below(&path.0, &self.from.0)?;
        Some(match (self.to.is_root(), rest.is_empty()) {
            (true, true) => ZkPath::root(),
            (true, false) => ZkPath(rest.into()),
            (false, true) => self.to.clone(),
            (false, false) => ZkPath(format!("{}{rest}", self.to.0).into()),
        })
    }
}

/// The name of one cell: `nyc`, `us-east-1`.
///
/// Lower-case letters, digits, `_` and `-`, starting and ending with a letter or digit, and not
/// ending in `-global`, which in a configuration marks a site's own view of the global cell.
/// `local` and `global` are names too: the one stands for the cell of this process, the other for
/// the cell that spans sites.
///
/// ```
/// use zkcells::CellName;
/// assert!(CellName::new("us-east-1").is_ok());
/// assert!(CellName::new("NYC").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellName(Arc<str>);

impl CellName {
    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// `UnknownCell` with the text and the reason.
    pub fn new(text: impl AsRef<str>) -> Result<Self, Error> {
        let text = text.as_ref();
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let why = match text.as_bytes() {
            [] => "the name is empty; expected /zk/<cell>/…".to_string(),
            [first, .., last] if !plain(*first) || !plain(*last) => {
                "a cell's name starts and ends with a-z or 0-9".to_string()
            }
            bytes if !bytes.iter().all(|c| plain(*c) || matches!(c, b'-' | b'_')) => {
                "a cell's name has a-z, 0-9, - and _ only".to_string()
            }
            [only] if !plain(*only) => "a cell's name starts with a-z or 0-9".to_string(),
            _ if text.ends_with("-global") => {
                format!("{text} is a site's own view of the global cell; use /zk/global/…")
            }
            _ => return Ok(CellName(text.into())),
        };
        let shown: String = text.escape_debug().take(80).collect();
        Err(Error::new("cell", format!("\"{shown}\""), ErrorKind::UnknownCell).with_detail(why))
    }

    /// The cell of this process.
    pub fn local() -> Self {
        CellName("local".into())
    }

    /// The cell that spans sites.
    pub fn global() -> Self {
        CellName("global".into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the name `local`, which stands for another cell.
    pub fn is_local(&self) -> bool {
        &*self.0 == "local"
    }

    /// Whether this is the name `global`.
    pub fn is_global(&self) -> bool {
        &*self.0 == "global"
    }
}

impl fmt::Display for CellName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CellName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl AsRef<str> for CellName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_zookeepers() {
        for good in ["/", "/a", "/a/b", "/a.b/..c", "/\u{a0}", "/ü", "/a b"] {
            assert!(ZkPath::new(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            "a",
            "a/b",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/a/../b",
            "/a\0",
            "/\u{1}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{ffff}",
            "/😀",
        ] {
            let err = ZkPath::new(bad).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::BadPath, "{bad:?}");
        }
    }

    #[test]
    fn a_bad_path_says_why() {
        let line = |text: &str| ZkPath::new(text).unwrap_err().to_string();
        assert_eq!(line("zk/nyc"), "path zk/nyc: bad path: it must start with /");
        assert_eq!(line("/zk/nyc/"), "path /zk/nyc/: bad path: it must not end with /");
        assert_eq!(
            line("/a\u{7}"),
            "path /a\\u{7}: bad path: ZooKeeper refuses the character U+0007"
        );
    }

    #[test]
    fn only_a_sequence_prefix_ends_in_a_slash() {
        let prefix = ZkPath::sequence_prefix("/queue/").unwrap();
        assert!(prefix.is_bare_prefix());
        assert!((&prefix).into_path().is_err());
        assert!(ZkPath::sequence_prefix("/queue//").is_err());
        assert!(ZkPath::sequence_prefix("/").unwrap().is_root());
    }

    #[test]
    fn parents_and_names() {
        let path = ZkPath::new("/a/b").unwrap();
        assert_eq!((path.name(), path.parent().unwrap().as_str()), ("b", "/a"));
        assert!(path.parent().unwrap().parent().unwrap().is_root());
        assert_eq!(ZkPath::root().parent(), None);
        assert_eq!(path.components().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(ZkPath::root().join("x/y").unwrap().as_str(), "/x/y");
    }

    #[test]
    fn a_rebase_moves_whole_components_only() {
        let path = |text| ZkPath::new(text).unwrap();
        let cases = [
            ("/a", "/b", "/a/x", Some("/b/x")),
            ("/a", "/b", "/ab", None),
            ("/a", "/", "/a/x", Some("/x")),
            ("/a", "/", "/a", Some("/")),
            ("/", "/b", "/x", Some("/b/x")),
            ("/", "/b", "/", Some("/b")),
            ("/", "/", "/x", Some("/x")),
            ("/a", "/a", "/b", None),
        ];
        for (from, to, given, expected) in cases {
            let rebase = Rebase::new(path(from), path(to));
            let got = rebase.apply(&path(given));
            assert_eq!(got, expected.map(path), "{from} to {to}: {given}");
        }
        let mount = Rebase::new(path("/zk/nyc"), path("/"));
        let prefix = ZkPath::sequence_prefix("/zk/nyc/").unwrap();
        assert_eq!(mount.apply(&prefix).unwrap().as_str(), "/");
    }

    #[test]
    fn cell_names() {
        for good in ["nyc", "us-east-1", "a", "1", "a_b", "local", "global"] {
            assert!(CellName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-", "-a", "a-", "_a", "NYC", "nyc:_zkocc", "nyc-global", "a/b", "ü", "a b"]
        {
            assert_eq!(CellName::new(bad).unwrap_err().kind(), ErrorKind::UnknownCell, "{bad}");
        }
    }
}

//! A path that may hold wildcards, checked once.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use glob::MatchOptions;

use super::glob_text;
use super::syntax::{self, Alternative, Token};
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;

/// An absolute path whose components may hold wildcards, such as `/zk/*/vt/tablets/{a,b}-?`.
///
/// The [module page](crate::wildcard) has the syntax. The whole text is checked when the value is
/// made. Without wildcards a pattern is [literal](Self::is_literal): the path with its backslashes
/// taken away.
///
/// ```
/// use zkcells::ZkPath;
/// use zkcells::wildcard::Pattern;
/// let pattern = Pattern::new("/zk/*/motd")?;
/// assert!(pattern.matches(&ZkPath::new("/zk/nyc/motd")?));
/// assert!(!pattern.matches(&ZkPath::new("/zk/nyc/a/motd")?));
/// # Ok::<(), zkcells::Error>(())
/// ```
#[derive(Clone)]
#[doc(alias = "HasWildcard")]
pub struct Pattern {
    text: Arc<str>,
    components: Arc<[Component]>,
}

/// What the name of one level may be.
#[derive(Clone, Debug)]
pub(super) enum Component {
    /// One of these names, ascending: no listing is needed to know them.
    Names(Vec<String>),
    /// Whatever one of these matches.
    Wild(Vec<glob::Pattern>),
}

impl Pattern {
    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// `BadPattern` with the text and the reason.
    pub fn new(text: impl AsRef<str>) -> Result<Self, Error> {
        let text = text.as_ref();
        match parse(text) {
            Ok(components) => Ok(Pattern { text: text.into(), components: components.into() }),
            Err(why) => Err(bad_pattern(text, why)),
        }
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names one path, with nothing to look up.
    ///
    /// ```
    /// use zkcells::wildcard::Pattern;
    /// assert!(Pattern::new(r"/zk/nyc/what\?")?.is_literal());
    /// assert!(!Pattern::new("/zk/nyc/what?")?.is_literal());
    /// # Ok::<(), zkcells::Error>(())
    /// ```
    pub fn is_literal(&self) -> bool {
        self.components
            .iter()
            .all(|component| matches!(component, Component::Names(names) if names.len() == 1))
    }

    /// The one path that it names, if it is literal.
    ///
    /// ```
    /// use zkcells::wildcard::Pattern;
    /// let path = Pattern::new(r"/zk/nyc/what\?")?.literal_path();
    /// assert_eq!(path.unwrap().as_str(), "/zk/nyc/what?");
    /// # Ok::<(), zkcells::Error>(())
    /// ```
    pub fn literal_path(&self) -> Option<ZkPath> {
        let mut path = ZkPath::root();
        for component in self.components.iter() {
            match component {
                Component::Names(names) if names.len() == 1 => path = path.child(names.first()?),
                _ => return None,
            }
        }
        Some(path)
    }

    /// Whether it matches the whole of `path`.
    pub fn matches(&self, path: &ZkPath) -> bool {
        let mut names = path.components();
        self.components
            .iter()
            .all(|component| names.next().is_some_and(|name| component.matches(name)))
            && names.next().is_none()
    }

    /// Whether the component at `level`, counted from 0, may be called `name`.
    ///
    /// ```
    /// use zkcells::wildcard::Pattern;
    /// let pattern = Pattern::new("/zk/n*/motd")?;
    /// assert!(pattern.matches_name(1, "nyc") && !pattern.matches_name(1, "lax"));
    /// # Ok::<(), zkcells::Error>(())
    /// ```
    pub fn matches_name(&self, level: usize, name: &str) -> bool {
        self.components.get(level).is_some_and(|component| component.matches(name))
    }

    pub(super) fn components(&self) -> &[Component] {
        &self.components
    }
}

impl Component {
    fn new(component: &str) -> Result<Self, String> {
        let alternatives = syntax::parse(component)?;
        let names: Option<Vec<String>> = alternatives.iter().map(literal).collect();
        if let Some(mut names) = names {
            for name in &names {
                if name.is_empty() {
                    return Err("it has an empty component".into());
                }
                // What servers refuse, which braces and escapes may have hidden.
                ZkPath::new(format!("/{name}")).map_err(|err| reason(&err))?;
            }
            names.sort();
            names.dedup();
            return Ok(Component::Names(names));
        }
        let wild: Result<_, _> =
            alternatives.iter().map(|way| glob::Pattern::new(&glob_text::write(way))).collect();
        wild.map(Component::Wild).map_err(|err| err.msg.to_string())
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        const OPTIONS: MatchOptions = MatchOptions {
            case_sensitive: true,
            require_literal_separator: false,
            require_literal_leading_dot: false,
        };
        match self {
            Component::Names(names) => names.iter().any(|known| known == name),
            Component::Wild(ways) => ways.iter().any(|way| way.matches_with(name, OPTIONS)),
        }
    }
}

fn literal(way: &Alternative) -> Option<String> {
    way.iter().map(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect()
}

fn parse(text: &str) -> Result<Vec<Component>, String> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err(if text.is_empty() { "it is empty" } else { "it must start with /" }.into());
    };
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    if rest.ends_with('/') {
        return Err("it must not end with /".into());
    }
    rest.split('/').map(Component::new).collect()
}

fn reason(err: &Error) -> String {
    err.detail().map_or_else(|| err.to_string(), str::to_string)
}

fn bad_pattern(text: &str, why: String) -> Error {
    let shown: String = text.chars().take(200).map(printable).collect();
    Error::new("pattern", shown, ErrorKind::BadPattern).with_detail(why)
}

/// Backslashes are common in patterns and stay as they were typed.
fn printable(c: char) -> String {
    if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

/// Two patterns are equal when they are written alike.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl FromStr for Pattern {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Pattern::new(text)
    }
}

/// Whatever names a pattern: a string literal will do.
///
/// Not for implementing elsewhere: `&str`, `String`, [`Pattern`], [`ZkPath`] (as a pattern that
/// means this path alone) and references to them have it.
pub trait IntoPattern {
    /// The pattern.
    ///
    /// # Errors
    ///
    /// `BadPattern` with the text and the reason.
    fn into_pattern(self) -> Result<Pattern, Error>;
}

impl IntoPattern for Pattern {
    fn into_pattern(self) -> Result<Pattern, Error> {
        Ok(self)
    }
}

impl IntoPattern for &Pattern {
    fn into_pattern(self) -> Result<Pattern, Error> {
        Ok(self.clone())
    }
}

impl IntoPattern for &str {
    fn into_pattern(self) -> Result<Pattern, Error> {
        Pattern::new(self)
    }
}

impl IntoPattern for &&str {
    fn into_pattern(self) -> Result<Pattern, Error> {
        Pattern::new(self)
    }
}

impl IntoPattern for String {
    fn into_pattern(self) -> Result<Pattern, Error> {
        Pattern::new(self)
    }
}

impl IntoPattern for &String {
    fn into_pattern(self) -> Result<Pattern, Error> {
        Pattern::new(self)
    }
}

impl IntoPattern for ZkPath {
    fn into_pattern(self) -> Result<Pattern, Error> {
        (&self).into_pattern()
    }
}

impl IntoPattern for &ZkPath {
    fn into_pattern(self) -> Result<Pattern, Error> {
        if self.is_bare_prefix() {
            return Err(bad_pattern(self.as_str(), "it must not end with /".into()));
        }
        let names = self.components().map(|name| Component::Names(vec![name.to_string()]));
        Ok(Pattern { text: self.into(), components: names.collect() })
    }
}

#[cfg(test)]
mod tests;

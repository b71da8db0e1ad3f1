//! The configuration file: from JSON to checked entries, or one line that says what is wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::auth::Auth;
use crate::path::{CellName, ZkPath};

use super::address::{self, Address};
use super::json::Json;
use super::local::VARIABLE;
use super::secret;
use super::set::{self, SetAddress};
use super::surroundings::Surroundings;

/// What one key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) address: Address,
    pub(super) root: Option<ZkPath>,
    pub(super) auth: Vec<Auth>,
    pub(super) session_timeout: Option<Duration>,
}

impl From<Address> for Entry {
    fn from(address: Address) -> Self {
        Entry { address, root: None, auth: Vec::new(), session_timeout: None }
    }
}

/// All keys, by name: `nyc`, `global`, `nyc-global`. Read servers are kept apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    pub(super) cells: BTreeMap<String, Entry>,
    pub(super) read_servers: BTreeMap<String, String>,
}

const CELL: &str = "expected \"host:port,host:port\" or {\"addrs\": \"host:port,host:port\", …}";
const FIELDS: &str =
    "expected addrs, root, auth or session_timeout, or for a set quorums, require and reads";
const AUTH: &str = "expected {\"scheme\": \"digest\", \"file\": \"path\"} or \
                    {\"scheme\": \"digest\", \"env\": \"VARIABLE\"}";

/// ZooKeeper counts a session's timeout in milliseconds, in 31 bits.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// Where files are looked for and variables are asked.
pub(super) struct Context<'a> {
    pub(super) directory: &'a Path,
    pub(super) surroundings: &'a Surroundings,
}

impl Entries {
    /// Reads a whole file.
    pub(super) fn parse(text: &[u8], context: &Context<'_>) -> Result<Entries, String> {
        let object = match Json::parse(text)? {
            Json::Object(object) => object,
            other => {
                return Err(format!(
                    "found {}; expected an object {{\"<cell>\": \"host:port,host:port\"}}",
                    other.shown()
                ));
            }
        };
        let mut entries = Entries::default();
        for (key, value) in object {
            entries
                .insert(&key, value, context)
                .map_err(|why| format!("key \"{}\": {why}", short(&key)))?;
        }
        Ok(entries)
    }

    /// Adds one key, or replaces it.
    pub(super) fn insert_text(
        &mut self,
        key: &str,
        addrs: &str,
        context: &Context<'_>,
    ) -> Result<(), String> {
        self.insert(key, Json::Text(addrs.into()), context)
            .map_err(|why| format!("key \"{}\": {why}", short(key)))
    }

    fn insert(&mut self, key: &str, value: Json, context: &Context<'_>) -> Result<(), String> {
        if let Some(name) = key.strip_suffix(":_zkocc") {
            check_name(name)?;
            let Json::Text(text) = value else {
                return Err(format!("found {}; expected \"host:port,host:port\"", value.shown()));
            };
            self.read_servers.insert(name.into(), address::read_server(&text)?);
            return Ok(());
        }
        check_name(key)?;
        let entry = match value {
            Json::Text(text) => Address::parse(&text, context.directory)?.into(),
            Json::Object(fields) => object(fields, context)?,
            Json::Array(items) => Address::Set(SetAddress::parse(items, context.directory)?).into(),
            other => return Err(format!("found {}; {CELL}", other.shown())),
        };
        self.cells.insert(key.into(), entry);
        Ok(())
    }
}

fn short(key: &str) -> String {
    key.escape_debug().take(80).collect()
}

fn check_name(name: &str) -> Result<(), String> {
    let site = name.strip_suffix("-global").unwrap_or(name);
    if site == "local" {
        return Err(format!(
            "local stands for the cell of each process; write that cell under its own name, and \
             say which it is with --local-cell or {VARIABLE}"
        ));
    }
    if site == "global" && site != name {
        return Err("global has no view of itself; expected \"<cell>-global\"".into());
    }
    CellName::new(site).map(|_| ()).map_err(|err| {
        format!(
            "{}; expected \"<cell>\", \"<cell>:_zkocc\", \"global\" or \"<cell>-global\"",
            err.detail().unwrap_or("it is no cell")
        )
    })
}

fn object(fields: Vec<(String, Json)>, context: &Context<'_>) -> Result<Entry, String> {
    let mut address = None;
    let mut root = None;
    let mut auth = Vec::new();
    let mut session_timeout = None;
    let (mut quorums, mut require, mut reads) = (None, None, None);
    for (name, value) in fields {
        match name.as_str() {
            "addrs" => {
                let text = string("addrs", value, "\"host:port,host:port\"")?;
                let checked = Address::parse(&text, context.directory);
                address = Some(checked.map_err(|why| format!("addrs: {why}"))?);
            }
            "quorums" => {
                let Json::Array(items) = value else {
                    return Err(format!("quorums: found {}; expected a list", value.shown()));
                };
                let set = SetAddress::parse(items, context.directory);
                quorums = Some(set.map_err(|why| format!("quorums: {why}"))?);
            }
            "require" => require = Some(set::require(value)?),
            "reads" => reads = Some(set::reads(value)?),
            "root" => {
                let text = string("root", value, "a path such as \"/app\"")?;
                root = Some(ZkPath::new(&text).map_err(|err| {
                    let why = err.detail().unwrap_or_default();
                    format!("root: found {text:?}, and {why}; expected a path such as \"/app\"")
                })?);
            }
            "session_timeout" => {
                let text = string("session_timeout", value, "a duration such as \"15s\"")?;
                session_timeout = Some(timeout(&text)?);
            }
            "auth" => {
                let Json::Array(items) = value else {
                    return Err(format!("auth: found {}; expected a list: {AUTH}", value.kind()));
                };
                for (index, item) in items.into_iter().enumerate() {
                    let one = one_auth(item, context);
                    auth.push(one.map_err(|why| format!("auth[{index}]: {why}"))?);
                }
            }
            "tls" => return Err("tls is not supported yet; leave it out".into()),
            other => return Err(format!("unknown key \"{}\"; {FIELDS}", short(other))),
        }
    }
    let address = match (address, quorums) {
        (Some(_), Some(_)) => return Err(format!("both addrs and quorums are there; {CELL}")),
        (Some(_), None) if require.is_some() || reads.is_some() => {
            return Err(
                "require and reads are for a set: they need quorums in place of addrs".into()
            );
        }
        (Some(address), None) => address,
        (None, Some(set)) => Address::Set(SetAddress {
            require: require.unwrap_or_default(),
            reads: reads.unwrap_or_default(),
            ..set
        }),
        (None, None) => return Err(format!("addrs is missing; {CELL}")),
    };
    Ok(Entry { address, root, auth, session_timeout })
}

fn string(name: &str, value: Json, expected: &str) -> Result<String, String> {
    match value {
        Json::Text(text) => Ok(text),
        other => Err(format!("{name}: found {}; expected {expected}", other.shown())),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let expected = "expected a duration such as \"15s\" or \"500ms\"";
    match humantime::parse_duration(text) {
        Ok(wait) => check_timeout(wait),
        Err(err) => Err(format!("session_timeout: found {text:?} ({err}); {expected}")),
    }
}

/// Refuses what no server can grant.
pub(super) fn check_timeout(wait: Duration) -> Result<Duration, String> {
    if wait < Duration::from_millis(1) || wait > LONGEST {
        return Err(format!(
            "session_timeout: found {}; expected between 1ms and 24days",
            humantime::format_duration(wait)
        ));
    }
    Ok(wait)
}

fn one_auth(item: Json, context: &Context<'_>) -> Result<Auth, String> {
    let Json::Object(fields) = item else {
        // The kind only: a string here may be the secret itself.
        return Err(format!("found {}; {AUTH}", item.kind()));
    };
    let (mut scheme, mut file, mut env) = (None, None, None);
    for (name, value) in fields {
        let place = match name.as_str() {
            "scheme" => &mut scheme,
            "file" => &mut file,
            "env" => &mut env,
            // The name only: what stands behind a misspelt key may be the secret itself.
            other => return Err(format!("unknown key \"{}\"; {AUTH}", short(other))),
        };
        let Json::Text(text) = value else {
            return Err(format!("{name} is not a string; {AUTH}"));
        };
        *place = Some(text);
    }
    let scheme = scheme.ok_or_else(|| format!("scheme is missing; {AUTH}"))?;
    let secret = match (file, env) {
        (Some(file), None) => secret::from_file(&context.directory.join(file))?,
        (None, Some(variable)) => secret::from_variable(&variable, context.surroundings)?,
        (Some(_), Some(_)) => return Err(format!("both file and env are there; {AUTH}")),
        (None, None) => return Err(format!("file or env is missing; {AUTH}")),
    };
    match scheme.as_str() {
        "" => Err(format!("scheme is empty; {AUTH}")),
        "digest" if !secret.expose().contains(':') => {
            Err("the secret of digest has no colon; expected user:password".into())
        }
        _ => Ok(Auth::new(scheme, secret)),
    }
}

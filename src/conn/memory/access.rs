//! Who may do what: identities, access lists, and how servers mend or refuse a list.

use std::fmt;
use std::sync::Arc;

use super::refusal::Refusal;
use crate::error::ErrorKind;
use crate::node::{Acl, Perms};

/// Who a session is, in one scheme. It holds a hash of a password at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    scheme: &'static str,
    id: String,
}

impl Identity {
    /// Where a session in this process comes from.
    pub(super) fn here() -> Self {
        Identity { scheme: "ip", id: "127.0.0.1".into() }
    }

    /// Whom no access list stops.
    pub(super) fn superuser() -> Self {
        Identity { scheme: "super", id: String::new() }
    }

    /// What `secret` proves in `scheme`; `None` where that is nothing the quorum knows.
    pub(super) fn prove(scheme: &str, secret: &str) -> Option<Self> {
        match scheme {
            "digest" => {
                let (user, password) = secret.split_once(':')?;
                let id = Acl::digest(Perms::NONE, user, password).id;
                Some(Identity { scheme: "digest", id })
            }
            // Servers take it and believe the address, not the word.
            "ip" => Some(Identity::here()),
            _ => None,
        }
    }

    /// Whether a password or the like stands behind it, so that `auth` means it.
    fn is_proved(&self) -> bool {
        self.scheme == "digest"
    }

    fn matches(&self, entry: &Acl) -> bool {
        self.scheme == entry.scheme
            && match self.scheme {
                "ip" => in_network(&self.id, &entry.id),
                _ => self.id == entry.id,
            }
    }
}

/// Refuses unless one of `who` has one of `wanted`.
pub(super) fn check(acl: &[Acl], wanted: Perms, who: &[Identity]) -> Result<(), Refusal> {
    if allows(acl, wanted, who) {
        return Ok(());
    }
    Err(Refusal::new(ErrorKind::NoAuth, format!("needs {}", Needed(wanted))))
}

/// Whether one of `who` has one of `wanted`.
pub(super) fn allows(acl: &[Acl], wanted: Perms, who: &[Identity]) -> bool {
    let has = |entry: &Acl| {
        entry.perms & wanted != Perms::NONE
            && (is_anyone(entry) || who.iter().any(|identity| identity.matches(entry)))
    };
    acl.is_empty() || acl.iter().any(has) || who.iter().any(|id| id.scheme == "super")
}

/// The list as servers store it: without repetitions, and `auth` as the identities of the session.
pub(super) fn fix_up(acl: &[Acl], who: &[Identity]) -> Result<Arc<[Acl]>, Refusal> {
    let refuse = |why: String| Refusal::new(ErrorKind::InvalidAcl, why);
    let mut fixed: Vec<Acl> = Vec::with_capacity(acl.len());
    let mut seen: Vec<&Acl> = Vec::with_capacity(acl.len());
    for entry in acl {
        if seen.contains(&entry) {
            continue;
        }
        seen.push(entry);
        match entry.scheme.as_str() {
            "auth" => {
                let before = fixed.len();
                let proved = who.iter().filter(|identity| identity.is_proved());
                fixed.extend(proved.map(|id| Acl::new(entry.perms, id.scheme, id.id.clone())));
                if fixed.len() == before {
                    return Err(refuse("auth needs an identity, and the session has none".into()));
                }
            }
            _ if is_well_formed(entry) => fixed.push(entry.clone()),
            "world" | "digest" | "ip" => {
                return Err(refuse(format!("{}:{} is malformed", entry.scheme, entry.id)));
            }
            scheme => return Err(refuse(format!("unknown scheme {scheme}"))),
        }
    }
    if fixed.is_empty() {
        return Err(refuse("the list is empty".into()));
    }
    Ok(fixed.into())
}

/// The list as somebody sees it who may not set it: without hashes of passwords.
pub(super) fn without_hashes(acl: &[Acl]) -> Vec<Acl> {
    let hidden = |entry: &Acl| match entry.id.split_once(':') {
        Some((user, _)) if entry.scheme == "digest" => {
            Acl::new(entry.perms, "digest", format!("{user}:x"))
        }
        _ => entry.clone(),
    };
    acl.iter().map(hidden).collect()
}

fn is_anyone(entry: &Acl) -> bool {
    entry.scheme == "world" && entry.id == "anyone"
}

fn is_well_formed(entry: &Acl) -> bool {
    match entry.scheme.as_str() {
        "world" => entry.id == "anyone",
        "ip" => network(&entry.id).is_some(),
        "digest" => {
            // As Java splits: empty parts at the end do not count.
            let parts = entry.id.trim_end_matches(':').split(':').count();
            parts == 2
        }
        _ => false,
    }
}

/// An IPv4 address and how many of its bits count.
fn network(text: &str) -> Option<(u32, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, bits.parse().ok().filter(|bits| *bits <= 32)?),
        None => (text, 32),
    };
    let mut parts = address.split('.').map(str::parse::<u8>);
    let mut octet = || parts.next()?.ok();
    let address = u32::from_be_bytes([octet()?, octet()?, octet()?, octet()?]);
    parts.next().is_none().then_some((address, bits))
}

fn in_network(address: &str, expected: &str) -> bool {
    let (Some((address, _)), Some((expected, bits))) = (network(address), network(expected)) else {
        return false;
    };
    // A shift by all 32 bits, for /0, gives None: no bit counts.
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    address & mask == expected & mask
}

/// Names rights as ZooKeeper's manual does.
struct Needed(Perms);

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Perms::READ, "READ"),
            (Perms::WRITE, "WRITE"),
            (Perms::CREATE, "CREATE on the parent"),
            (Perms::DELETE, "DELETE on the parent"),
            (Perms::ADMIN, "ADMIN"),
        ];
        let needed: Vec<&str> =
            names.iter().filter(|(perm, _)| self.0.has(*perm)).map(|(_, name)| *name).collect();
        f.write_str(&needed.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(secret: &str) -> Identity {
        Identity::prove("digest", secret).unwrap()
    }

    #[test]
    fn lists_are_refused_where_servers_refuse_them() {
        let who = [Identity::here()];
        let id = |scheme, id| vec![Acl::new(Perms::ALL, scheme, id)];
        for good in [
            id("world", "anyone"),
            id("digest", "user:hash"),
            id("digest", ":hash"),
            id("digest", "user:hash:"),
            id("ip", "10.0.0.1"),
            id("ip", "10.0.0.0/8"),
        ] {
            assert!(fix_up(&good, &who).is_ok(), "{good:?}");
        }
        for bad in [
            vec![],
            id("world", "everyone"),
            id("digest", "user"),
            id("digest", "user:"),
            id("digest", "a:b:c"),
            id("ip", "10.0.0"),
            id("ip", "10.0.0.1/33"),
            id("ip", "::1"),
            id("sasl", "user"),
            id("auth", ""),
        ] {
            assert_eq!(fix_up(&bad, &who).unwrap_err().kind, ErrorKind::InvalidAcl, "{bad:?}");
        }
    }

    #[test]
    fn auth_means_every_proved_identity() {
        let who = [Identity::here(), digest("a:1"), digest("b:2")];
        let list = [Acl::creator(Perms::READ), Acl::creator(Perms::READ)];
        let fixed = fix_up(&list, &who).unwrap();
        assert_eq!(
            *fixed,
            [Acl::digest(Perms::READ, "a", "1"), Acl::digest(Perms::READ, "b", "2")]
        );
    }

    #[test]
    fn one_of_the_wanted_rights_will_do() {
        let acl =
            [Acl::digest(Perms::ADMIN, "a", "1"), Acl::new(Perms::WRITE, "ip", "127.0.0.0/8")];
        let me = [Identity::here()];
        assert!(allows(&acl, Perms::WRITE, &me));
        assert!(!allows(&acl, Perms::READ | Perms::ADMIN, &me));
        assert!(allows(&acl, Perms::READ | Perms::ADMIN, &[digest("a:1")]));
        assert!(!allows(&acl, Perms::ADMIN, &[digest("a:2")]));
        assert!(allows(&acl, Perms::READ, &[Identity::superuser()]));
        assert!(allows(&[Acl::new(Perms::READ, "ip", "1.2.3.4/0")], Perms::READ, &me));
        assert!(!allows(&[Acl::new(Perms::READ, "ip", "127.0.0.2")], Perms::READ, &me));
    }

    #[test]
    fn hashes_are_hidden() {
        let seen = without_hashes(&[Acl::digest(Perms::ALL, "a", "1"), Acl::world(Perms::READ)]);
        assert_eq!(seen, [Acl::new(Perms::ALL, "digest", "a:x"), Acl::world(Perms::READ)]);
    }
}

//! Go's own table, Vitess's cases, braces, and a reference matcher.

use proptest::prelude::*;

use super::*;

/// Go's `path/match_test.go`: pattern, name, and whether it matches; `None` where it is malformed.
/// What has a slash in it is in `components_do_not_cross_slashes`, as names have none. Go tells of
/// a malformed pattern only when the name gets as far; here it is always told.
const GO: &[(&str, &str, Option<bool>)] = &[
    ("abc", "abc", Some(true)),
    ("*", "abc", Some(true)),
    ("*c", "abc", Some(true)),
    ("a*", "a", Some(true)),
    ("a*", "abc", Some(true)),
    ("a*b*c*d*e*", "axbxcxdxe", Some(true)),
    ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
    ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
    ("ab[c]", "abc", Some(true)),
    ("ab[b-d]", "abc", Some(true)),
    ("ab[e-g]", "abc", Some(false)),
    ("ab[^c]", "abc", Some(false)),
    ("ab[^b-d]", "abc", Some(false)),
    ("ab[^e-g]", "abc", Some(true)),
    ("a\\*b", "a*b", Some(true)),
    ("a\\*b", "ab", Some(false)),
    ("a?b", "a☺b", Some(true)),
    ("a[^a]b", "a☺b", Some(true)),
    ("a???b", "a☺b", Some(false)),
    ("a[^a][^a][^a]b", "a☺b", Some(false)),
    ("[a-ζ]*", "α", Some(true)),
    ("*[a-ζ]", "A", Some(false)),
    ("[\\]a]", "]", Some(true)),
    ("[\\-]", "-", Some(true)),
    ("[x\\-]", "x", Some(true)),
    ("[x\\-]", "-", Some(true)),
    ("[x\\-]", "z", Some(false)),
    ("[\\-x]", "x", Some(true)),
    ("[\\-x]", "-", Some(true)),
    ("[\\-x]", "a", Some(false)),
    ("[]a]", "]", None),
    ("[-]", "-", None),
    ("[x-]", "x", None),
    ("[x-]", "-", None),
    ("[x-]", "z", None),
    ("[-x]", "x", None),
    ("[-x]", "-", None),
    ("[-x]", "a", None),
    ("\\", "a", None),
    ("[a-b-c]", "a", None),
    ("[", "a", None),
    ("[^", "a", None),
    ("[^bc", "a", None),
    ("a[", "a", None),
    ("a[", "ab", None),
    ("a[", "x", None),
    ("*x", "xxx", Some(true)),
];

fn component(text: &str) -> Result<Component, String> {
    Component::new(text)
}

#[test]
fn gos_own_table() {
    for (pattern, name, expected) in GO {
        let got = component(pattern).ok().map(|parsed| parsed.matches(name));
        assert_eq!(got, *expected, "{pattern} on {name}");
    }
}

#[test]
fn case_counts_and_a_leading_dot_is_a_character_like_others() {
    for (pattern, name, expected) in [
        ("a*", "Ab", false),
        ("[a-c]", "B", false),
        ("*", ".a", true),
        ("?a", ".a", true),
        ("[^b]a", ".a", true),
    ] {
        assert_eq!(component(pattern).unwrap().matches(name), expected, "{pattern} on {name}");
    }
}

#[test]
fn components_do_not_cross_slashes() {
    for (pattern, path, expected) in [
        ("/a*", "/ab/c", false),
        ("/a*/b", "/abc/b", true),
        ("/a*/b", "/a/c/b", false),
        ("/a*b*c*d*e*/f", "/axbxcxdxe/f", true),
        ("/a*b*c*d*e*/f", "/axbxcxdxexxx/f", true),
        ("/a*b*c*d*e*/f", "/axbxcxdxe/xxx/f", false),
        ("/a*b*c*d*e*/f", "/axbxcxdxexxx/fff", false),
        ("/a?b", "/a/b", false),
        ("/a*b", "/a/b", false),
        ("/**/b", "/x/y/b", false),
        ("/**/b", "/x/b", true),
        ("/", "/", true),
        ("/*", "/", false),
    ] {
        let parsed = Pattern::new(pattern).unwrap();
        assert_eq!(parsed.matches(&ZkPath::new(path).unwrap()), expected, "{pattern} on {path}");
    }
    for malformed in ["/a[/b]", "/a\\/b", "/{a/b,c}"] {
        let err = Pattern::new(malformed).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::BadPattern, "{malformed}");
    }
}

#[test]
fn vitess_has_wildcard() {
    for (text, wildcard) in [
        ("aaaa*bbbb", true),
        ("aaaa\\*bbbb", false),
        ("aaaa?bbbb", true),
        ("aaaa\\?bbbb", false),
        ("aaaa[^bcd]", true),
        ("aaaa\\[b", false),
    ] {
        let parsed = Pattern::new(format!("/{text}")).unwrap();
        assert_eq!(!parsed.is_literal(), wildcard, "{text}");
    }
    // Vitess called these wildcards so that a later match would tell; here they tell at once.
    for malformed in ["aaaa\\", "aaaa["] {
        assert!(Pattern::new(format!("/{malformed}")).is_err(), "{malformed}");
    }
}

#[test]
fn an_escaped_component_loses_its_backslashes() {
    let parsed = Pattern::new("/zk/nyc/a\\*b\\\\c").unwrap();
    assert_eq!(parsed.literal_path().unwrap().as_str(), "/zk/nyc/a*b\\c");
    assert_eq!(Pattern::new("/zk/*").unwrap().literal_path(), None);
    assert_eq!(Pattern::new("/").unwrap().literal_path(), Some(ZkPath::root()));
}

#[test]
fn a_path_is_a_pattern_of_itself() {
    let path = ZkPath::new("/a*/[/\\x").unwrap();
    let pattern = (&path).into_pattern().unwrap();
    assert_eq!(pattern.literal_path(), Some(path));
}

#[test]
fn a_malformed_pattern_says_what_and_why() {
    let line = |text: &str| Pattern::new(text).unwrap_err().to_string();
    assert_eq!(line("zk/*"), "pattern zk/*: bad pattern: it must start with /");
    assert_eq!(line("/zk/"), "pattern /zk/: bad pattern: it must not end with /");
    assert_eq!(line("/zk//*"), "pattern /zk//*: bad pattern: it has an empty component");
    assert_eq!(
        line("/zk/a\\"),
        "pattern /zk/a\\: bad pattern: it ends in \\, with no character to escape"
    );
    for bad in ["", "/.", "/a/../*", "/{,a}", "/{a,..}", "/a\u{1}"] {
        assert_eq!(Pattern::new(bad).unwrap_err().kind(), ErrorKind::BadPattern, "{bad:?}");
    }
}

#[test]
fn braces_are_alternatives() {
    for (pattern, name, expected) in [
        ("{nyc,lax}", "nyc", true),
        ("{nyc,lax}", "lax", true),
        ("{nyc,lax}", "ny", false),
        ("{n*,l?x}", "lax", true),
        ("{n*,l?x}", "lx", false),
        ("a{,b}c*", "acd", true),
        ("a{,b}c*", "abcd", true),
        ("a{,b}c*", "abbcd", false),
        ("{[,],[}]}x", ",x", true),
        ("{[,],[}]}x", "}x", true),
        ("\\{a,b}", "{a,b}", true),
        ("[{]*", "{x", true),
        ("[\\{\\}]*", "}x", true),
        ("{*a,b}{*,c}", "b", true),
    ] {
        assert_eq!(component(pattern).unwrap().matches(name), expected, "{pattern} on {name}");
    }
    assert!(!Pattern::new("/{a,b}").unwrap().is_literal());
    assert!(Pattern::new("/{a,a}").unwrap().is_literal());
}

/// Go's rules once more, by the shortest way: no sharing with the parser or with `glob`.
mod reference {
    /// `None` where the pattern is malformed.
    pub(super) fn matches(pattern: &[char], name: &[char]) -> Option<bool> {
        let Some((first, rest)) = pattern.split_first() else { return Some(name.is_empty()) };
        match first {
            '*' => {
                let ends = (0..=name.len()).map(|skip| matches(rest, &name[skip..]));
                ends.reduce(|one, other| Some(one? | other?)).unwrap_or(Some(false))
            }
            '?' => Some(matches(rest, name.get(1..).unwrap_or(&[]))? && !name.is_empty()),
            '[' => {
                let (inside, rest) = class(rest, name.first().copied())?;
                Some(matches(rest, name.get(1..).unwrap_or(&[]))? && inside)
            }
            '\\' => {
                let (c, rest) = rest.split_first()?;
                Some(matches(rest, name.get(1..).unwrap_or(&[]))? && name.first() == Some(c))
            }
            c => Some(matches(rest, name.get(1..).unwrap_or(&[]))? && name.first() == Some(c)),
        }
    }

    fn class(mut rest: &[char], c: Option<char>) -> Option<(bool, &[char])> {
        let negated = rest.first() == Some(&'^');
        rest = if negated { &rest[1..] } else { rest };
        let (mut inside, mut count) = (false, 0);
        while count == 0 || *rest.first()? != ']' {
            let (low, after) = one(rest)?;
            let (high, after) =
                if after.first() == Some(&'-') { one(&after[1..])? } else { (low, after) };
            inside |= c.is_some_and(|c| low <= c && c <= high);
            rest = after;
            count += 1;
        }
        Some((c.is_some() && inside != negated, &rest[1..]))
    }

    fn one(rest: &[char]) -> Option<(char, &[char])> {
        match rest.first()? {
            '-' | ']' => None,
            '\\' => Some((*rest.get(1)?, &rest[2..])),
            c => Some((*c, &rest[1..])),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Without braces, which are Go's own characters: a `\` before a class would leave them outside of it.
    /// A failure prints the case and its seed.
    #[test]
    fn glob_matches_what_go_matches(
        pattern in r"([abé日!^,.\]\[*?\\-]|\[\^?([!-~é&&[^/{}]]|\\[!-~é&&[^/{}]]|[ab!é]-[ab~日]){1,3}\]){1,6}",
        name in r"[abé日!^,.\]\[*?\\-]{0,5}",
    ) {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let expected = reference::matches(&chars(&pattern), &chars(&name));
        match component(&pattern) {
            Ok(parsed) => prop_assert_eq!(Some(parsed.matches(&name)), expected),
            // `.` and `..` are patterns of Go's, and no names of ZooKeeper's.
            Err(_) => prop_assert!(expected.is_none() || pattern.replace('\\', "").len() <= 2),
        }
    }
    #[test]
    fn braces_match_what_one_alternative_matches(
        one in r"([ab]|\*|\?|\[\^?[ab,}]\]|\\[,{}]){0,3}",
        other in r"([ab]|\*|\?|\[\^?[ab,}]\]|\\[,{}]){0,3}",
        name in r"[ab,{}]{1,3}",
    ) {
        // An outer character keeps the alternatives from being empty names.
        let braces = component(&format!("a{{{one},{other}}}")).unwrap();
        let name = format!("a{name}");
        prop_assert_eq!(braces.matches(&name), {
            let whole = |part: &str| component(&format!("a{part}")).unwrap().matches(&name);
            whole(&one) || whole(&other)
        });
    }
}

//! The syntax of one component of a pattern: Go's `path.Match`, and braces.

use std::iter::Peekable;
use std::str::Chars;

/// What one place of a component matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// This character.
    Char(char),
    /// One character, whichever.
    AnyChar,
    /// Any run of characters.
    AnyRun,
    /// One character of a class.
    Class(Class),
}

/// A class of characters; a range whose end is before its start holds none, as in Go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) negated: bool,
    pub(super) ranges: Vec<(char, char)>,
}

/// One way to match a component.
pub(super) type Alternative = Vec<Token>;

/// Braces multiply, so a short text could ask for millions.
const MOST_ALTERNATIVES: usize = 1000;

/// The alternatives of one component, or why it is none.
pub(super) fn parse(component: &str) -> Result<Vec<Alternative>, String> {
    let mut rest = component.chars().peekable();
    let mut ways: Vec<Alternative> = vec![Vec::new()];
    while let Some(c) = rest.next() {
        if c == '{' {
            ways = multiply(&ways, &braces(&mut rest)?)?;
        } else {
            let token = token(c, &mut rest)?;
            ways.iter_mut().for_each(|way| way.push(token.clone()));
        }
    }
    Ok(ways)
}

fn multiply(heads: &[Alternative], tails: &[Alternative]) -> Result<Vec<Alternative>, String> {
    if heads.len() * tails.len() > MOST_ALTERNATIVES {
        return Err(format!("its braces make more than {MOST_ALTERNATIVES} alternatives"));
    }
    let joined = |head: &Alternative, tail: &Alternative| [&head[..], &tail[..]].concat();
    Ok(heads.iter().flat_map(|head| tails.iter().map(move |tail| joined(head, tail))).collect())
}

/// What stands after a `{`, up to and with its `}`.
fn braces(rest: &mut Peekable<Chars<'_>>) -> Result<Vec<Alternative>, String> {
    let mut done = Vec::new();
    let mut way = Vec::new();
    while let Some(c) = rest.next() {
        match c {
            '}' if done.is_empty() && way.is_empty() => {
                return Err("there is nothing between { and }".into());
            }
            '}' => {
                done.push(way);
                return Ok(done);
            }
            ',' => done.push(std::mem::take(&mut way)),
            '{' => return Err("there are braces within braces".into()),
            _ => way.push(token(c, rest)?),
        }
    }
    Err("{ is not closed by } in the same component; write \\{ for the character".into())
}

fn token(c: char, rest: &mut Peekable<Chars<'_>>) -> Result<Token, String> {
    Ok(match c {
        '*' => Token::AnyRun,
        '?' => Token::AnyChar,
        '[' => Token::Class(class(rest)?),
        '\\' => Token::Char(rest.next().ok_or("it ends in \\, with no character to escape")?),
        _ => Token::Char(c),
    })
}

/// What stands after a `[`, up to and with its `]`.
fn class(rest: &mut Peekable<Chars<'_>>) -> Result<Class, String> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
            return Ok(Class { negated, ranges });
        }
        let low = member(rest)?;
        let high = if rest.next_if_eq(&'-').is_some() { member(rest)? } else { low };
        ranges.push((low, high));
    }
}

fn member(rest: &mut Peekable<Chars<'_>>) -> Result<char, String> {
    let unclosed = "[ is not closed by ] in the same component; write \\[ for the character";
    match rest.next().ok_or(unclosed)? {
        ']' => Err("a class holds at least one character; write \\] for the bracket".into()),
        '-' => Err("a range in a class lacks an end; write \\- for the dash".into()),
        '\\' => Ok(rest.next().ok_or("it ends in \\, with no character to escape")?),
        c => Ok(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_malformed_says_why() {
        for (text, why) in [
            ("[", "[ is not closed"),
            ("[^", "[ is not closed"),
            ("[a", "[ is not closed"),
            ("[a-", "[ is not closed"),
            ("[]", "at least one"),
            ("[]a]", "at least one"),
            ("[^]", "at least one"),
            ("[a-]", "at least one"),
            ("[-]", "lacks an end"),
            ("[-x]", "lacks an end"),
            ("[a-b-c]", "lacks an end"),
            ("a\\", "ends in \\"),
            ("[\\", "ends in \\"),
            ("{", "{ is not closed"),
            ("{a,", "{ is not closed"),
            ("{a[}]", "{ is not closed"),
            ("{}", "nothing between"),
            ("{a,{b}}", "within braces"),
            ("{a,b\\", "ends in \\"),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
    }

    #[test]
    fn braces_multiply_up_to_a_bound() {
        let spelled = |text: &str| -> Vec<String> {
            let spell = |way: Alternative| {
                way.into_iter()
                    .map(|token| match token {
                        Token::Char(c) => c,
                        other => panic!("{other:?}"),
                    })
                    .collect()
            };
            parse(text).unwrap().into_iter().map(spell).collect()
        };
        assert_eq!(spelled("x{a,b}{1,2}"), ["xa1", "xa2", "xb1", "xb2"]);
        assert_eq!(spelled("x{,a}"), ["x", "xa"]);
        assert_eq!(spelled("a,b}"), ["a,b}"]);
        assert_eq!(spelled("{a\\,b,\\}}"), ["a,b", "}"]);
        assert_eq!(spelled("{a}"), ["a"]);
        let many = "{0,1,2,3,4,5,6,7,8,9}".repeat(4);
        assert!(parse(&many).unwrap_err().contains("more than 1000"));
    }
}

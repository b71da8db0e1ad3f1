//! Writes Go's syntax as that of the `glob` crate, which differs.
//!
//! `glob` negates with `[!a]`; it knows no backslash, so a literal `*` is `[*]`; `**` is something
//! else; and its classes end at the first `]` that is not their first character, take `x-y` for a
//! range wherever it stands, and read `!` as negation at their start.

use super::syntax::{Class, Token};

/// The text that makes `glob` match what `tokens` match.
pub(super) fn write(tokens: &[Token]) -> String {
    let mut text = String::new();
    let mut last = None;
    for token in tokens {
        match token {
            Token::AnyRun if last == Some(&Token::AnyRun) => {}
            Token::AnyRun => text.push('*'),
            Token::AnyChar => text.push('?'),
            Token::Char(c) => write_char(*c, &mut text),
            Token::Class(class) => write_class(class, &mut text),
        }
        last = Some(token);
    }
    text
}

fn write_char(c: char, text: &mut String) {
    if matches!(c, '*' | '?' | '[' | ']') {
        text.extend(['[', c, ']']);
    } else {
        text.push(c);
    }
}

/// The characters of which a class of `glob` reads more than themselves.
const SPECIAL: [char; 3] = ['!', '-', ']'];

/// Every range is written out as `a-z`, even of one character, so that their thirds stay in step;
/// the special characters stand alone where they are plain: `]` first, `-` last, `!` never first.
fn write_class(class: &Class, text: &mut String) {
    let mut plain = class.ranges.clone();
    for special in SPECIAL {
        plain = plain.iter().flat_map(|range| without(*range, special)).collect();
    }
    let holds = |special| class.ranges.iter().any(|(low, high)| (*low..=*high).contains(&special));
    let mut inner = String::new();
    if holds(']') {
        inner.push(']');
    }
    for (low, high) in &plain {
        inner.extend([*low, '-', *high]);
    }
    match (holds('!'), holds('-')) {
        (true, false) if inner.is_empty() && !class.negated => return text.push('!'),
        (true, true) if inner.is_empty() && !class.negated => inner.push_str("-!"),
        (true, true) => inner.push_str("!-"),
        (true, false) => inner.push('!'),
        (false, true) => inner.push('-'),
        // Only ranges that hold nothing: a class must have something in it.
        (false, false) if inner.is_empty() => inner.push_str("b-a"),
        (false, false) => {}
    }
    text.push_str(if class.negated { "[!" } else { "[" });
    text.push_str(&inner);
    text.push(']');
}

/// What is left of a range when one ASCII character is taken out of it.
fn without((low, high): (char, char), special: char) -> Vec<(char, char)> {
    if !(low..=high).contains(&special) {
        return if low <= high { vec![(low, high)] } else { Vec::new() };
    }
    let mut left = Vec::new();
    if low < special {
        left.push((low, char::from(special as u8 - 1)));
    }
    if special < high {
        left.push((char::from(special as u8 + 1), high));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::super::syntax::parse;

    #[test]
    fn what_glob_gets() {
        for (go, glob) in [
            ("a*?", "a*?"),
            ("**", "*"),
            ("a***b", "a*b"),
            ("\\*\\?\\[]", "[*][?][[][]]"),
            ("\\!", "!"),
            ("[a-c]", "[a-c]"),
            ("[^a]", "[!a-a]"),
            ("[!]", "!"),
            ("[!a]", "[a-a!]"),
            ("[^!]", "[!!]"),
            ("[!\\-]", "[-!]"),
            ("[!\\-\\]]", "[]!-]"),
            ("[^!\\-]", "[!!-]"),
            ("[\\-]", "[-]"),
            ("[\\]]", "[]]"),
            ("[\\]a]", "[]a-a]"),
            ("[\\]\\-]", "[]-]"),
            ("[Z-_]", "[]Z-\\^-_]"),
            ("[+-\\-]", "[+-,-]"),
            ("[z-a]", "[b-a]"),
            ("[^z-a]", "[!b-a]"),
            ("[z-ax]", "[x-x]"),
        ] {
            assert_eq!(super::write(&parse(go).unwrap()[0]), glob, "{go}");
        }
    }
}

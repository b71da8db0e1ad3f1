//! [0, 1) as a bar of text.

/// How many characters [0, 1) has in a bar.
const WIDTH: usize = 60;

/// [0, 1) as text: `|0=====|1.....|`, or `|====+++...|` of more ranges than there is room for.
pub(super) fn bar(of: usize, held: &[usize]) -> String {
    let ranges = of.max(1);
    let start = |index: usize| index * WIDTH / ranges;
    // A bound, the widest number, and something of the range itself.
    let least = 2 + (ranges - 1).to_string().len();
    if WIDTH / ranges < least {
        return format!("|{}|", dense(ranges, held));
    }
    let mut text = String::with_capacity(WIDTH + 1);
    for index in 0..ranges {
        let is_held = held.contains(&index);
        let label = if is_held { format!("|{index}") } else { "|".to_owned() };
        let fill = if is_held { '=' } else { '.' };
        let width = start(index + 1) - start(index);
        text.extend(label.chars().chain(std::iter::repeat(fill)).take(width));
    }
    text.push('|');
    text
}

/// The same without bounds: each character stands for all ranges that it touches.
fn dense(ranges: usize, held: &[usize]) -> String {
    let mut is_held = vec![false; ranges];
    for index in held {
        if let Some(range) = is_held.get_mut(*index) {
            *range = true;
        }
    }
    let columns = WIDTH - 1;
    let shown = |column: usize| {
        let (first, last) = (column * ranges / columns, ((column + 1) * ranges).div_ceil(columns));
        let touched = is_held.iter().take(last).skip(first);
        let (held, all) = (touched.clone().filter(|is_held| **is_held).count(), touched.count());
        match held {
            0 => '.',
            held if held == all => '=',
            _ => '+',
        }
    };
    (0..columns).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_who_has_what() {
        assert_eq!(bar(0, &[]), format!("|{}|", ".".repeat(59)));
        assert_eq!(bar(2, &[0]), format!("|0{}|{}|", "=".repeat(28), ".".repeat(29)));
        for of in 1..2000 {
            let held: Vec<usize> = (0..of).collect();
            let all = bar(of, &held);
            assert_eq!(all.chars().count(), WIDTH + 1);
            // Each number is there, with something of its range, or none is.
            let numbers = all.chars().filter(char::is_ascii_digit).count();
            let digits: usize = (0..of).map(|index| index.to_string().len()).sum();
            assert!(numbers == 0 || numbers == digits, "{all}");
            assert!(!all.contains("||") && !bar(of, &[]).contains('='), "{all}");
        }
    }

    #[test]
    fn a_bar_of_many_ranges_says_where_some_are_held() {
        assert_eq!(bar(30, &[]), format!("|{}|", ".".repeat(59)));
        let half: Vec<usize> = (0..50).collect();
        assert_eq!(bar(100, &half), format!("|{}+{}|", "=".repeat(29), ".".repeat(29)));
        assert_eq!(bar(1000, &[999]), format!("|{}+|", ".".repeat(58)));
    }
}

//! Words that stay out of the project: marks of unfinished work, and what only its makers' machines know.

use super::Finding;
use super::tree::Tree;

struct Ban {
    /// In two pieces, so that this file does not contain what it looks for.
    word: (&'static str, &'static str),
    mend: &'static str,
}

const UNFINISHED: &str = "finish it now, or write what is missing where users read it";
const MACHINE: &str = "a path of one machine means nothing elsewhere: make it relative";
const INTERNAL: &str = "readers cannot see this: say what it says instead";

const BANS: [Ban; 8] = [
    Ban { word: ("TO", "DO"), mend: UNFINISHED },
    Ban { word: ("FIX", "ME"), mend: UNFINISHED },
    Ban { word: ("XX", "X"), mend: UNFINISHED },
    Ban { word: ("/wo", "rk/"), mend: MACHINE },
    Ban { word: ("/ro", "ot/"), mend: MACHINE },
    Ban { word: ("/ho", "me/"), mend: MACHINE },
    Ban { word: ("session", " note"), mend: INTERNAL },
    Ban { word: ("issue", " #"), mend: INTERNAL },
];

/// Checks every line written by hand.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (index, line) in text.lines().enumerate() {
            findings.extend(in_line(line).map(|message| Finding::new(path, index + 1, message)));
        }
    }
    findings
}

fn in_line(line: &str) -> impl Iterator<Item = String> {
    let banned = BANS.iter().map(|ban| (ban.word.0.to_owned() + ban.word.1, ban.mend));
    banned.filter(|(word, _)| stands_alone(line, word)).map(|(word, mend)| format!("`{word}`: {mend}"))
}

/// Whether `word` occurs with no letter or digit continuing it on either side.
fn stands_alone(line: &str, word: &str) -> bool {
    let goes_on = |next: Option<char>| next.is_some_and(char::is_alphanumeric);
    let ends_in_letter = goes_on(word.chars().next_back());
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let inside = goes_on(before.chars().next_back()) || (ends_in_letter && goes_on(after.chars().next()));
        !inside
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(line: &str) -> usize {
        check(&Tree::of(&[("docs/a.md", line)])).len()
    }

    #[test]
    fn each_banned_word_is_found_at_its_line() {
        for Ban { word: (start, end), .. } in BANS {
            let found = check(&Tree::of(&[("a/src/x.rs", &format!("fine\n// {start}{end}\n"))]));
            assert_eq!(found.len(), 1, "{start}{end}");
            assert_eq!(found[0].line, 2);
        }
    }

    #[test]
    fn a_word_inside_another_is_not_meant() {
        assert_eq!(found_in("the frame/wo\u{72}k/ folder"), 0);
        assert_eq!(found_in("base64 QXX\u{58}Y"), 0);
        assert_eq!(found_in("../shared/data"), 0);
    }
}

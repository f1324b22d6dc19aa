//! Tests that sleep: too short on a busy machine, too long on every other. Wait for what is meant to happen.

use super::Finding;
use super::tree::{Tree, is_test_file};

/// Files whose tests may sleep, each with the reason why nothing can be waited for.
const ALLOWED: [(&str, &str); 6] = [
    ("crates/core/tests/it/hub.rs", "the clock is paused: a sleep moves it at once, and the lingers with it"),
    (
        "crates/core/tests/it/membership.rs",
        "the clock is paused: a sleep moves it at once, and the heartbeats and leases with it",
    ),
    (
        "crates/core/tests/it/mirror/fresh.rs",
        "the clock is paused: a sleep moves it at once past what is asked again",
    ),
    (
        "crates/core/tests/it/mirror/following.rs",
        "the clock is paused: a sleep moves it at once past what is asked again",
    ),
    (
        "crates/core/tests/it/mirror.rs",
        "the clock is paused: a sleep moves it at once past what is idle or asked again",
    ),
    ("crates/core/tests/it/resume.rs", "the clock is paused: a sleep moves it at once past the feed's retry"),
];

const MEND: &str =
    "a test sleeps: wait on a notification or pause the clock (exceptions: xtask/src/tidy/waits.rs)";

/// Checks test files, and what follows `#[cfg(test)]` in the others.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let files = tree.rust().filter(|(path, _)| !ALLOWED.iter().any(|(allowed, _)| allowed == path));
    let mut findings = Vec::new();
    for (path, text) in files {
        let tests =
            text.lines().enumerate().skip_while(|(_, line)| !is_test_file(path) && !begins_tests(line));
        let sleeping = tests.filter(|(_, line)| sleeps(line));
        findings.extend(sleeping.map(|(index, _)| Finding::new(path, index + 1, MEND)));
    }
    findings
}

fn begins_tests(line: &str) -> bool {
    line.trim() == "#[cfg(test)]"
}

/// A call of a function `sleep` or `sleep_until`. A method is a seam's, which the simulator answers at once.
fn sleeps(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or(line);
    ["sleep(", "sleep_until("].iter().any(|call| {
        code.match_indices(call).any(|(at, _)| {
            let before = &code[..at];
            let continues =
                before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '"' | '`'));
            !continues && !before.ends_with("fn ")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_tests_are_found_and_sleeping_code_is_not() {
        let call = ["thread::", "sleep(d);"].concat();
        let code = format!("//! X.\nfn f() {{ {call} }}\n");
        let mixed = format!("{code}#[cfg(test)]\nmod tests {{\n    {call}\n}}\n");
        let tree = Tree::of(&[("a/src/x.rs", &code), ("a/src/y.rs", &mixed), ("a/tests/it.rs", &call)]);
        let found: Vec<_> = check(&tree).into_iter().map(|finding| (finding.path, finding.line)).collect();
        assert_eq!(found, [("a/src/y.rs".into(), 5), ("a/tests/it.rs".into(), 1)]);
    }

    #[test]
    fn seams_definitions_and_comments_do_not_sleep() {
        assert!(!sleeps("clock.sleep(d).await"));
        assert!(!sleeps("async fn sleep(&self)"));
        assert!(!sleeps("// never sleep(1)"));
        assert!(sleeps(&["tokio::time::", "sleep(d).await"].concat()));
    }
}

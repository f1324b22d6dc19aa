//! Error codes: every code a crate gives is in the table of `docs/reference/errors.md`, and the other way round.
//!
//! Codes are found as the first text in a call that makes an error. One that comes by a variable is missed; then the
//! page must name it all the same, because that is checked from the page's side too.

use super::Finding;
use super::tree::{Tree, is_test_file};

const PAGE: &str = "docs/reference/errors.md";
const CRATES: [&str; 5] = [
    "crates/backends/src/",
    "crates/core/src/",
    "crates/dualstream/src/",
    "crates/gateway/src/",
    "crates/log/src/",
];
const CALLS: [&str; 3] = ["Error::new(", "Error::invalid(", "Problem::http("];
/// A code stands so near behind the call, or it is none.
const DISTANCE_MAX: usize = 120;

/// Checks both lists, if there is a page.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.text(PAGE) else { return Vec::new() };
    let listed: Vec<(usize, &str)> = listed(page).collect();
    let sources: Vec<(&str, &str)> = tree.rust().filter(|(path, _)| is_source(path)).collect();
    let mut findings = Vec::new();
    for (path, text) in &sources {
        let missing = given(text).filter(|(_, code)| !listed.iter().any(|(_, known)| known == code));
        findings.extend(
            missing.map(|(line, code)| Finding::new(path, line, format!("{PAGE} does not list `{code}`"))),
        );
    }
    for (line, code) in listed {
        let literal = format!("\"{code}\"");
        if !sources.iter().any(|(_, text)| text.contains(&literal)) {
            findings.push(Finding::new(PAGE, line, format!("no crate gives `{code}`: remove the row")));
        }
    }
    findings
}

fn is_source(path: &str) -> bool {
    CRATES.iter().any(|folder| path.starts_with(folder)) && !is_test_file(path)
}

/// The codes of the page's tables whose first column is `code`, with their lines.
fn listed(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    page.lines().enumerate().filter_map(move |(index, line)| {
        inside = line.starts_with("| code |") || (inside && line.starts_with('|'));
        let code = line.strip_prefix("| `")?.split('`').next()?;
        inside.then_some((index + 1, code))
    })
}

/// The codes in the code, with their lines.
fn given(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let calls =
        CALLS.into_iter().flat_map(move |call| text.match_indices(call).map(move |(at, _)| at + call.len()));
    calls.filter_map(move |at| {
        let (before, rest) = text[at..].split_once('"')?;
        let code = rest.split('"').next()?;
        let is_code = !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let line = text[..at].lines().count();
        (before.len() <= DISTANCE_MAX && is_code).then_some((line, code))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "fn f() -> Error {\n    Error::new(\n        ErrorKind::Full,\n        \"no_room\",\n        \
                        \"there is no room\",\n    )\n}\n";

    fn found(page: &str) -> Vec<String> {
        let tree = Tree::of(&[(PAGE, page), ("crates/log/src/x.rs", CODE)]);
        check(&tree).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn equal_lists_are_fine() {
        assert_eq!(
            found("| member |\n| `other` | x |\n\n| code | kind |\n|---|---|\n| `no_room` | Full |\n"),
            [""; 0]
        );
    }

    #[test]
    fn codes_of_one_side_alone_are_found() {
        let found = found("| code | kind |\n|---|---|\n| `no_time` | Full |\n");
        assert_eq!(found.len(), 2);
        assert!(
            found[0].starts_with("crates/log/src/x.rs:2: ") && found[0].contains("`no_room`"),
            "{found:?}"
        );
        assert!(found[1].starts_with("docs/reference/errors.md:3: ") && found[1].contains("`no_time`"));
    }
}

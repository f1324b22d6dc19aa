//! Links in Markdown pages: a relative one leads to a file or folder of the project, and its `#…` to a heading there.
//!
//! Links to other sites are not followed: a check that needs the network fails for reasons no change can mend.

use super::Finding;
use super::tree::Tree;
use std::collections::BTreeMap;

/// Checks all pages.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        for (index, line) in prose(text) {
            let broken = targets(line).filter_map(|target| Some((target, fault(tree, path, target)?)));
            findings.extend(broken.map(|(target, fault)| {
                Finding::new(path, index + 1, format!("the link `{target}` is broken: {fault}"))
            }));
        }
    }
    findings
}

/// The lines outside fenced code, with their indexes.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// What stands in `[text](target)` outside `code`, and in `[name]: target`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let inline = line.match_indices("](").filter_map(|(at, mark)| {
        let in_code = line[..at].matches('`').count() % 2 == 1;
        let rest = &line[at + mark.len()..];
        (!in_code).then(|| rest.split([')', ' ']).next()).flatten()
    });
    let definition = line.strip_prefix('[').and_then(|rest| Some(rest.split_once("]: ")?.1.trim()));
    inline.chain(definition)
}

fn fault(tree: &Tree, page: &str, target: &str) -> Option<String> {
    let outside = target.contains(':') || target.starts_with("//");
    if outside || target.trim_start_matches("../").starts_with("shared/") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { page.to_owned() } else { resolve(page, file) };
    if !tree.has(&file) {
        return Some(format!("there is no {file}"));
    }
    let text = tree.text(&file).filter(|_| !heading.is_empty() && file.ends_with(".md"))?;
    (!anchors(text).contains(&heading.to_owned())).then(|| format!("{file} has no heading for #{heading}"))
}

/// The path of `link` as seen from `page`; a link out of the project is taken as it is, and so is not found.
pub(super) fn resolve(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_some() => {}
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// The anchors GitHub gives the headings of a page: repeated ones are numbered.
pub(super) fn anchors(text: &str) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    headings
        .map(|(_, line)| {
            let slug = slug(line.trim_start_matches('#').trim());
            let count = seen.entry(slug.clone()).or_default();
            *count += 1;
            if *count == 1 { slug } else { format!("{slug}-{}", *count - 1) }
        })
        .collect()
}

fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

#[cfg(test)]
mod tests;

//! The star of crates: what each member may import is the table under `## Crates` in ARCHITECTURE.md, exactly.
//!
//! Only ordinary dependencies count: tests and build scripts may use what they like. The rule that leaves never
//! import each other holds whatever the table says.

use super::Finding;
use super::tree::Tree;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = "ARCHITECTURE.md";
const HEADING: &str = "## Crates";
const CORE: &str = "dualstream-core";
/// The crates that name concrete backends together; every other member but core is a leaf.
const HUBS: [&str; 5] = ["dualstream", "dualstream-sim", "dualstream-bench", "dualstream-faults", "xtask"];

/// A crate that is a part of one leaf, fenced off for its `unsafe`: only that leaf may import it.
const FENCED: (&str, &str) = ("dualstream-kafka-ffi", "dualstream-backends");

/// A crate of the workspace and what it imports.
pub struct Member {
    name: String,
    imports: BTreeSet<String>,
}

/// The members in `cargo metadata`.
pub fn members(metadata: &Value) -> Result<Vec<Member>> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    packages.iter().map(member).collect()
}

fn member(package: &Value) -> Result<Member> {
    let name = package["name"].as_str().context("a package has a name")?.to_owned();
    let dependencies = package["dependencies"].as_array().context("a package lists dependencies")?;
    let ordinary = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
    let imports = ordinary.filter_map(|dependency| dependency["name"].as_str()).map(String::from).collect();
    Ok(Member { name, imports })
}

/// Compares the members with the table, both ways, and with the rule of the star.
pub fn check(tree: &Tree, members: &[Member]) -> Vec<Finding> {
    let rows = tree.text(PAGE).map(rows).unwrap_or_default();
    if rows.is_empty() {
        let mend = format!("there is no table `crate | purpose | may import` under `{HEADING}`: write one");
        return vec![Finding::new(PAGE, 1, mend)];
    }
    let mut findings = Vec::new();
    for member in members {
        match rows.get(member.name.as_str()) {
            Some(row) => findings.extend(compare(member, row)),
            None => findings.push(Finding::new(PAGE, 1, format!("`{}` has no row: add one", member.name))),
        }
        findings.extend(star(member, members));
    }
    for (name, row) in &rows {
        if !members.iter().any(|member| member.name == *name) {
            findings.push(Finding::new(PAGE, row.line, format!("`{name}` is no crate here: remove its row")));
        }
    }
    findings
}

fn compare(member: &Member, row: &Row<'_>) -> Vec<Finding> {
    let name = &member.name;
    let may: BTreeSet<&str> = row.may_import.iter().copied().collect();
    let does: BTreeSet<&str> = member.imports.iter().map(String::as_str).collect();
    let excess = does.difference(&may).map(|import| {
        format!(
            "`{name}` imports `{import}`, which its row does not allow: drop the import, or add it to the row"
        )
    });
    let idle = may.difference(&does).map(|import| {
        format!("`{name}` does not import `{import}`, which its row allows: remove it from the row")
    });
    excess.chain(idle).map(|message| Finding::new(PAGE, row.line, message)).collect()
}

fn star(member: &Member, members: &[Member]) -> Vec<Finding> {
    if HUBS.contains(&member.name.as_str()) {
        return Vec::new();
    }
    let is_fenced = |other: &Member| (other.name.as_str(), member.name.as_str()) == FENCED;
    let siblings = members
        .iter()
        .filter(|other| other.name != CORE && !is_fenced(other) && member.imports.contains(&other.name));
    let message = |sibling: &Member| {
        format!(
            "`{}` imports `{}`: what the two share is a noun or a seam of `{CORE}`",
            member.name, sibling.name
        )
    };
    siblings.map(|sibling| Finding::new("Cargo.toml", 1, message(sibling))).collect()
}

struct Row<'a> {
    line: usize,
    may_import: Vec<&'a str>,
}

/// The table's rows by crate: names in backticks, of the first column and of the third.
fn rows(page: &str) -> BTreeMap<&str, Row<'_>> {
    let lines = page.lines().enumerate().skip_while(|(_, line)| line.trim() != HEADING).skip(1);
    let section = lines.take_while(|(_, line)| !line.starts_with("## "));
    let mut rows = BTreeMap::new();
    for (index, line) in section.filter(|(_, line)| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').collect();
        if let (Some(name), Some(imports)) =
            (cells.first().and_then(|cell| quoted(cell).next()), cells.get(2))
        {
            rows.insert(name, Row { line: index + 1, may_import: quoted(imports).collect() });
        }
    }
    rows
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests;

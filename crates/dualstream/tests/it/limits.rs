//! The reference page of limits against the settings that are compiled in.

use dualstream::settings::DEFAULT_TOML;
use toml::{Table, Value};

const LIMITS: &str = include_str!("../../../../docs/reference/limits.md");

/// `64MiB` as the page writes it: `64 MiB`; a number with commas: `15,000`.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap();
            if unit == 0 { text.clone() } else { format!("{} {}", &text[..unit], &text[unit..]) }
        }
        Value::Integer(number) => {
            let digits = number.to_string();
            let groups: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().map(|g| str::from_utf8(g).unwrap()).collect();
            groups.join(",")
        }
        other => panic!("{other} is no limit"),
    }
}

#[test]
fn the_page_of_limits_has_the_defaults() {
    let defaults: Table = DEFAULT_TOML.parse().unwrap();
    let table = LIMITS.split("\n## ").nth(1).unwrap();
    let mut rows = 0;
    for line in table.lines().filter(|line| line.contains(" | `")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let (section, name) = cells[2].split('`').nth(1).unwrap().split_once('.').unwrap();
        let wanted = shown(&defaults[section][name]);
        let is_shown =
            cells[1] == wanted || cells[1].strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('/'));
        assert!(is_shown, "{line}: the default is {wanted}");
        rows += 1;
    }
    assert!(rows >= 20, "{rows} rows");
}

//! The part of TOML that mutants are written in, read by hand as xtask builds before everything else.
//!
//! Comments on their own lines, `key = 17`, `key = "one line, \"escaped\""`, `key = 'one line as it is'`,
//! `key = '''` … `'''` over many lines as they are, and tables `[[edit]]`. Anything else is refused, so no file here
//! means something different to a full reader.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;

const FENCE: &str = "'''";

/// What a file holds.
#[derive(Default)]
pub struct Document {
    /// The keys before the first `[[edit]]`.
    pub top: Table,
    /// The tables, in order.
    pub edits: Vec<Table>,
}

/// Keys and values.
#[derive(Default)]
pub struct Table(BTreeMap<String, Value>);

enum Value {
    String(String),
    Integer(u64),
}

/// Reads a file; errors name the line.
pub fn parse(text: &str) -> Result<Document> {
    let mut document = Document::default();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "[[edit]]" {
            document.edits.push(Table::default());
            continue;
        }
        let value = entry(line, &mut lines).with_context(|| format!("line {}", index + 1))?;
        let table = document.edits.last_mut().unwrap_or(&mut document.top);
        ensure!(table.0.insert(value.0, value.1).is_none(), "line {}: the key is there twice", index + 1);
    }
    Ok(document)
}

fn entry<'a>(line: &str, rest: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<(String, Value)> {
    let (key, value) = line.split_once('=').context("neither `key = value` nor `[[edit]]`")?;
    let (key, value) = (key.trim(), value.trim());
    ensure!(
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
        "`{key}` is no key"
    );
    let value = match value.strip_prefix(FENCE) {
        Some("") => Value::String(many_lines(rest)?),
        Some(_) => bail!("begin the text on the line after {FENCE}"),
        None => one_line(value)?,
    };
    Ok((key.to_owned(), value))
}

/// Up to the closing fence, which stands alone; the last line break belongs to the text.
fn many_lines<'a>(rest: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<String> {
    let mut text = String::new();
    for (_, line) in rest {
        if line == FENCE {
            return Ok(text);
        }
        ensure!(!line.contains(FENCE), "the closing {FENCE} stands on a line of its own");
        text.push_str(line);
        text.push('\n');
    }
    bail!("the closing {FENCE} is missing")
}

fn one_line(value: &str) -> Result<Value> {
    if let Some(rest) = value.strip_prefix('\'') {
        let text = rest.strip_suffix('\'').filter(|text| !text.contains('\''));
        return Ok(Value::String(text.context("a text in '…' ends with its line")?.to_owned()));
    }
    if value.starts_with("\"\"\"") {
        bail!("write a text of many lines between {FENCE}");
    }
    if value.starts_with('"') {
        // The escapes of JSON mean the same in TOML.
        let text = serde_json::from_str(value).context("a text in \"…\" ends with its line")?;
        return Ok(Value::String(text));
    }
    let number = value.parse().with_context(|| format!("`{value}` is neither a text nor a whole number"))?;
    Ok(Value::Integer(number))
}

impl Table {
    /// The text of `key`, which must be there.
    pub fn string(&self, key: &str) -> Result<String> {
        match self.0.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Integer(_)) => bail!("`{key}` is not a text"),
            None => bail!("`{key}` is missing"),
        }
    }

    /// The number of `key`, if it is there.
    pub fn integer(&self, key: &str) -> Result<Option<u64>> {
        match self.0.get(key) {
            Some(Value::Integer(number)) => Ok(Some(*number)),
            Some(Value::String(_)) => bail!("`{key}` is not a number"),
            None => Ok(None),
        }
    }

    /// Fails on keys beside `keys`: a misspelt one would be overlooked.
    pub fn expect_only(&self, keys: &[&str]) -> Result<()> {
        for key in self.0.keys() {
            ensure!(keys.contains(&key.as_str()), "`{key}` is not one of {}", keys.join(", "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        format!("{:#}", parse(text).err().unwrap())
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let text =
            "# c\na = 17\nb = \"x\\n\\\"y\\\"\"\nc = 'z\\'\nd = '''\n  # kept\n\n'''\n[[edit]]\na = 1\n";
        let Document { top, edits } = parse(text).unwrap();
        assert_eq!(top.integer("a").unwrap(), Some(17));
        assert_eq!(top.string("b").unwrap(), "x\n\"y\"");
        assert_eq!(top.string("c").unwrap(), "z\\");
        assert_eq!(top.string("d").unwrap(), "  # kept\n\n");
        assert_eq!(edits[0].integer("a").unwrap(), Some(1));
    }

    #[test]
    fn what_a_full_reader_might_read_otherwise_is_refused() {
        assert!(refusal("a = 1\na = 2\n").contains("line 2: the key is there twice"));
        assert!(refusal("a = '''x\n'''\n").contains("line 1: begin the text"));
        assert!(refusal("a = '''\nx\n").contains("missing"));
        assert!(refusal("a = '''\nx'''\n").contains("line of its own"));
        assert!(refusal("a = \"\"\"\nx\"\"\"\n").contains("between '''"));
        assert!(refusal("a = true\n").contains("`true` is neither"));
        assert!(refusal("a = 'x' # c\n").contains("ends with its line"));
        assert!(refusal("[other]\n").contains("line 1: neither"));
        assert!(refusal("a.b = 1\n").contains("`a.b` is no key"));
    }
}

//! The settings described for readers and editors: a Markdown page and a JSON Schema, both made from the table and the
//! comments of `default.toml`.

use super::table::{FIELDS, Field, KAFKA};
use super::{DEFAULT_TOML, Settings};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The namespace that stands for all where one has to be shown.
const SAMPLE: &str = "events";

/// The reference page.
pub fn markdown() -> String {
    let comments = comments();
    let mut settings = Settings::default();
    let mut page = String::from(
        "# Settings\n\n\
         Made by `dualstream config doc`. A file in TOML (`--config FILE`) holds any of these; every setting is also an\n\
         environment variable and `--set NAME=VALUE`. A flag wins over the environment, the environment over the file.\n\
         `dualstream config check FILE` tells what is wrong with a file, `dualstream config schema` is its JSON Schema.\n",
    );
    let mut section = None;
    for field in FIELDS {
        if section != Some(field.section()) {
            section = Some(field.section());
            heading(&mut page, field.section(), &comments);
        }
        entry(&mut page, field, &mut settings, &comments);
    }
    heading(&mut page, KAFKA, &comments);
    page
}

fn heading(page: &mut String, section: &str, comments: &BTreeMap<String, String>) {
    let _ = match section {
        "" => write!(page, "\n## At the top\n"),
        _ => write!(page, "\n## `[{}]`\n", section.replace('*', "NAME")),
    };
    if let Some(comment) = comments.get(&format!("[{}]", section.replace('*', SAMPLE))) {
        let _ = write!(page, "\n{comment}\n");
    }
}

fn entry(page: &mut String, field: &Field, settings: &mut Settings, comments: &BTreeMap<String, String>) {
    let slot = field.slot(settings, Some(SAMPLE));
    let (wants, default) = (slot.wants(field.range), slot.show());
    let variable = field.variable().replace('*', "NAME");
    let comment = comments.get(&field.path.replace('*', SAMPLE)).map_or("", String::as_str);
    let _ = write!(
        page,
        "\n### `{}`\n\n{comment}\n\n- Value: {wants}\n- Default: `{default}`\n- Environment: `{variable}`\n",
        field.path.replace('*', "NAME")
    );
}

/// The JSON Schema (draft 2020-12) of a settings file.
pub fn schema() -> Value {
    let comments = comments();
    let mut settings = Settings::default();
    let mut top = Map::new();
    let mut sections: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for field in FIELDS {
        let slot = field.slot(&mut settings, Some(SAMPLE));
        let mut schema = slot.schema(field.range);
        schema["description"] = json!(comments.get(&field.path.replace('*', SAMPLE)));
        match field.section() {
            "" => top.insert(field.key().into(), schema),
            section => sections.entry(section).or_default().insert(field.key().into(), schema),
        };
    }
    for (section, properties) in sections {
        let closed = closed(properties);
        match section.strip_suffix(".*") {
            Some(parent) => {
                top.insert(parent.into(), json!({"type": "object", "additionalProperties": closed}))
            }
            None => top.insert(section.into(), closed),
        };
    }
    top.insert(
        KAFKA.into(),
        json!({"type": "object", "description": comments.get(&format!("[{KAFKA}]")), "additionalProperties": true}),
    );
    let mut schema = closed(top);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("dualstream settings");
    schema
}

fn closed(properties: Map<String, Value>) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// The comment above each key and section of `default.toml`: keys by full name, sections as `[name]`.
fn comments() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let (mut section, mut comment) = (String::new(), Vec::new());
    for line in DEFAULT_TOML.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
            continue;
        }
        let text = std::mem::take(&mut comment).join("\n");
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = format!("{name}.");
            found.insert(format!("[{name}]"), text);
        } else if let Some((key, _)) = line.split_once(" = ") {
            found.insert(format!("{section}{key}"), text);
        }
    }
    found
}

//! A settings file: TOML text to assignments, each with the line it stands on. What a name means is not looked at
//! here.

use super::problem::{Origin, Problem};
use super::value::{Form, Given};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Largest settings file in bytes.
pub const BYTES_MAX: u64 = 1 << 20;

/// `path = value`, and where it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The full name: `log.topic`.
    pub path: String,
    /// The value; `None` for a section of its own, `[namespaces.chat]`.
    pub given: Option<Given>,
    /// Where the name stands.
    pub origin: Origin,
}

/// All assignments of a file, in its order, and what is no TOML in it.
pub fn parse(name: &str, text: &str) -> (Vec<Assignment>, Vec<Problem>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let file = File { name, text };
    let problems = errors.iter().map(|error| file.problem(error)).collect();
    let mut found = Vec::new();
    file.walk("", document.get_ref(), &mut found);
    found.sort_by_key(|(at, _)| *at);
    (found.into_iter().map(|(_, assignment)| assignment).collect(), problems)
}

struct File<'a> {
    name: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn walk(&self, section: &str, table: &DeTable<'_>, found: &mut Vec<(usize, Assignment)>) {
        for (key, value) in table {
            let path = match section {
                "" => key.get_ref().to_string(),
                _ => format!("{section}.{}", key.get_ref()),
            };
            let at = key.span().start;
            let given = match value.get_ref() {
                DeValue::Table(inner) => {
                    self.walk(&path, inner, found);
                    None
                }
                _ => Some(self.given(value)),
            };
            found.push((at, Assignment { path, given, origin: self.origin(at) }));
        }
    }

    fn given(&self, value: &Spanned<DeValue<'_>>) -> Given {
        let (form, text) = match value.get_ref() {
            DeValue::String(text) => (Form::String, text.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => (Form::Integer, number.as_str().to_owned()),
            DeValue::Boolean(value) => (Form::Boolean, value.to_string()),
            DeValue::Integer(_) => (Form::Other("a number that is not decimal"), String::new()),
            DeValue::Float(_) => (Form::Other("a number with a fraction"), String::new()),
            DeValue::Datetime(_) => (Form::Other("a date"), String::new()),
            DeValue::Array(items) => {
                match items.iter().map(|item| item.get_ref().as_str()).collect::<Option<Vec<_>>>() {
                    Some(texts) => (Form::Strings, texts.join(",")),
                    None => (Form::Other("an array"), String::new()),
                }
            }
            DeValue::Table(_) => (Form::Other("a table"), String::new()),
        };
        Given { form, text }
    }

    fn problem(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or_default();
        let message = match (error.message(), self.word(&span)) {
            ("duplicate key", Some(word)) => format!("`{word}` is given twice"),
            (message, _) => message.to_owned(),
        };
        Problem::new(self.origin(span.start), message)
    }

    fn word(&self, span: &Range<usize>) -> Option<&str> {
        self.text.get(span.clone()).filter(|word| !word.is_empty() && word.len() <= 255)
    }

    fn origin(&self, at: usize) -> Origin {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Origin::File { name: self.name.to_owned(), line, column }
    }
}

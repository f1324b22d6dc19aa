//! An event as people see it: one line, cut to the terminal.

use crate::client::events::Shown;
use crate::output::Format;
use console::{Term, truncate_str};

/// Turns events into lines.
pub struct Printer {
    format: Format,
    width: Option<usize>,
}

impl Printer {
    /// For standard output as it is now.
    pub fn new(format: Format) -> Printer {
        let terminal = Term::stdout();
        let width = terminal.is_term().then(|| usize::from(terminal.size().1));
        Printer { format, width }
    }

    /// The line of an event, given as it came: JSON on one line.
    pub fn line(&self, json: &str) -> String {
        match self.format {
            Format::Json => json.to_owned(),
            Format::Human => self.cut(&harmless(&human(json))),
        }
    }

    fn cut(&self, line: &str) -> String {
        match self.width {
            Some(width) => truncate_str(line, width, "…").into_owned(),
            None => line.to_owned(),
        }
    }
}

/// Time, source, type, id and data; what is no event, as it came.
fn human(json: &str) -> String {
    let Ok(Shown { id: Some(id), event_type: Some(event_type), source_type, source_id, time, data, .. }) =
        serde_json::from_str(json)
    else {
        return json.to_owned();
    };
    let source = [source_type, source_id].into_iter().flatten().collect::<Vec<_>>().join(":");
    let data = data.map_or("", |data| data.get());
    [time.as_deref().unwrap_or("-"), &source, &event_type, &id, data].join("  ").trim_end().to_owned()
}

/// Without anything that steers a terminal: what publishers wrote is not trusted.
pub fn harmless(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_other_payloads() {
        let printer = Printer { format: Format::Human, width: None };
        let event = r#"{"id":"i","type":"push","source_type":"repo","source_id":"o/r","time":"T","data":{"a":1},"position":"p"}"#;
        assert_eq!(printer.line(event), "T  repo:o/r  push  i  {\"a\":1}");
        assert_eq!(
            printer.line(r#"{"id":"i","type":"push","source_id":"o/r","position":"p"}"#),
            "-  o/r  push  i"
        );
        assert_eq!(printer.line("[1,\"\u{9b}31m\"]"), "[1,\"\u{fffd}31m\"]");
        let narrow = Printer { format: Format::Human, width: Some(10) };
        assert_eq!(narrow.line(event), "T  repo:o…");
        assert_eq!(Printer { format: Format::Json, width: Some(10) }.line(event), event);
    }
}

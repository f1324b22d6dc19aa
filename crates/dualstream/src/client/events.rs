//! What the API says about events: answers to publishes, pages of history, and the events themselves.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Answer to lines that were published.
#[derive(Debug, Default, Deserialize)]
pub struct Summary {
    /// Lines stored.
    pub stored: u64,
    /// Lines that were stored before.
    #[serde(default)]
    pub duplicates: u64,
    /// Lines that were not, or perhaps not, stored.
    #[serde(default)]
    pub failures: Vec<LineFailure>,
}

impl Summary {
    /// Lines it tells of.
    pub fn lines(&self) -> u64 {
        self.stored + self.duplicates + self.failures.len() as u64
    }
}

/// A line that was not, or perhaps not, stored.
#[derive(Clone, Debug, Deserialize)]
pub struct LineFailure {
    /// Its number in the request, from 1.
    pub line: usize,
    /// Stable word.
    #[serde(default)]
    pub code: String,
    /// One sentence.
    #[serde(default)]
    pub message: String,
    /// Whether the same line may be stored later.
    #[serde(default)]
    pub retryable: bool,
}

/// A page of history.
#[derive(Debug, Deserialize)]
pub struct HistoryPage<'a> {
    /// The events as they came.
    #[serde(borrow)]
    pub events: Vec<&'a RawValue>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
    /// The end of the channel when the page was read.
    pub latest: String,
    /// What is damaged on the page.
    #[serde(default)]
    pub gaps: Vec<HistoryGap>,
}

/// Records that cannot be read any more.
#[derive(Debug, Deserialize)]
pub struct HistoryGap {
    /// Position of the first of them.
    pub from: String,
    /// Position behind the last of them.
    pub to: String,
    /// How many events of the page come before them.
    pub after: usize,
    /// How many records stood there.
    pub records: u64,
}

/// An event or an announcement, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shown<'a> {
    /// Its id.
    pub id: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Kind of its source.
    pub source_type: Option<String>,
    /// Name of its source.
    pub source_id: Option<String>,
    /// When it happened.
    pub time: Option<String>,
    /// Where it stands.
    pub position: Option<String>,
    /// What it says.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
}

/// `name=value&…` with everything escaped that needs it.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    query.finish()
}

//! What happened in a run, in order, and the first promise that was broken.
//!
//! Every line is one operation at one instant of virtual time. The same seed writes the same lines: their
//! [hash](History::hash) is how a replay is compared.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Most lines of an excerpt.
const EXCERPT_LINES_MAX: usize = 40;
/// A run that writes more is taken for one that goes round in circles.
const LINES_MAX: usize = 400_000;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which promise, in a few words.
    pub promise: &'static str,
    /// What happened instead.
    pub what: String,
    /// Words that stand in the lines it is about.
    pub about: Vec<String>,
}

impl Broken {
    /// A broken promise; `about` names the events, places and subscribers whose lines explain it.
    pub fn new(promise: &'static str, what: impl Into<String>, about: Vec<String>) -> Broken {
        Broken { promise, what: what.into(), about }
    }
}

/// The history of one run. Clones are the same history.
#[derive(Clone)]
pub struct History(Arc<Shared>);

struct Shared {
    began: Instant,
    inner: Mutex<Inner>,
    broke: Notify,
}

#[derive(Default)]
struct Inner {
    lines: Vec<String>,
    broken: Option<Broken>,
}

impl History {
    /// An empty history that begins now. Needs a runtime.
    pub fn begin() -> History {
        History(Arc::new(Shared { began: Instant::now(), inner: Mutex::default(), broke: Notify::new() }))
    }

    /// Writes a line; returns its number, which also serves as a point in time.
    pub fn note(&self, text: impl AsRef<str>) -> u64 {
        let at = self.0.began.elapsed();
        let mut inner = self.inner();
        let number = inner.lines.len() as u64;
        inner.lines.push(format!("{:>9.3} {}", at.as_secs_f64(), text.as_ref()));
        let endless = inner.lines.len() == LINES_MAX;
        drop(inner);
        if endless {
            self.broken(Broken::new("progress", "the run does not come to an end", Vec::new()));
        }
        number
    }

    /// Reports a broken promise. Only the first counts.
    pub fn broken(&self, broken: Broken) {
        let mut inner = self.inner();
        if inner.broken.is_none() {
            inner.lines.push(format!("BROKEN {}: {}", broken.promise, broken.what));
            inner.broken = Some(broken);
        }
        drop(inner);
        self.0.broke.notify_one();
    }

    /// Reports what a check found, if it found something; true when it did not.
    pub fn expect(&self, checked: Result<(), Broken>) -> bool {
        checked.map_err(|broken| self.broken(broken)).is_ok()
    }

    /// Resolves when a promise is broken. One waiter.
    pub async fn until_broken(&self) {
        self.0.broke.notified().await;
    }

    /// The first broken promise.
    pub fn first_broken(&self) -> Option<Broken> {
        self.inner().broken.clone()
    }

    /// Hash (FNV-1a) of all lines.
    pub fn hash(&self) -> u64 {
        self.inner().lines.iter().fold(fnv(&[]), |hash, line| fnv_on(hash, line.as_bytes()))
    }

    /// All lines, numbered.
    pub fn text(&self) -> String {
        let inner = self.inner();
        let mut out = String::new();
        for (number, line) in inner.lines.iter().enumerate() {
            let _ = writeln!(out, "{number:>6} {line}");
        }
        out
    }

    /// The lines that hold one of the words, the last ones if there are many.
    pub fn excerpt(&self, words: &[String]) -> String {
        let inner = self.inner();
        let wanted = |line: &str| words.iter().any(|word| holds(line, word)) || line.contains(" node ");
        let lines: Vec<_> = inner.lines.iter().enumerate().filter(|(_, line)| wanted(line)).collect();
        let mut out = String::new();
        for (number, line) in &lines[lines.len().saturating_sub(EXCERPT_LINES_MAX)..] {
            let cut: String = line.chars().take(240).collect();
            let _ = writeln!(out, "{number:>6} {cut}");
        }
        out
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `word` occurs in `line` with no digit going on after it.
fn holds(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[at + word.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// FNV-1a hash, 64 bits.
pub fn fnv(bytes: &[u8]) -> u64 {
    fnv_on(0xcbf2_9ce4_8422_2325, bytes)
}

fn fnv_on(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_where_numbers_end() {
        assert!(holds("stored #12 at events[3]@4", "#12"));
        assert!(!holds("stored #123", "#12"));
        assert!(holds("#123 #12", "#12"));
    }

    #[test]
    fn fnv_is_fnv() {
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_broken_promise_counts() {
        let history = History::begin();
        history.note("send #1");
        history.broken(Broken::new("a", "x", vec!["#1".into()]));
        history.broken(Broken::new("b", "y", Vec::new()));
        assert_eq!(history.first_broken().unwrap().promise, "a");
        assert!(history.excerpt(&["#1".into()]).contains("send #1"));
    }
}

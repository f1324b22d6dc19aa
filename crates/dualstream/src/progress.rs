//! A progress bar on standard error; nothing where that is no terminal.

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use std::borrow::Cow;

/// How far a command is.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For work of so many bytes, if that is known.
    pub fn of_bytes(total: Option<u64>) -> Progress {
        Progress::new(total, "{bytes}", "{total_bytes}  {bytes_per_sec}", "{bytes_per_sec}")
    }

    /// For work of so many records, if that is known.
    pub fn of_records(total: Option<u64>) -> Progress {
        Progress::new(total, "{human_pos}", "{human_len} records  {per_sec}", "records  {per_sec}")
    }

    fn new(total: Option<u64>, done: &str, with_total: &str, without: &str) -> Progress {
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                format!("{{elapsed_precise}} {{wide_bar}} {done}/{with_total}  {{eta}} left  {{msg}}"),
            ),
            None => (
                ProgressBar::no_length(),
                format!("{{elapsed_precise}} {{spinner}} {done} {without}  {{msg}}"),
            ),
        };
        let style = ProgressStyle::with_template(&template).expect("the templates above are legal");
        Progress { bar: bar.with_style(style) }
    }

    /// So much more is done; `events` in all.
    pub fn advance(&self, by: u64, events: u64) {
        self.bar.inc(by);
        self.bar.set_message(format!("{} events", HumanCount(events)));
    }

    /// So much is done.
    pub fn set(&self, position: u64, total: u64, events: u64) {
        self.at(position, total, format!("{} events", HumanCount(events)));
    }

    /// So much is done, and this is next.
    pub fn at(&self, position: u64, total: u64, next: impl Into<Cow<'static, str>>) {
        self.bar.set_length(total);
        self.bar.set_position(position);
        self.bar.set_message(next);
    }

    /// Does something with the terminal, such as writing a line, without the bar in the way.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

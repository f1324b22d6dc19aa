//! The judge: a history without faults passes, and each planted one is named, alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clean;
mod file;
mod plants;
mod recorder;
mod story;

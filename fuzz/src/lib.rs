//! Fuzz targets of dualstream. What a target does is a plain function of bytes, so that an ordinary test replays the
//! saved corpora with the stable compiler (`crates/dualstream/tests/it/corpus.rs`).
#![forbid(unsafe_code)]

pub mod targets;

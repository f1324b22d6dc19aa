//! Tests of the embedded log through its public interface.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a failing run names its seed")]

mod backup;
mod batches;
mod collisions;
mod compaction;
mod conformance;
mod crash;
mod decisions;
mod disk;
mod faults;
mod fixtures;
mod flips;
mod holes;
mod image;
mod leftovers;
mod mirror;
mod mirror_conformance;
mod mirror_files;
mod mirror_model;
mod mirror_repeats;
mod mirror_rig;
mod mirrored;
mod model;
mod power;
mod process;
mod publisher;
mod retention;
mod rig;
mod sidecars;
mod torn;

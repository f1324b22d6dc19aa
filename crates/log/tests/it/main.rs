//! Tests of the embedded log through its public interface.

mod compaction;
mod conformance;
mod crash;
mod disk;
mod faults;
mod fixtures;
mod flips;
mod image;
mod model;
mod power;
mod process;
mod publisher;
mod retention;
mod rig;
mod sidecars;
mod torn;

//! Tests of the embedded log through its public interface.

mod compaction;
mod crash;
mod disk;
mod rig;

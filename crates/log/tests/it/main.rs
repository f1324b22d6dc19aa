//! Tests of the embedded log through its public interface.

mod crash;
mod disk;
mod rig;

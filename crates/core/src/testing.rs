//! What tests of dualstream share: a clock and entropy they own, and one conformance suite per seam.

mod clock;

pub use clock::{ManualClock, SeededEntropy};

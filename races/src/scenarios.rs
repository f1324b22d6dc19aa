//! What is tried: a few tasks each, so that a schedule is short and many are tried.

mod closing;
mod coming_and_going;
mod following;
mod slow;
mod takeover;

/// A scenario: one schedule of it per run.
pub struct Scenario {
    pub name: &'static str,
    pub run: fn(),
}

pub const ALL: [Scenario; 5] = [
    Scenario { name: "coming_and_going", run: coming_and_going::run },
    Scenario { name: "takeover", run: takeover::run },
    Scenario { name: "following", run: following::run },
    Scenario { name: "closing", run: closing::run },
    Scenario { name: "slow", run: slow::run },
];

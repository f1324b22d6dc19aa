//! Connections under random scripts: commands, messages from elsewhere and time in any order, a client that reads when it
//! likes. The scripts are those of the fuzz target, each decided by a seed.

use dualstream_core::clock::Entropy;
use dualstream_core::testing::SeededEntropy;

#[path = "../../../../fuzz/src/targets/session.rs"]
mod session;

#[test]
fn a_session_keeps_its_order_under_random_scripts() {
    for seed in 0..400 {
        let dice = SeededEntropy::new(seed);
        // A connection that begins as it should, and no bytes that are no command: those are the fuzzer's.
        let mut script = vec![0, 0, 12, 10];
        for _ in 0..dice.next_u64() % 150 {
            let (kind, detail) = ((dice.next_u64() % 13 + 1) as u8, dice.next_u64() as u8);
            script.extend([kind, if kind == 13 { detail % 20 } else { detail }]);
            if kind == 3 {
                script.push(dice.next_u64() as u8 % 16);
            }
        }
        let played = std::panic::catch_unwind(|| session::session_commands(&script));
        assert!(played.is_ok(), "seed {seed}");
    }
}

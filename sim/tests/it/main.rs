//! The simulator as a whole: some seeds, and that a seed is all there is to a run.

use dualstream_sim::run;

/// Seeds of every `cargo test`; `cargo xtask sim` runs many more, optimised.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=20;

#[test]
fn some_seeds_keep_every_promise() {
    for seed in SEEDS {
        let report = run(seed);
        if let Some((broken, excerpt)) = report.broken {
            panic!("seed {seed}: {}: {}\n{excerpt}", broken.promise, broken.what);
        }
        assert!(report.events > 10, "seed {seed} does next to nothing");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in SEEDS.step_by(5) {
        let (first, second) = (run(seed), run(seed));
        let differ = first.history.lines().zip(second.history.lines()).find(|(a, b)| a != b);
        assert_eq!(differ, None, "seed {seed}");
        assert_eq!(first.hash, second.hash, "seed {seed}");
    }
    assert_ne!(run(1).hash, run(2).hash);
}

#[test]
fn a_seed_is_the_same_on_any_thread() {
    let here = run(3).hash;
    let there = std::thread::spawn(|| run(3).hash).join().expect("a run does not panic");
    assert_eq!(here, there);
}

//! The simulator as a whole: some seeds, and that a seed is all there is to a run.

use dualstream_sim::{Over, run};

/// Seeds of every `cargo test`; `cargo xtask sim` runs many more, optimised.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=20;
const OVER: [Over; 2] = [Over::OwnLog, Over::SharedLog];

#[test]
fn some_seeds_keep_every_promise() {
    for (over, seed) in OVER.into_iter().flat_map(|over| SEEDS.map(move |seed| (over, seed))) {
        let report = run(seed, over);
        if let Some((broken, excerpt)) = report.broken {
            panic!("seed {seed} over {over:?}: {}: {}\n{excerpt}", broken.promise, broken.what);
        }
        assert!(report.events > 10, "seed {seed} does next to nothing");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for over in OVER {
        for seed in SEEDS.step_by(5) {
            let (first, second) = (run(seed, over), run(seed, over));
            let differ = first.history.lines().zip(second.history.lines()).find(|(a, b)| a != b);
            assert_eq!(differ, None, "seed {seed} over {over:?}");
            assert_eq!(first.hash, second.hash, "seed {seed} over {over:?}");
        }
        assert_ne!(run(1, over).hash, run(2, over).hash);
    }
}

#[test]
fn a_seed_is_the_same_on_any_thread() {
    for over in OVER {
        let here = run(3, over).hash;
        let there = std::thread::spawn(move || run(3, over).hash).join().expect("a run does not panic");
        assert_eq!(here, there);
    }
}

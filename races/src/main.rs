//! `dualstream-races`: the hub and the in-process bus under Shuttle, which decides at each lock, atomic, wake-up and await
//! which thread goes on. One seed decides one schedule.
//!
//! ```text
//! cargo xtask races                              every scenario, 1,000 schedules each
//! cargo xtask races --only closing --seed 17     one schedule again
//! ```
//! Exit 0: every schedule kept what the scenario says. 1: one did not, or all its threads wait for ever; its seed is
//! printed. It shows orders of threads, not of memory: atomics are sequentially consistent here.
#![forbid(unsafe_code)]

#[path = "../../crates/core/tests/it/model_log.rs"]
#[allow(dead_code, reason = "the model of core's tests can do more than is needed here")]
mod model_log;
mod scenarios;
mod world;

use scenarios::Scenario;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

/// How many threads a schedule of the second kind puts off.
const PCT_DEPTH: usize = 3;

struct Args {
    schedules: u64,
    seed: Option<u64>,
    only: Option<String>,
}

impl Args {
    fn read() -> Result<Args, String> {
        let mut args = Args { schedules: 1_000, seed: None, only: None };
        let mut given = std::env::args().skip(1);
        while let Some(name) = given.next() {
            let value = given.next().ok_or(format!("{name} wants a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name} wants a number, got {value}"));
            match name.as_str() {
                "--seeds" => args.schedules = number()?,
                "--seed" => args.seed = Some(number()?),
                "--only" => args.only = Some(value),
                _ => return Err(format!("unknown argument {name}: there are --seeds, --seed, --only")),
            }
        }
        Ok(args)
    }
}

fn main() -> ExitCode {
    let args = match Args::read() {
        Ok(args) => args,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let chosen = scenarios::ALL
        .iter()
        .filter(|scenario| args.only.as_deref().is_none_or(|only| only == scenario.name));
    let mut count = 0;
    for scenario in chosen {
        count += 1;
        let began = Instant::now();
        let seeds = args.seed.map_or(1..args.schedules + 1, |seed| seed..seed + 1);
        for seed in seeds.clone() {
            if !holds(scenario, seed) {
                eprintln!("{}: broken by the schedule of --seed {seed}", scenario.name);
                return ExitCode::from(1);
            }
        }
        let schedules = seeds.end - seeds.start;
        println!("{}: {schedules} schedules in {:.1} s", scenario.name, began.elapsed().as_secs_f64());
    }
    match count {
        0 => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    }
}

/// One schedule: of any order for an odd seed, one that puts off a few threads for an even one.
fn holds(scenario: &Scenario, seed: u64) -> bool {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    // Futures of the hub are polled on the stacks of Shuttle's threads.
    config.stack_size = 1 << 20;
    config.max_steps = shuttle::MaxSteps::FailAfter(100_000);
    config.silence_warnings = true;
    let run = scenario.run;
    let ran = catch_unwind(AssertUnwindSafe(|| match seed % 2 {
        0 => Runner::new(PctScheduler::new_from_seed(seed, PCT_DEPTH, 1), config).run(run),
        _ => Runner::new(RandomScheduler::new_from_seed(seed, 1), config).run(run),
    }));
    ran.is_ok()
}

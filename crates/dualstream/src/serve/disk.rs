//! What is said about the disk at the start: how much of it is free, and loudly when that is little.
//!
//! Later the log watches it: it stores nothing while less than `log.free_bytes_min` is free.

use indicatif::BinaryBytes;
use std::io;
use std::path::Path;

/// Past this share of the disk a start warns.
const FULL_PERCENT: u64 = 80;

/// Says it in the log.
pub(super) fn tell(data_dir: &Path, free_and_total: io::Result<(u64, u64)>) {
    let dir = data_dir.display();
    match free_and_total {
        Ok((free, total)) => {
            let used = used_percent(free, total);
            let (free, total) = (BinaryBytes(free), BinaryBytes(total));
            match used > FULL_PERCENT {
                false => tracing::info!("data directory {dir}: {free} of {total} are free"),
                true => tracing::warn!(
                    "data directory {dir}: only {free} of {total} are free, {used} % of the disk are used: make room, \
                     or keep less (log.retention, log.retention_bytes)"
                ),
            }
        }
        Err(error) => {
            tracing::warn!("data directory {dir}: how much of its disk is free is not known: {error}")
        }
    }
}

/// How much is used, rounded down.
fn used_percent(free: u64, total: u64) -> u64 {
    let used = u128::from(total.saturating_sub(free));
    u64::try_from(used * 100 / u128::from(total.max(1))).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_of_any_disk() {
        for (free, total, percent) in
            [(100, 100, 0), (20, 100, 80), (19, 100, 81), (0, 1, 100), (0, 0, 0), (5, 0, 0)]
        {
            assert_eq!(used_percent(free, total), percent, "{free} of {total}");
        }
        assert_eq!(used_percent(u64::MAX / 4, u64::MAX), 75);
    }
}

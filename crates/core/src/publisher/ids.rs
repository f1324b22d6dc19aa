//! Ids for events that came without one: UUID version 7 (RFC 9562, section 5.7).

use crate::clock::Entropy;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Makes UUIDv7 texts that grow, also within one millisecond and when the clock jumps back.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// Millisecond and a 12-bit counter within it, of the last id made. A counter that overflows borrows the next
    /// millisecond.
    last: AtomicU64,
}

impl Ids {
    /// The next id, made at that time.
    pub(super) fn next(&self, now_ms: i64, entropy: &dyn Entropy) -> String {
        let now = (now_ms.max(0) as u64) << 12;
        let after = |last: u64| now.max(last + 1);
        let last = self.last.fetch_update(Relaxed, Relaxed, |last| Some(after(last))).unwrap_or_else(|l| l);
        format(after(last), entropy.next_u64())
    }
}

/// 48 bits of time, version, 12 bits of counter, variant, 62 random bits.
fn format(time_and_counter: u64, random: u64) -> String {
    let high = (time_and_counter >> 12) << 16 | 0x7000 | (time_and_counter & 0xfff);
    let low = random >> 2 | 1 << 63;
    let value = u128::from(high) << 64 | u128::from(low);
    let (mut text, mut at) = ([b'-'; 36], 0);
    for (index, byte) in value.to_be_bytes().into_iter().enumerate() {
        at += usize::from(matches!(index, 4 | 6 | 8 | 10));
        text[at..at + 2].copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        at += 2;
    }
    std::str::from_utf8(&text).expect("digits are ASCII").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::testing::{ManualClock, SeededEntropy};

    #[test]
    fn shape_of_the_rfc() {
        // Appendix A.6: time 0x017F22E279B0, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F.
        let text = format(0x017f_22e2_79b0 << 12 | 0xcc3, 0x18c4_dc0c_0c07_398f << 2);
        assert_eq!(text, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    }

    #[test]
    fn ids_grow_whatever_the_clock_does() {
        let (ids, clock, entropy) =
            (Ids::default(), ManualClock::new(1_700_000_000_000), SeededEntropy::new(1));
        let mut last = String::new();
        for i in 0..10_000 {
            match i % 3000 {
                1000 => clock.advance(1),
                2000 => clock.advance(-5),
                _ => {}
            }
            let id = ids.next(clock.now_ms(), &entropy);
            assert!(id > last, "{id} after {last}");
            last = id;
        }
    }
}

//! Backoff, as a pure function of the policy, the count and the key.

use sha2::{Digest, Sha256};

use crate::limits::DURATION_MS_MAX;
use crate::plan::Retry;

/// The first wait before an unclear effect is settled once more, milliseconds: a process that is
/// just ending needs little.
const SETTLE_FIRST_MS: u64 = 100;
/// The longest such wait, milliseconds: a person who watches should not wait for the engine.
const SETTLE_CAP_MS: u64 = 10_000;
/// The first wait before a target is looked at once more after its effects, milliseconds.
const VERIFY_FIRST_MS: u64 = 100;
/// The longest such wait, milliseconds.
const VERIFY_CAP_MS: u64 = 5_000;
/// The shortest time between two samples of a soak, milliseconds.
const SAMPLE_MIN_MS: u64 = 100;
/// The longest time between two samples of a soak, milliseconds.
const SAMPLE_MAX_MS: u64 = 30_000;
/// Samples that a short soak is divided into.
const SAMPLES: u64 = 10;

/// The wait before sending number `sent + 1`, milliseconds. `seed` is the key: the same key and
/// count always give the same wait.
pub fn wait_ms(policy: &Retry, sent: u32, seed: &str) -> u64 {
    let exponent = i32::try_from(sent.saturating_sub(1)).unwrap_or(i32::MAX);
    let grown = to_f64(policy.backoff_ms) * policy.factor.max(1.0).powi(exponent);
    let capped = grown.min(to_f64(policy.cap_ms.min(DURATION_MS_MAX)));
    let jitter = policy.jitter.clamp(0.0, 1.0) * fraction(seed, sent);
    to_ms(capped * (1.0 - jitter))
}

/// The wait before settle number `looks + 1`, milliseconds.
pub fn settle_wait_ms(looks: u32) -> u64 {
    doubled(SETTLE_FIRST_MS, looks, SETTLE_CAP_MS)
}

/// The wait before look number `looks + 1` of a verification, milliseconds.
pub fn verify_wait_ms(looks: u32) -> u64 {
    doubled(VERIFY_FIRST_MS, looks, VERIFY_CAP_MS)
}

/// The time between two samples of a soak, milliseconds.
pub fn sample_ms(soak_ms: u64) -> u64 {
    (soak_ms / SAMPLES).clamp(SAMPLE_MIN_MS, SAMPLE_MAX_MS)
}

fn doubled(first_ms: u64, times: u32, cap_ms: u64) -> u64 {
    first_ms.saturating_mul(1_u64.checked_shl(times).unwrap_or(u64::MAX)).min(cap_ms)
}

/// A number from 0 to 1 that looks drawn by chance.
fn fraction(seed: &str, sent: u32) -> f64 {
    let digest = Sha256::new().chain_update(seed).chain_update(sent.to_be_bytes()).finalize();
    let bits = digest.iter().take(4).fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte));
    f64::from(bits) / f64::from(u32::MAX)
}

/// Exact below 2^53; durations are below [`DURATION_MS_MAX`].
fn to_f64(ms: u64) -> f64 {
    let ms = ms.min(DURATION_MS_MAX);
    f64::from(u32::try_from(ms >> 16).unwrap_or(u32::MAX)) * 65_536.0
        + f64::from(u32::try_from(ms & 0xffff).unwrap_or(0))
}

fn to_ms(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, and waits are never negative"
    )]
    let ms = value as u64;
    ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_cap() {
        let policy = Retry { max: 9, backoff_ms: 100, factor: 2.0, jitter: 0.0, cap_ms: 500 };
        let waits: Vec<u64> = (1..=5).map(|sent| wait_ms(&policy, sent, "k")).collect();
        assert_eq!(waits, [100, 200, 400, 500, 500]);
    }

    #[test]
    fn jitter_shortens_within_its_share_and_is_the_same_for_a_key() {
        let policy = Retry { max: 9, backoff_ms: 1_000, factor: 1.0, jitter: 0.5, cap_ms: 9_000 };
        for sent in 1..50 {
            let wait = wait_ms(&policy, sent, "k");
            assert!((500..=1_000).contains(&wait), "{wait}");
            assert_eq!(wait, wait_ms(&policy, sent, "k"));
        }
        assert_ne!(wait_ms(&policy, 1, "k"), wait_ms(&policy, 1, "other"));
    }

    #[test]
    fn no_count_overflows() {
        let policy =
            Retry { max: 9, backoff_ms: u64::MAX, factor: 1e30, jitter: 0.0, cap_ms: u64::MAX };
        assert_eq!(wait_ms(&policy, u32::MAX, "k"), DURATION_MS_MAX);
        assert_eq!(settle_wait_ms(u32::MAX), SETTLE_CAP_MS);
        assert_eq!(verify_wait_ms(70), VERIFY_CAP_MS);
    }
}

//! Every key in the sled index. The first byte is the kind; numbers are big-endian, so that sled's
//! order is theirs.

use backout_core::id::RunId;

/// A key of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// `0`: the version of the index, a big-endian `u32`.
    Format,
    /// `1`: the log's last frame when the index was last brought up to date, a big-endian `u64`.
    Position,
    /// `2`, then the run's name: what lists show of it, as JSON.
    Run(RunId),
}

impl Key {
    /// The first byte of the keys of runs.
    pub(crate) const RUN: u8 = 2;

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Format => vec![0],
            Self::Position => vec![1],
            Self::Run(run) => [&[Self::RUN], run.as_str().as_bytes()].concat(),
        }
    }

    #[cfg(test)]
    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(Self::Format),
            [1] => Some(Self::Position),
            [Self::RUN, run @ ..] => Some(Self::Run(RunId::new(std::str::from_utf8(run).ok()?))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_do_not_collide() {
        let keys =
            [Key::Format, Key::Position, Key::Run("0a1b2c3d4e".into()), Key::Run("0".into())];
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(Key::decode(&key.encode()).as_ref(), Some(key));
            assert!(keys[..index].iter().all(|other| other.encode() != key.encode()));
        }
    }
}

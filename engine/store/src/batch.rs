//! The text of a batch: how large an append is, and how it is written.

use backout_core::event::Grant;
use backout_core::id::{Seq, TargetId};

use crate::envelope::{GENESIS, Hash, Place, Sealed, write};
use crate::frame::ENTRY;
use crate::journal::Append;
use crate::ledger::{Ledger, flight_change};
use crate::writer::Request;

/// Bytes of an envelope at the most, without names and locks.
const ENVELOPE_BYTES: u64 = 640;
/// Bytes that one lock adds to an envelope, without its name.
const LOCK_BYTES: u64 = 64;

/// Bytes that one lock takes in an envelope at the most: each byte of its name may be escaped.
pub(crate) fn lock_size(target: &TargetId) -> u64 {
    target.as_str().len() as u64 * 6 + LOCK_BYTES
}

/// Bytes that an append takes in a frame at the most, but for locks that are renewed.
pub(crate) fn size_of(request: &Request) -> u64 {
    let Request { append, sealed, .. } = request;
    let names = append.append_id.as_str().len() as u64 * 6;
    let locks: u64 = append.claims.iter().chain(&append.releases).map(lock_size).sum();
    let bodies: u64 = sealed
        .iter()
        .map(|sealed| sealed.body.len() as u64 + sealed.kind.len() as u64 + ENVELOPE_BYTES + names)
        .sum();
    ENTRY as u64 + locks + bodies
}

/// Writes an append's records behind each other and folds them into the ledger.
pub(crate) fn encode(
    ledger: &mut Ledger,
    append: &Append,
    sealed: &[Sealed],
    grants: &[Grant],
    out: &mut Vec<u8>,
) -> serde_json::Result<Seq> {
    let mut prev: Hash = ledger.runs.get(&append.run).map_or(GENESIS, |meta| meta.head);
    let mut seq = append.expected_seq;
    for (index, sealed) in sealed.iter().enumerate() {
        seq = seq.next();
        let (run, epoch) = (append.run.as_str(), append.epoch);
        let place = Place { run, seq, epoch, append: &append.append_id, prev: &prev };
        let mut head = place.head(sealed);
        if index == 0 {
            head.grants = grants.to_vec();
            head.releases.clone_from(&append.releases);
            head.flight = flight_change(append);
        }
        let link = write(&head, sealed, out)?;
        ledger.apply(&append.run, &head, &link);
        prev = link;
    }
    Ok(seq)
}

//! One record as text: `{"head":{..},"salt":"..","body":{"cause":{..},"event":{..}}}`.
//!
//! The head carries the digest of salt and body, and the link to the head before it. So the chain
//! runs over the heads alone: a body and its salt can be taken out, and the chain still verifies.

use std::borrow::Cow;

use backout_core::contract::hex;
use backout_core::event::{CORE_VERSION, Cause, Event, Grant, Recorded};
use backout_core::id::{CommandId, Epoch, Seq, TargetId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// The version of the envelope that this release writes, and the highest that it reads.
pub(crate) const ENVELOPE: u32 = 1;

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// What the first record of a run links to.
pub(crate) const GENESIS: Hash = [0; 32];

/// The part of a record that is chained, and that stays when its body is taken out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Head<'a> {
    /// Envelope version.
    pub(crate) v: u32,
    /// Version of the rules that decided.
    pub(crate) core: u32,
    #[serde(borrow)]
    pub(crate) run: Cow<'a, str>,
    pub(crate) seq: Seq,
    pub(crate) epoch: Epoch,
    pub(crate) at: Timestamp,
    /// The append's name.
    #[serde(borrow)]
    pub(crate) append: Cow<'a, str>,
    /// The event's kind.
    #[serde(borrow)]
    pub(crate) kind: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) grants: Vec<Grant>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) releases: Vec<TargetId>,
    /// By how many the effects in flight rose or fell.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) flight: i64,
    #[serde(borrow)]
    pub(crate) prev: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) digest: Cow<'a, str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes one")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// A body in text, made where the append was asked for, before it has its place.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) at: Timestamp,
    pub(crate) kind: String,
    pub(crate) salt: String,
    pub(crate) digest: String,
    pub(crate) body: Vec<u8>,
}

#[derive(Deserialize)]
struct BodyIn {
    cause: Cause,
    event: Event,
}

/// Bytes that most bodies fit into, so that few are moved while they are written.
const BODY_BYTES: usize = 512;

/// Writes a body and its salted digest.
pub(crate) fn seal(
    at: Timestamp,
    cause: &Cause,
    event: &Event,
    salt: [u8; 16],
) -> Result<Sealed, serde_json::Error> {
    let mut body = Vec::with_capacity(BODY_BYTES);
    body.extend_from_slice(b"{\"cause\":");
    serde_json::to_writer(&mut body, cause)?;
    body.extend_from_slice(b",\"event\":");
    let event_at = body.len();
    serde_json::to_writer(&mut body, event)?;
    let kind = kind_of(body.get(event_at..).unwrap_or_default());
    body.push(b'}');
    let digest = body_digest(&salt, &body);
    Ok(Sealed { at, kind, salt: hex(&salt), digest: hex(&digest), body })
}

/// The word by which an event is stored: its tag, which serde writes first.
fn kind_of(event: &[u8]) -> String {
    let rest = event.strip_prefix(b"{\"kind\":\"").unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == b'"').unwrap_or(0);
    String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned()
}

/// The digest of a body under its salt.
fn body_digest(salt: &[u8], body: &[u8]) -> Hash {
    let mut digest = Sha256::new();
    digest.update(salt);
    digest.update(body);
    digest.finalize().into()
}

/// Writes one record and a line feed, and gives the link for the next.
pub(crate) fn write(
    head: &Head<'_>,
    sealed: &Sealed,
    out: &mut Vec<u8>,
) -> serde_json::Result<Hash> {
    out.extend_from_slice(b"{\"head\":");
    let begin = out.len();
    serde_json::to_writer(&mut *out, head)?;
    let link = Sha256::digest(out.get(begin..).unwrap_or_default()).into();
    out.extend_from_slice(b",\"salt\":\"");
    out.extend_from_slice(sealed.salt.as_bytes());
    out.extend_from_slice(b"\",\"body\":");
    out.extend_from_slice(&sealed.body);
    out.extend_from_slice(b"}\n");
    Ok(link)
}

/// The records in a frame's entry, one a line.
pub(crate) fn lines(records: &[u8]) -> impl Iterator<Item = &[u8]> {
    records.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Reads the head alone, and the link that it gives to the next record.
pub(crate) fn read_head(line: &[u8]) -> Result<(Head<'_>, Hash), String> {
    let text = head_text(line).ok_or("a line that is not a record")?;
    let head: Head<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if head.v > ENVELOPE {
        return Err(newer(head.v));
    }
    Ok((head, Sha256::digest(text).into()))
}

/// The head's text. Quotes inside of JSON strings are escaped and a head has no key of that name,
/// so the first match is the head's end.
fn head_text(line: &[u8]) -> Option<&[u8]> {
    const END: &[u8] = b",\"salt\":\"";
    let rest = line.strip_prefix(b"{\"head\":")?;
    match memchr::memmem::find(rest, END) {
        Some(end) => rest.get(..end),
        None => rest.strip_suffix(b"}"),
    }
}

fn newer(version: u32) -> String {
    format!("a record of version {version}, this release reads up to {ENVELOPE}")
}

#[derive(Deserialize)]
struct FullLine<'a> {
    #[serde(borrow)]
    head: Head<'a>,
    body: BodyIn,
}

/// Reads a record.
pub(crate) fn read(line: &[u8]) -> Result<Recorded, String> {
    let FullLine { head, body } = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    if head.v > ENVELOPE {
        return Err(newer(head.v));
    }
    Ok(Recorded {
        seq: head.seq,
        epoch: head.epoch,
        at: head.at,
        cause: body.cause,
        grants: head.grants,
        event: body.event,
    })
}

#[derive(Deserialize)]
struct RawLine<'a> {
    #[serde(borrow)]
    head: &'a RawValue,
    #[serde(default)]
    salt: Option<&'a str>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

/// A record with its chain checked.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) seq: Seq,
    pub(crate) link: Hash,
}

/// Checks a record's digest and its link to the one before, and gives its own link.
pub(crate) fn check(line: &[u8], run: &str, prev: &Hash) -> Result<Checked, String> {
    let raw: RawLine<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let (checked, head) = check_head(raw.head, run, prev)?;
    // Without either nothing would prove the body.
    let (Some(salt), Some(body)) = (raw.salt, raw.body) else {
        return Err(format!("record {} lacks its body or its salt", head.seq));
    };
    let salt = unhex(salt).ok_or_else(|| format!("record {} has no readable salt", head.seq))?;
    if head.digest != hex(&body_digest(&salt, body.get().as_bytes())) {
        return Err(format!("record {} is not what its digest says", head.seq));
    }
    Ok(checked)
}

fn check_head<'a>(
    raw: &'a RawValue,
    run: &str,
    prev: &Hash,
) -> Result<(Checked, Head<'a>), String> {
    let text = raw.get();
    let head: Head<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if head.run != run {
        return Err(format!("a record of run {} stands in the journal of {run}", head.run));
    }
    if head.prev != hex(prev) {
        return Err(format!("record {} does not link to the one before it", head.seq));
    }
    Ok((Checked { seq: head.seq, link: Sha256::digest(text.as_bytes()).into() }, head))
}

/// What a redacted file holds in place of a record: its head, without body and salt. A head that
/// names targets is left out as well, and only its link is given.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Redacted<'a> {
    #[serde(borrow)]
    Head(&'a RawValue),
    Link {
        seq: Seq,
        #[serde(borrow)]
        link: Cow<'a, str>,
    },
}

/// What a redacted file holds in place of a record.
pub(crate) fn redact(record: &[u8]) -> Result<Vec<u8>, String> {
    let raw: RawLine<'_> = serde_json::from_slice(record).map_err(|error| error.to_string())?;
    let head: Head<'_> = serde_json::from_str(raw.head.get()).map_err(|error| error.to_string())?;
    let stays = if head.grants.is_empty() && head.releases.is_empty() {
        Redacted::Head(raw.head)
    } else {
        let digest = Sha256::digest(raw.head.get().as_bytes());
        Redacted::Link { seq: head.seq, link: Cow::Owned(hex(&digest)) }
    };
    serde_json::to_vec(&stays).map_err(|error| error.to_string())
}

/// Checks what stands in place of a record, as far as it can be.
pub(crate) fn check_redacted(record: &[u8], run: &str, prev: &Hash) -> Result<Checked, String> {
    match serde_json::from_slice(record).map_err(|error| error.to_string())? {
        Redacted::Head(raw) => Ok(check_head(raw, run, prev)?.0),
        Redacted::Link { seq, link: hex } => {
            let link = unhex_hash(&hex).ok_or_else(|| format!("record {seq} has no link"))?;
            Ok(Checked { seq, link })
        }
    }
}

/// A head for an event that has got its place.
pub(crate) struct Place<'a> {
    pub(crate) run: &'a str,
    pub(crate) seq: Seq,
    pub(crate) epoch: Epoch,
    pub(crate) append: &'a CommandId,
    pub(crate) prev: &'a Hash,
}

impl<'a> Place<'a> {
    pub(crate) fn head(&self, sealed: &'a Sealed) -> Head<'a> {
        Head {
            v: ENVELOPE,
            core: CORE_VERSION,
            run: Cow::Borrowed(self.run),
            seq: self.seq,
            epoch: self.epoch,
            at: sealed.at,
            append: Cow::Borrowed(self.append.as_str()),
            kind: Cow::Borrowed(&sealed.kind),
            grants: Vec::new(),
            releases: Vec::new(),
            flight: 0,
            prev: Cow::Owned(hex(self.prev)),
            digest: Cow::Borrowed(&sealed.digest),
        }
    }
}

/// The bytes of hex text.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    pairs.iter().map(byte).collect::<Option<_>>().filter(|_| rest.is_empty())
}

/// A hash written in hex.
pub(crate) fn unhex_hash(text: &str) -> Option<Hash> {
    unhex(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use backout_core::event::{Actor, Cause, Event};
    use backout_core::id::{CommandId, Epoch, Seq, Timestamp};
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::{
        GENESIS, Place, check, check_redacted, hex, lines, read, read_head, redact, seal, unhex,
        write,
    };

    fn line(text: &str) -> (Event, Vec<u8>) {
        let cause = Cause {
            command: None,
            actor: Actor::unverified(text),
            reason: Some(text.to_owned()),
            break_glass: false,
        };
        let event = Event::NoteTaken { step: None, text: text.to_owned() };
        let sealed = seal(Timestamp(5), &cause, &event, [7; 16]).unwrap();
        let append = CommandId::new("a");
        let place =
            Place { run: "r0", seq: Seq(1), epoch: Epoch(1), append: &append, prev: &GENESIS };
        let mut out = Vec::new();
        write(&place.head(&sealed), &sealed, &mut out).unwrap();
        out.pop();
        (event, out)
    }

    proptest! {
        #[test]
        fn any_text_goes_into_one_line_and_comes_back(text in ".*") {
            let (event, line) = line(&text);
            prop_assert_eq!(lines(&line).count(), 1);
            prop_assert_eq!(read(&line).unwrap().event, event);
            let link = check(&line, "r0", &GENESIS).unwrap().link;
            prop_assert_eq!(read_head(&line).unwrap().1, link);
            let redacted = redact(&line).unwrap();
            prop_assert_eq!(check_redacted(&redacted, "r0", &GENESIS).unwrap().link, link);
            prop_assert_eq!(read_head(&redacted).unwrap().1, link);
        }

        #[test]
        fn what_nothing_proves_is_refused(text in "[a-z]{1,30}") {
            let (_, line) = line(&text);
            let whole = String::from_utf8(line).unwrap();
            let (head, rest) = whole.split_once(",\"salt\":").unwrap();
            let (_, body) = rest.split_once(",\"body\":").unwrap();
            for bad in [format!("{head},\"body\":{body}"), format!("{head}}}")] {
                let refused = check(bad.as_bytes(), "r0", &GENESIS).unwrap_err();
                prop_assert!(refused.contains("lacks its body or its salt"), "{}", refused);
            }
        }

        #[test]
        fn a_head_that_names_a_target_is_left_out_of_a_redacted_file(target in "[a-z]{8}") {
            let (_, line) = line("text");
            let whole = String::from_utf8(line).unwrap();
            let granted = format!(",\"grants\":[{{\"target\":\"{target}\",\"token\":1}}],\"prev\":");
            let whole = whole.replacen(",\"prev\":", &granted, 1);
            let link = check(whole.as_bytes(), "r0", &GENESIS).unwrap().link;
            let redacted = redact(whole.as_bytes()).unwrap();
            prop_assert_eq!(check_redacted(&redacted, "r0", &GENESIS).unwrap().link, link);
            let redacted = String::from_utf8(redacted).unwrap();
            prop_assert!(!redacted.contains(&target) && redacted.contains(&hex(&link)));
        }

        #[test]
        fn a_changed_byte_is_refused_or_changes_the_link(
            text in ".{0,30}", at in any::<Index>(), bits in 1..=255u8,
        ) {
            let (event, mut line) = line(&text);
            let link = check(&line, "r0", &GENESIS).unwrap().link;
            let at = at.index(line.len());
            line[at] ^= bits;
            drop((read_head(&line), redact(&line)));
            if let Ok(checked) = check(&line, "r0", &GENESIS)
                && checked.link == link
                && let Ok(recorded) = read(&line)
            {
                prop_assert_eq!(recorded.event, event);
            }
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop((read(&bytes), read_head(&bytes), redact(&bytes)));
            drop((check(&bytes, "r0", &GENESIS), lines(&bytes).count()));
        }

        #[test]
        fn no_text_breaks_hex(text in ".{0,20}|[0-9a-f]{0,70}") {
            drop((unhex(&text), super::unhex_hash(&text)));
        }
    }
}

//! Checks of what is recorded: it holds no secret, and it can be read back.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Bench, Checked, Stop, VERB_TIMEOUT, expect, files_under, not_applicable};
use crate::MadeEffect;

/// Everything that the engine would journal for one step from its beginning to its undo, as JSON.
/// Each record is read back on the way.
async fn all_records(bench: &Bench<'_>) -> Result<Vec<String>, Stop> {
    let action = bench.case.action();
    let input = bench.case.input();
    let ctx = bench.context(VERB_TIMEOUT);
    let mut records = vec![as_record(&action.by_hand(&input))?];
    let checked = action.check(&input);
    records.push(format!("{checked:?}"));
    let prepared = bench.prepare().await?;
    records.push(as_record(&*prepared)?);
    for call in bench.calls(&prepared, 1, 1) {
        records.push(format!("{call:?}"));
        let outcome = action.apply(&ctx, &call).await;
        records.push(as_record(&outcome)?);
        records.push(as_record(&action.settle(&ctx, &call).await)?);
        let output = match outcome {
            crate::Outcome::Done { output } => output,
            other => return Err(Stop::Broken(format!("apply gave {other:?}"))),
        };
        let made = MadeEffect {
            input: call.input,
            prepared: call.prepared,
            effect: call.effect,
            key: call.key,
            output,
            whole: true,
        };
        records.push(as_record(&action.revert(&ctx, &made).await)?);
    }
    Ok(records)
}

/// The record as JSON, once it has been read back the same.
fn as_record<T: Serialize + DeserializeOwned + PartialEq + Debug>(
    said: &T,
) -> Result<String, Stop> {
    let text = serde_json::to_string(said).map_err(|error| format!("{said:?}: {error}"))?;
    let back: T = serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"))?;
    expect(back == *said, || format!("{text} was read back as {back:?}"))?;
    Ok(text)
}

pub(super) async fn round_trip(bench: &Bench<'_>) -> Checked {
    all_records(bench).await.map(|_| ())
}

pub(super) async fn hold_no_secret(bench: &Bench<'_>) -> Checked {
    let secrets = bench.case.secret_values();
    if secrets.is_empty() {
        return not_applicable("the case uses no secret");
    }
    for record in all_records(bench).await? {
        expect(!holds(record.as_bytes(), &secrets), || "a record holds a secret".to_owned())?;
    }
    let said = bench.said.lock().map_err(|error| error.to_string())?.clone();
    expect(!holds(&said, &secrets), || "what it said while it worked holds a secret".to_owned())?;
    for (path, bytes) in files_under(&bench.case.scratch()) {
        expect(!holds(&bytes, &secrets), || format!("{} holds a secret", path.display()))?;
    }
    Ok(())
}

fn holds(bytes: &[u8], secrets: &[String]) -> bool {
    secrets.iter().any(|secret| bytes.windows(secret.len()).any(|part| part == secret.as_bytes()))
}

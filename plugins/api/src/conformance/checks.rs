//! The checks of the four verbs.

use std::future::ready;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::{
    Bench, Checked, LATE, SILENT_TIMEOUT, Stop, VERB_TIMEOUT, calls, expect, fence, files_under,
    not_applicable, reason, records,
};
use crate::{
    Call, Guarantee, MadeEffect, Outcome, Prepared, Reversibility, Reverted, Satisfied, Settled,
    Tidied,
};

type Run = for<'a> fn(&'a Bench<'a>) -> Pin<Box<dyn Future<Output = Checked> + 'a>>;

/// Every check, with the sentence that it proves.
pub(super) const ALL: &[(&str, Run)] = &[
    ("the manifest is whole", |b| Box::pin(manifest_is_whole(b))),
    ("check finds nothing wrong and promises no less than prepare", |b| Box::pin(check_agrees(b))),
    ("by hand says what it does and how to see it", |b| Box::pin(ready(by_hand_speaks(b)))),
    ("prepare reads only", |b| Box::pin(prepare_reads_only(b))),
    ("apply, then prepare: satisfied", |b| Box::pin(apply_satisfies(b))),
    ("apply twice with one key makes one effect", |b| Box::pin(one_key_one_effect(b))),
    ("an older fence is refused", |b| Box::pin(older_fence_is_refused(b))),
    ("a target changed by others since prepare is refused", |b| Box::pin(change_is_refused(b))),
    ("a reply lost after the effect: settled, made once", |b| Box::pin(lost_reply_is_settled(b))),
    ("a sending that never happened is not done, and late it does nothing", |b| {
        Box::pin(never_sent_is_sealed(b))
    }),
    ("revert restores the before image", |b| Box::pin(revert_restores(b))),
    ("tidy leaves what was made as it is, and a second one finds nothing", |b| {
        Box::pin(tidy_is_harmless(b))
    }),
    ("a target that cannot be reached: a clear answer, and nothing done", |b| {
        Box::pin(unreachable_is_clear(b))
    }),
    ("a target that does not answer: a clear answer within the timeout", |b| {
        Box::pin(silence_ends_in_time(b))
    }),
    ("a target that answers byte by byte: a clear answer within the timeout", |b| {
        Box::pin(slowness_ends_in_time(b))
    }),
    ("credentials that are refused: a clear answer, and nothing done", |b| {
        Box::pin(denial_is_clear(b))
    }),
    ("cancel ends it early", |b| Box::pin(cancel_ends_early(b))),
    ("every record is read back the same", |b| Box::pin(records::round_trip(b))),
    ("no record holds a secret", |b| Box::pin(records::hold_no_secret(b))),
];

async fn manifest_is_whole(bench: &Bench<'_>) -> Checked {
    let manifest = bench.case.action().manifest();
    let prepared = bench.prepare().await?;
    expect(manifest.name.as_str().contains('.'), || {
        format!("{} is not plugin.verb", manifest.name)
    })?;
    expect(!manifest.summary.is_empty() && !manifest.docs.is_empty(), || "no docs".to_owned())?;
    expect(!manifest.example.is_empty(), || "no example".to_owned())?;
    expect(manifest.data_versions.contains(&prepared.data_version), || {
        format!("data version {} is not in the manifest", prepared.data_version)
    })?;
    expect(manifest.guarantee >= prepared.guarantee, || "better than its best".to_owned())?;
    let schema = serde_json::to_value((manifest.input)()).map_err(|error| error.to_string())?;
    let fields = schema.get("properties").and_then(|fields| fields.as_object());
    for (name, field) in fields.into_iter().flatten() {
        expect(field.get("description").is_some(), || format!("field {name} has no description"))?;
    }
    Ok(())
}

async fn check_agrees(bench: &Bench<'_>) -> Checked {
    let checked = bench.case.action().check(&bench.case.input());
    expect(checked.problems.is_empty(), || format!("check found {:?}", checked.problems))?;
    let prepared = bench.prepare().await?;
    expect(checked.guarantee.is_none_or(|best| best >= prepared.guarantee), || {
        format!("check said {:?}, prepare {:?}", checked.guarantee, prepared.guarantee)
    })
}

fn by_hand_speaks(bench: &Bench<'_>) -> Checked {
    let by_hand = bench.case.action().by_hand(&bench.case.input());
    expect(!by_hand.does.is_empty(), || "it does not say what it does".to_owned())?;
    expect(!by_hand.commands.is_empty(), || "it gives no command".to_owned())?;
    expect(!by_hand.verify.is_empty(), || "it does not say how to see it".to_owned())
}

async fn prepare_reads_only(bench: &Bench<'_>) -> Checked {
    let before = bench.case.observe().await;
    let files_before = files_under(&bench.case.scratch());
    let first = bench.prepare().await?;
    let second = bench.prepare().await?;
    let after = bench.case.observe().await;
    expect(before == after, || format!("the target was {before} and is {after}"))?;
    expect(files_before == files_under(&bench.case.scratch()), || {
        "it wrote to the scratch folder".to_owned()
    })?;
    expect(first.consent() == second.consent(), || {
        format!("two looks ask for different consents: {first:?} and {second:?}")
    })
}

async fn apply_satisfies(bench: &Bench<'_>) -> Checked {
    let before = bench.case.observe().await;
    let (prepared, ..) = bench.make_all().await?;
    if prepared.guarantee != Guarantee::ReadOnly {
        expect(before != bench.case.observe().await, || "the target shows no change".to_owned())?;
    }
    let deadline = Instant::now() + Duration::from_millis(prepared.converge_ms);
    loop {
        let again = bench.prepare().await?;
        if again.effects.iter().all(|effect| effect.satisfied != Satisfied::No) {
            return Ok(());
        }
        expect(Instant::now() < deadline, || format!("still to do: {:?}", again.difference()))?;
        tokio::time::sleep(POLL).await;
    }
}

/// Between two looks at a target that takes its time.
const POLL: Duration = Duration::from_millis(20);

async fn one_key_one_effect(bench: &Bench<'_>) -> Checked {
    let (prepared, sent, _) = bench.make_all().await?;
    if matches!(prepared.guarantee, Guarantee::ReadOnly) {
        return not_applicable("it makes no effect");
    }
    let once = bench.case.observe().await;
    for dispatch in [1, 2] {
        for call in &sent {
            let call = Call { fence: fence(7, dispatch), ..call.clone() };
            let outcome = bench.apply(&call).await;
            let now = bench.case.observe().await;
            expect(once == now, || {
                format!(
                    "dispatch {dispatch} gave {outcome:?}, and the target went from {once} to {now}"
                )
            })?;
            expect(!matches!(outcome, Outcome::Failed { .. }), || {
                format!("dispatch {dispatch} of what is made gave {outcome:?}")
            })?;
        }
    }
    Ok(())
}

async fn older_fence_is_refused(bench: &Bench<'_>) -> Checked {
    let prepared = bench.prepare().await?;
    if prepared.guarantee != Guarantee::Transactional {
        return not_applicable("only a transactional action refuses by the fence");
    }
    let older: Vec<_> = bench.calls(&prepared, 2, 1);
    bench.make_all().await?;
    let once = bench.case.observe().await;
    for call in older {
        let call = Call { fence: fence(6, 1), ..call };
        let outcome = bench.apply(&call).await;
        expect(matches!(outcome, Outcome::Refused { .. }), || {
            format!("the holder before gave {outcome:?}")
        })?;
    }
    let now = bench.case.observe().await;
    expect(once == now, || format!("the target went from {once} to {now}"))
}

async fn change_is_refused(bench: &Bench<'_>) -> Checked {
    let prepared = bench.prepare().await?;
    if !matches!(prepared.guarantee, Guarantee::Conditional | Guarantee::Transactional) {
        return not_applicable("its guarantee has no precondition at the target");
    }
    if !bench.case.interfere().await {
        return not_applicable("the case changes nothing behind its back");
    }
    let theirs = bench.case.observe().await;
    let call = first_call(bench, &prepared, 1)?;
    let outcome = bench.apply(&call).await;
    expect(matches!(outcome, Outcome::Refused { .. }), || format!("apply gave {outcome:?}"))?;
    let now = bench.case.observe().await;
    expect(theirs == now, || format!("their change is lost: {theirs} became {now}"))
}

fn first_call(
    bench: &Bench<'_>,
    prepared: &std::sync::Arc<Prepared>,
    n: u32,
) -> Result<Call, Stop> {
    let call = bench.calls(prepared, 1, n).into_iter().next();
    call.ok_or_else(|| Stop::Broken("the case has nothing to make".to_owned()))
}

async fn lost_reply_is_settled(bench: &Bench<'_>) -> Checked {
    let (prepared, sent, outputs) = bench.make_all().await?;
    if prepared.guarantee == Guarantee::ReadOnly {
        return not_applicable("it makes no effect");
    }
    let once = bench.case.observe().await;
    for (call, output) in sent.iter().zip(&outputs) {
        match settle(bench, call).await? {
            Settled::Done { output: settled } => {
                let same = settled == *output;
                expect(same, || format!("apply gave {output}, settle {settled}"))?;
            }
            Settled::Unknown { .. } if prepared.guarantee == Guarantee::Keyed => {
                let again = Call { fence: fence(7, 2), ..call.clone() };
                bench.apply_done(&again).await?;
            }
            Settled::Unknown { .. } if prepared.guarantee == Guarantee::Manual => {}
            other => {
                return Err(Stop::Broken(format!("settle of what is made gave {other:?}")));
            }
        }
    }
    let now = bench.case.observe().await;
    expect(once == now, || format!("the target went from {once} to {now}"))
}

/// Settles until it says something that does not change by waiting.
async fn settle(bench: &Bench<'_>, call: &Call) -> Result<Settled, Stop> {
    let deadline = Instant::now() + VERB_TIMEOUT;
    loop {
        match bench.case.action().settle(&bench.context(VERB_TIMEOUT), call).await {
            Settled::Running { .. } | Settled::Unreachable { .. } if Instant::now() < deadline => {
                tokio::time::sleep(POLL).await;
            }
            settled => return Ok(settled),
        }
    }
}

async fn never_sent_is_sealed(bench: &Bench<'_>) -> Checked {
    let prepared = bench.prepare().await?;
    if prepared.guarantee == Guarantee::ReadOnly {
        return not_applicable("it makes no effect");
    }
    let before = bench.case.observe().await;
    let late = first_call(bench, &prepared, 1)?;
    match settle(bench, &late).await? {
        Settled::NotDone => {}
        Settled::Unknown { .. } if prepared.guarantee != Guarantee::Transactional => {
            return not_applicable("this target does not tell it from one that was sent");
        }
        other => {
            return Err(Stop::Broken(format!("settle of what was never sent gave {other:?}")));
        }
    }
    let outcome = bench.apply(&late).await;
    expect(matches!(outcome, Outcome::Refused { .. }), || format!("late, apply gave {outcome:?}"))?;
    let now = bench.case.image().await;
    let unchanged = before == bench.case.observe().await;
    expect(unchanged, || format!("the late sending changed the target: {before} became {now}"))?;
    bench.apply_done(&first_call(bench, &prepared, 2)?).await.map(|_| ())
}

async fn revert_restores(bench: &Bench<'_>) -> Checked {
    let before = bench.case.image().await;
    let (prepared, sent, outputs) = bench.make_all().await?;
    for (call, output) in sent.into_iter().zip(outputs).rev() {
        let reversibility = call.effect().map(|effect| effect.reversibility);
        let is_a_look = is_a_look(&call);
        let made = whole(call, output);
        match bench.case.action().revert(&bench.context(VERB_TIMEOUT), &made).await {
            Reverted::By { action, input } => {
                // Each undo is a step of its own, so it has a key of its own.
                let attempt = 3 + u32::try_from(made.effect).unwrap_or(0);
                put_back(bench, &action, &input, attempt).await?;
            }
            Reverted::Nothing if prepared.guarantee == Guarantee::ReadOnly || is_a_look => {}
            // An undo has nothing to do where the image is as it was: seen below.
            Reverted::Nothing if reversibility == Some(Reversibility::Exact) => {}
            Reverted::NotPossible { .. } if reversibility == Some(Reversibility::None) => {
                return not_applicable("it says that it cannot be put back");
            }
            other => {
                return Err(Stop::Broken(format!("{reversibility:?}, but revert gave {other:?}")));
            }
        }
    }
    let now = bench.case.image().await;
    expect(before == now, || format!("it was {before} and is {now}"))
}

async fn tidy_is_harmless(bench: &Bench<'_>) -> Checked {
    let (prepared, sent, outputs) = bench.make_all().await?;
    if prepared.guarantee == Guarantee::ReadOnly {
        return not_applicable("it makes no effect");
    }
    let made: Vec<_> = sent.into_iter().zip(outputs).map(|(call, out)| whole(call, out)).collect();
    let (before, looked) = (bench.case.image().await, bench.prepare().await?);
    let first = tidy_all(bench, &made).await;
    let (after, looks) = (bench.case.image().await, bench.prepare().await?);
    expect(before == after, || format!("it was {before} and is {after}"))?;
    expect(looked.consent() == looks.consent(), || {
        format!("prepare said {looked:?} and says {looks:?}")
    })?;
    let second = tidy_all(bench, &made).await;
    expect(second.removed.is_empty(), || {
        format!("the first one gave {first:?}, the second one {second:?}")
    })
}

fn whole(call: Call, output: serde_json::Value) -> MadeEffect {
    let Call { input, prepared, effect, key, .. } = call;
    MadeEffect { input, prepared, effect, key, output, whole: true }
}

async fn tidy_all(bench: &Bench<'_>, made: &[MadeEffect]) -> Tidied {
    let mut all = Tidied::default();
    for made in made {
        let one = bench.case.action().tidy(&bench.context(VERB_TIMEOUT), made).await;
        all.removed.extend(one.removed);
        all.left.extend(one.left);
    }
    all
}

/// An effect that wants what is there only looks, at what another one of the step made.
fn is_a_look(call: &Call) -> bool {
    call.effect().is_some_and(|effect| effect.before == effect.wanted)
}

async fn put_back(
    bench: &Bench<'_>,
    name: &crate::ActionName,
    input: &serde_json::Value,
    attempt: u32,
) -> Checked {
    let action = bench.action_of(name)?;
    let problems = action.check(input).problems;
    expect(problems.is_empty(), || format!("the revert's own input: {problems:?}"))?;
    let prepared = bench.prepare_with(action, input).await?;
    for call in calls(&prepared, input, attempt, 1) {
        match action.apply(&bench.context(VERB_TIMEOUT), &call).await {
            Outcome::Done { .. } => {}
            other => return Err(Stop::Broken(format!("apply of the revert gave {other:?}"))),
        }
    }
    Ok(())
}

async fn unreachable_is_clear(bench: &Bench<'_>) -> Checked {
    let Some(input) = bench.case.unreachable() else {
        return not_applicable("the case has no target that cannot be reached");
    };
    let before = bench.case.observe().await;
    let said = answer_in_time(bench, &input).await?.without_effect()?;
    expect(!said.is_empty(), || "it gives no reason".to_owned())?;
    expect(before == bench.case.observe().await, || "the target changed".to_owned())
}

async fn denial_is_clear(bench: &Bench<'_>) -> Checked {
    let Some(input) = bench.case.denied() else {
        return not_applicable("the case has no target that asks for credentials");
    };
    let before = bench.case.observe().await;
    let said = match answer_in_time(bench, &input).await? {
        // The target itself said no, so that is known.
        Answer { outcome: Outcome::Failed { reason, .. }, .. } => reason,
        answer => answer.without_effect()?,
    };
    expect(!said.is_empty(), || "it gives no reason".to_owned())?;
    expect(before == bench.case.observe().await, || "the target changed".to_owned())
}

async fn slowness_ends_in_time(bench: &Bench<'_>) -> Checked {
    let Some(input) = bench.case.slow() else {
        return not_applicable("the case has no target that is slow");
    };
    let said = answer_in_time(bench, &input).await?.without_effect()?;
    expect(!said.is_empty(), || "it gives no reason".to_owned())
}

async fn silence_ends_in_time(bench: &Bench<'_>) -> Checked {
    let Some(input) = bench.case.silent() else {
        return not_applicable("the case has no target that is silent");
    };
    let said = answer_in_time(bench, &input).await?.without_effect()?;
    expect(!said.is_empty(), || "it gives no reason".to_owned())
}

/// What came of an input that can come to nothing.
struct Answer {
    outcome: Outcome,
    only_looks: bool,
}

impl Answer {
    /// The reason, where it says that nothing was done, or that it is not known.
    fn without_effect(self) -> Result<String, Stop> {
        match self.outcome {
            Outcome::Refused { reason } | Outcome::Unclear { reason } => Ok(reason),
            Outcome::Failed { reason, .. } if self.only_looks => Ok(reason),
            other => Err(Stop::Broken(format!("apply gave {other:?}"))),
        }
    }
}

/// What is said in time by prepare or, where that sees nothing wrong, by apply.
async fn answer_in_time(bench: &Bench<'_>, input: &serde_json::Value) -> Result<Answer, Stop> {
    let action = bench.case.action();
    let ctx = bench.context(SILENT_TIMEOUT);
    let prepared = match in_time(action.prepare(&ctx, input)).await? {
        Ok(prepared) => std::sync::Arc::new(prepared),
        Err(failure) => {
            let outcome = Outcome::Refused { reason: reason(&failure).to_owned() };
            return Ok(Answer { outcome, only_looks: true });
        }
    };
    let call = calls(&prepared, input, 1, 1).into_iter().next();
    let call = call.ok_or_else(|| "prepare says that there is nothing to do".to_owned())?;
    let outcome = in_time(action.apply(&ctx, &call)).await?;
    let only_looks = prepared.guarantee == Guarantee::ReadOnly || is_a_look(&call);
    Ok(Answer { outcome, only_looks })
}

async fn in_time<T>(verb: impl Future<Output = T>) -> Result<T, Stop> {
    let answer = tokio::time::timeout(SILENT_TIMEOUT + LATE, verb).await;
    answer.map_err(|_| Stop::Broken(format!("no answer {LATE:?} after its timeout")))
}

async fn cancel_ends_early(bench: &Bench<'_>) -> Checked {
    let Some(input) = bench.case.silent() else {
        return not_applicable("the case has no target that is silent");
    };
    let action = bench.case.action();
    let cancel = bench.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(POLL * 10).await;
        cancel.cancel();
    });
    let begun = Instant::now();
    let ctx = bench.context(VERB_TIMEOUT);
    let Ok(prepared) = action.prepare(&ctx, &input).await else {
        return expect(begun.elapsed() < LATE, || "prepare did not end early".to_owned());
    };
    let prepared = std::sync::Arc::new(prepared);
    let call = calls(&prepared, &input, 1, 1).into_iter().next();
    let call = call.ok_or_else(|| "prepare says that there is nothing to do".to_owned())?;
    let outcome = action.apply(&ctx, &call).await;
    expect(begun.elapsed() < LATE, || "apply did not end early".to_owned())?;
    expect(!matches!(outcome, Outcome::Done { .. }), || format!("cancelled, it gave {outcome:?}"))
}

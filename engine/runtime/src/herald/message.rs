//! What is told, when, and in which words: pure functions of a run's state and the time.

use backout_core::event::{Event, Recorded, RunEnd, Wait};
use backout_core::id::{StepIx, Timestamp};
use backout_core::plan::PlanStep;
use backout_core::state::{Phase, RunState, StepRun, StepState};

/// Milliseconds after which who must answer is reminded: an approver who is at it is not disturbed.
pub const REMIND_AFTER_MS: u64 = 5 * 60_000;
/// Milliseconds after which a question without an answer is escalated: two reminders later.
pub const UNANSWERED_AFTER_MS: u64 = 15 * 60_000;
/// Milliseconds after which a command that was offered and not taken is escalated.
pub const NOT_TAKEN_AFTER_MS: u64 = 5 * 60_000;
/// Names of steps in one message; the others are counted.
const NAMED_MAX: usize = 8;
/// Characters of one reason or question in a message: a phone shows it.
const WHY_CHARS_MAX: usize = 240;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How it stands, on the cadence that was promised.
    Update,
    /// A question still waits for its answer.
    Reminder,
    /// It takes too long, or nobody answers: somebody else is called.
    Escalation,
    /// What cannot wait: something in doubt, or changed behind the run's back.
    Alarm,
    /// The ordinary rules were set aside.
    BreakGlass,
    /// The run is over.
    Ended,
}

impl Kind {
    /// The word that the action takes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Reminder => "reminder",
            Self::Escalation => "escalation",
            Self::Alarm => "alarm",
            Self::BreakGlass => "break_glass",
            Self::Ended => "ended",
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Names it among the messages about its run: what has this name is told once.
    pub name: String,
    /// What it is about.
    pub kind: Kind,
    /// Where it goes.
    pub channel: String,
    /// Whom it calls, where it is not for everybody.
    pub to: Option<String>,
    /// One line.
    pub title: String,
    /// All of it.
    pub text: String,
}

/// What is told at once of an event that was just folded in.
pub fn of_event(state: &RunState, recorded: &Recorded) -> Option<Message> {
    let name = format!("event-{}", recorded.seq);
    let by = &recorded.cause.actor.name;
    if recorded.cause.break_glass {
        // One command may have several events; all of a turn have its moment.
        let name = format!("glass-{}-{by}", recorded.at.0);
        let why = recorded.cause.reason.as_deref().unwrap_or("no reason was given");
        let text = format!("{by} set the ordinary rules aside: {}", short(why));
        return message(state, name, Kind::BreakGlass, None, "BREAK-GLASS", &text);
    }
    match &recorded.event {
        Event::WatchAlarm { step, difference, by, .. } => {
            let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            let text =
                format!("what `{step}` made was changed{by}: {}", short(&difference.join("; ")));
            message(state, name, Kind::Alarm, None, "ALARM", &text)
        }
        Event::EffectInDoubt { sending, evidence } => {
            let text = format!(
                "nobody knows what became of `{}`; a person must look: {}",
                sending.step,
                short(evidence)
            );
            message(state, name, Kind::Alarm, None, "IN DOUBT", &text)
        }
        Event::RunEnded { end, recovered } => {
            let (word, text) = (end_word(*end, *recovered), standing(state));
            message(state, name, Kind::Ended, None, word, &text)
        }
        _ => None,
    }
}

/// What has come due by now; all of it has a name that tells what was told already.
pub fn of_time(state: &RunState, now: Timestamp) -> Vec<Message> {
    if matches!(state.phase, Phase::Ended(_)) {
        return Vec::new();
    }
    let mut due: Vec<Message> = update(state, now).into_iter().collect();
    due.extend(escalations(state, now));
    for ix in &state.asking {
        due.extend(unanswered(state, *ix, now));
    }
    due.extend(not_taken(state, now));
    due
}

/// When something comes due next, after `now`.
pub fn next_due(state: &RunState, now: Timestamp) -> Option<Timestamp> {
    if matches!(state.phase, Phase::Ended(_)) {
        return None;
    }
    let update = state.plan.comms.as_ref().map(|comms| {
        let passed = now.since_ms(state.created) / comms.cadence_ms.max(1);
        state.created.plus_ms((passed + 1).saturating_mul(comms.cadence_ms.max(1)))
    });
    let escalations = state.plan.escalation.iter().map(|e| state.created.plus_ms(e.after_ms));
    let asked = state.asking.iter().filter_map(|ix| Some(state.step(*ix)?.since));
    let asked = asked
        .flat_map(|since| [since.plus_ms(REMIND_AFTER_MS), since.plus_ms(UNANSWERED_AFTER_MS)]);
    let offered = state.offer.iter().map(|offer| offer.at.plus_ms(NOT_TAKEN_AFTER_MS));
    let all = update.into_iter().chain(escalations).chain(asked).chain(offered);
    all.filter(|due| *due > now).min()
}

/// The last update that is due: those that an engine that was down missed are not made up for.
fn update(state: &RunState, now: Timestamp) -> Option<Message> {
    let comms = state.plan.comms.as_ref()?;
    let cadence = comms.cadence_ms.max(1);
    let number = now.since_ms(state.created) / cadence;
    if number == 0 {
        return None;
    }
    let next = state.created.plus_ms((number + 1).saturating_mul(cadence));
    let text = format!("{}\nNext update at {} UTC.", standing(state), clock(next));
    message(state, format!("update-{number}"), Kind::Update, None, &counted(state), &text)
}

fn escalations(state: &RunState, now: Timestamp) -> impl Iterator<Item = Message> {
    let due = state.plan.escalation.iter().enumerate();
    due.filter(move |(_, escalation)| now.since_ms(state.created) >= escalation.after_ms)
        .filter_map(move |(at, escalation)| {
            let minutes = escalation.after_ms / 60_000;
            let text = format!("not over after {minutes} min.\n{}", standing(state));
            let to = Some(escalation.to.clone());
            message(state, format!("escalation-{at}"), Kind::Escalation, to, "ESCALATED", &text)
        })
}

/// A reminder to who must answer, then a call to whom the runbook names for trouble.
fn unanswered(state: &RunState, ix: StepIx, now: Timestamp) -> Vec<Message> {
    let (Some(planned), Some(step)) = (state.plan_step(ix), state.step(ix)) else {
        return Vec::new();
    };
    let waited = now.since_ms(step.since);
    let question = format!("`{}` waits {}: {}", planned.id, asked_of(planned), short(&why(step)));
    let name = |what: &str| format!("{what}-{}-{}", planned.id, step.since.0);
    let mut due = Vec::new();
    if waited >= REMIND_AFTER_MS {
        let to = first_of(planned);
        let title = "still waits for an answer";
        due.extend(message(state, name("reminder"), Kind::Reminder, to, title, &question));
    }
    if waited >= UNANSWERED_AFTER_MS {
        let to = state.plan.escalation.first().map(|escalation| escalation.to.clone());
        let minutes = UNANSWERED_AFTER_MS / 60_000;
        let text = format!("nobody has answered for {minutes} min: {question}");
        due.extend(message(state, name("unanswered"), Kind::Escalation, to, "NO ANSWER", &text));
    }
    due
}

fn not_taken(state: &RunState, now: Timestamp) -> Option<Message> {
    let offer = state.offer.as_ref()?;
    if now.since_ms(offer.at) < NOT_TAKEN_AFTER_MS {
        return None;
    }
    let text = format!(
        "{} offered the command to {}, who has not taken it: {} still commands",
        offer.by.name, offer.to, state.commander.name
    );
    let to = state.plan.escalation.first().map(|escalation| escalation.to.clone());
    let name = format!("not-taken-{}", offer.at.0);
    message(state, name, Kind::Escalation, to, "HANDOVER NOT ACCEPTED", &text)
}

/// Where nobody named a channel, only those who are called by name are told.
fn message(
    state: &RunState,
    name: String,
    kind: Kind,
    to: Option<String>,
    headline: &str,
    text: &str,
) -> Option<Message> {
    let channel = state.plan.comms.as_ref().map(|comms| comms.channel.clone());
    let channel = channel.or_else(|| to.clone())?;
    let title = format!("[{}] {headline} (run {})", state.plan.name, state.run);
    let place = state.plan.environment.as_ref();
    let place = place.map(|place| format!("Environment: {}.\n", place.name)).unwrap_or_default();
    Some(Message { name, kind, channel, to, title, text: format!("{place}{text}") })
}

fn end_word(end: RunEnd, recovered: Option<bool>) -> &'static str {
    match (end, recovered) {
        (RunEnd::Succeeded, Some(true)) => "succeeded, recovered",
        (RunEnd::Succeeded, Some(false)) => "succeeded, NOT recovered",
        (RunEnd::Succeeded, None) => "succeeded",
        (RunEnd::Failed, _) => "FAILED",
        (RunEnd::Aborted, _) => "aborted",
        (RunEnd::Undone, _) => "undone",
        (RunEnd::Superseded, _) => "superseded",
    }
}

fn counted(state: &RunState) -> String {
    format!("{} of {} steps done", state.met, state.steps.len())
}

/// How it stands: what is done, under way, in doubt, asked, and next.
fn standing(state: &RunState) -> String {
    let named = |test: &dyn Fn(&StepRun) -> bool| {
        let steps = state.plan.steps.iter().zip(&state.steps);
        let names: Vec<&str> =
            steps.filter(|(_, step)| test(step)).map(|(plan, _)| plan.id.as_str()).collect();
        list(&names)
    };
    let next: Vec<&str> = state
        .ready
        .difference(&state.held)
        .filter_map(|ix| state.plan_step(*ix))
        .map(|step| step.id.as_str())
        .collect();
    let lines = [
        ("Done", named(&|step| step.state.meets_need())),
        ("Under way", named(&|step| step.state.is_active())),
        ("In doubt", named(&|step| step.state == StepState::InDoubt)),
        (
            "Waiting for a person",
            named(&|s| s.state.wants_person() && s.state != StepState::InDoubt),
        ),
        ("Failed", named(&|step| matches!(step.state, StepState::Failed { met: false, .. }))),
        ("Next", list(&next)),
    ];
    let lines = lines.into_iter().filter(|(_, names)| !names.is_empty());
    let lines: Vec<String> = lines.map(|(what, names)| format!("{what}: {names}.")).collect();
    let paused = if state.paused { "PAUSED. " } else { "" };
    format!(
        "{paused}{}. Commanded by {}.\n{}",
        counted(state),
        state.commander.name,
        lines.join("\n")
    )
}

fn list(names: &[&str]) -> String {
    let shown = names.get(..NAMED_MAX).unwrap_or(names).join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn first_of(planned: &PlanStep) -> Option<String> {
    let by = planned.approval.iter().flat_map(|approval| approval.by.iter());
    let by: Vec<&str> = by.map(String::as_str).collect();
    if by.is_empty() { planned.owner.clone() } else { Some(by.join(", ")) }
}

fn asked_of(planned: &PlanStep) -> String {
    first_of(planned).map_or_else(|| "for a person".to_owned(), |who| format!("for {who}"))
}

fn why(step: &StepRun) -> String {
    match &step.state {
        StepState::Waiting(Wait::Approval { why, .. } | Wait::Person { why }) => why.clone(),
        StepState::Waiting(Wait::Output { name, .. }) => format!("`{name}` is not there"),
        state => step.trouble.clone().unwrap_or_else(|| state.word().to_owned()),
    }
}

fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(WHY_CHARS_MAX) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// `14:05`.
fn clock(at: Timestamp) -> String {
    chrono::DateTime::from_timestamp_millis(at.0)
        .map_or_else(|| at.0.to_string(), |time| time.format("%H:%M").to_string())
}

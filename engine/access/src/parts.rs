//! The parts of an exercise, and the one table of what each may do there. A role of the store lets
//! somebody in; the scenario says who has which part.

use backout_core::event::Actor;

use crate::refusal::Refusal;
use crate::role::Role;

/// What somebody is at an exercise for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Leads it: sees what is to come, and brings it.
    Facilitator,
    /// Sees what is to come and what is expected, and rates.
    Evaluator,
    /// Sees the same, and writes down what is seen.
    Collector,
    /// Sees what people would see who are at the real thing. Observers are these too.
    Participant,
}

impl Part {
    /// Every part, from the one that may most.
    pub const ALL: [Self; 4] =
        [Self::Facilitator, Self::Evaluator, Self::Collector, Self::Participant];

    /// The word used everywhere, also as a role of a scenario.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Facilitator => "facilitator",
            Self::Evaluator => "evaluator",
            Self::Collector => "data collector",
            Self::Participant => "participant",
        }
    }

    /// The part of a role that a scenario names: every other word is a participant's.
    pub fn of(role: &str) -> Self {
        Self::ALL.into_iter().find(|part| part.word() == role).unwrap_or(Self::Participant)
    }

    /// Whether this one sees what is to come, and what is expected.
    pub fn sees_the_script(self) -> bool {
        self != Self::Participant
    }
}

/// One line of an exercise's language.
#[derive(Clone, Copy, Debug)]
pub struct Deed {
    /// Its first word.
    pub line: &'static str,
    /// Parts that may, beside the facilitator.
    pub parts: &'static [Part],
    /// What it does.
    pub does: &'static str,
}

const ALL: &[Part] = &[Part::Evaluator, Part::Collector, Part::Participant];
const STAFF: &[Part] = &[Part::Evaluator, Part::Collector];

const fn deed(line: &'static str, parts: &'static [Part], does: &'static str) -> Deed {
    Deed { line, parts, does }
}

/// Everything that can be done at an exercise besides its run. Decisions about the run are commands,
/// as at any run.
pub const DEEDS: &[Deed] = &[
    deed("REAL EMERGENCY", ALL, "end it on every screen: something real has happened"),
    deed("reply", ALL, "say what one would do, where a question was asked"),
    deed("observe", ALL, "take a note with its time"),
    deed("answer", ALL, "answer the hotwash"),
    deed("status", ALL, "see how the run stands"),
    deed("help", ALL, "see what can be typed"),
    deed("plan", STAFF, "see the coming injects, what is expected, and the guide"),
    deed("world", STAFF, "see the things of the simulated world"),
    deed("rate", &[Part::Evaluator], "rate an objective"),
    deed("improve", &[Part::Evaluator], "write down an improvement that was agreed on"),
    deed("inject", &[], "fire a planned inject"),
    deed("say", &[], "say something that nobody planned"),
    deed("stop", &[], "stop the clock"),
    deed("go", &[], "let the clock go on"),
    deed("step", &[], "go to the next happening"),
    deed("jump", &[], "turn the clock"),
    deed("speed", &[], "let the clock go faster"),
    deed("show", &[], "show what the runbook's plan would do"),
    deed("next", &[], "ask the next question"),
    deed("end", &[], "end the exercise"),
    deed("finish", &[], "close the hotwash: the report is written"),
];

/// Whether a part may do what a line says.
pub fn allows(deed: &Deed, part: Part) -> bool {
    part == Part::Facilitator || deed.parts.contains(&part)
}

/// The parts that may do what a line says.
pub fn takes(deed: &Deed) -> Vec<&'static str> {
    Part::ALL.into_iter().filter(|part| allows(deed, *part)).map(Part::word).collect()
}

/// The part that somebody has. Admins lead; so does whoever a scenario names as the facilitator. Where
/// nobody vouches for anybody (the control socket, loopback without tokens) everybody leads.
pub fn part_of<'a>(who: &Actor, named: impl Iterator<Item = (&'a str, &'a str)>) -> Part {
    if !who.verified || who.roles.iter().any(|role| role == Role::Admin.word()) {
        return Part::Facilitator;
    }
    let own = named.filter(|(_, name)| *name == who.name).map(|(role, _)| Part::of(role));
    let rank = |part: &Part| Part::ALL.iter().position(|one| one == part);
    own.min_by_key(rank).unwrap_or(Part::Participant)
}

/// Whether somebody with this part may do what a line begins with.
///
/// # Errors
/// Who may.
pub fn may(line: &str, part: Part) -> Result<(), Refusal> {
    // What stands in no row is for the facilitator alone.
    let unknown = deed("", &[], "do that");
    let deed = DEEDS.iter().find(|deed| deed.line == line).unwrap_or(&unknown);
    if allows(deed, part) {
        return Ok(());
    }
    let (does, takes) = (deed.does, takes(deed).join(" or "));
    let detail = format!("to {does} takes the part of {takes}; yours is {}", part.word());
    Err(Refusal::forbidden(detail).help("ask the facilitator"))
}

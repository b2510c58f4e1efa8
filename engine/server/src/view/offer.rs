//! What a person may ask of a run now: one table of commands for every face, and for each of them
//! what the core would say. A command that is not possible is shown with the reason, not hidden.

use backout_core::command::Ask;
use backout_core::event::{Actor, Cause, Event};
use backout_core::id::{StepId, Timestamp};
use backout_core::state::RunState;
use backout_core::{Command, decide};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::hands::{by_hand_step, step_name};

/// Whether a command wants a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It is refused without one.
    Must,
    /// It is asked for, and may be left empty.
    May,
    /// It carries its own words, in the field `text`.
    Text,
}

/// One more thing that a command takes, beside the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// The digest of what was shown, which the person consents to.
    Consent,
    /// What shows it.
    Evidence,
    /// Outputs for later steps, `name=value` each.
    Output,
    /// What its action takes from now on, as JSON.
    With,
    /// Somebody's name.
    To,
    /// Targets that the run holds.
    Targets,
    /// The name of a new step.
    Name,
    /// What a person does in a new step.
    Does,
    /// The steps that a new one comes after.
    After,
    /// The steps that wait for a new one.
    Before,
}

/// One command, as it stands in the table.
#[derive(Clone, Copy, Debug)]
pub struct Offered {
    /// Names it.
    pub word: &'static str,
    /// What the button says.
    pub label: &'static str,
    /// What it does, for the person who is about to give it.
    pub does: &'static str,
    /// Whether it is about a step; else about the run.
    pub on_step: bool,
    /// Whether it takes several steps, of which a face gives one.
    many: bool,
    /// Whether it wants a reason.
    pub reason: Reason,
    /// What else it takes.
    pub fields: &'static [Field],
    /// Whether the ordinary rules are set aside.
    pub break_glass: bool,
    /// [`Ask`] as JSON, without the step.
    ask: fn() -> Value,
}

impl Offered {
    /// Of these fields of an ask those that it takes.
    pub fn fields_of(&self, mut all: Map<String, Value>) -> Map<String, Value> {
        all.retain(|name, _| match name.as_str() {
            "text" => self.reason == Reason::Text,
            "with" => self.fields.contains(&Field::With),
            "to" => self.fields.contains(&Field::To),
            "targets" => self.fields.contains(&Field::Targets),
            "name" => self.fields.contains(&Field::Name),
            "does" => self.fields.contains(&Field::Does),
            "after" => self.fields.contains(&Field::After),
            "before" => self.fields.contains(&Field::Before),
            _ => false,
        });
        all
    }
}

/// A command that a face offers, and whether the core would follow it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Offer {
    /// The command: [`Offered::word`].
    pub word: String,
    /// The step that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why it is not possible now; absent where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What to do instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Offer {
    /// Its line of the table.
    pub fn offered(&self) -> Option<&'static Offered> {
        OFFERS.iter().find(|offered| offered.word == self.word)
    }
}

const ON_RUN: Offered = Offered {
    word: "",
    label: "",
    does: "",
    on_step: false,
    many: false,
    reason: Reason::May,
    fields: &[],
    break_glass: false,
    ask: || Value::Null,
};
const ON_STEP: Offered = Offered { on_step: true, ..ON_RUN };

/// Every command, in the order in which faces show them.
pub const OFFERS: &[Offered] = &[
    Offered {
        word: "approve",
        label: "Approve",
        does: "say yes to what this step would do, as it is shown here",
        fields: &[Field::Consent],
        ask: || json!({ "ask": "approve" }),
        ..ON_STEP
    },
    Offered {
        word: "reject",
        label: "Reject",
        does: "say no: the step fails, and nothing of it is done",
        ask: || json!({ "ask": "reject" }),
        ..ON_STEP
    },
    Offered {
        word: "break-glass",
        label: "Approve, breaking the glass",
        does: "approve although the rules do not let you; it marks every later view of this run",
        reason: Reason::Must,
        fields: &[Field::Consent],
        break_glass: true,
        ask: || json!({ "ask": "approve" }),
        ..ON_STEP
    },
    Offered {
        word: "settle-done",
        label: "Settle: it was done",
        does: "you looked at the target, and it is done; the run goes on",
        reason: Reason::Must,
        fields: &[Field::Evidence, Field::Output],
        ask: || json!({ "ask": "settle", "verdict": { "done": { "output": {} } } }),
        ..ON_STEP
    },
    Offered {
        word: "settle-not-done",
        label: "Settle: it was not done",
        does: "you looked at the target, it is not done and nothing can still do it; it is sent again",
        reason: Reason::Must,
        fields: &[Field::Evidence],
        ask: || json!({ "ask": "settle", "verdict": "not-done" }),
        ..ON_STEP
    },
    Offered {
        word: "retry",
        label: "Retry",
        does: "look at the target again and try the step again",
        ask: || json!({ "ask": "retry" }),
        ..ON_STEP
    },
    Offered {
        word: "retry-with",
        label: "Retry with another input",
        does: "try the step again with what you write here, in place of what the runbook says; it \
               is recorded as such",
        reason: Reason::Must,
        fields: &[Field::With],
        ask: || json!({ "ask": "retry" }),
        ..ON_STEP
    },
    Offered {
        word: "skip",
        label: "Skip",
        does: "leave the step out; the steps that need it go on",
        reason: Reason::Must,
        ask: || json!({ "ask": "skip" }),
        ..ON_STEP
    },
    Offered {
        word: "note-on",
        label: "Take a note on it",
        does: "write something about this step down in the run's record",
        reason: Reason::Text,
        ask: || json!({ "ask": "note" }),
        ..ON_STEP
    },
    Offered {
        word: "hold",
        label: "Hold this branch back",
        does: "begin nothing new of this step and of those that need it; the rest goes on",
        many: true,
        ask: || json!({ "ask": "hold" }),
        ..ON_STEP
    },
    Offered {
        word: "free",
        label: "Free this branch",
        does: "let this step and those that need it begin again",
        many: true,
        ask: || json!({ "ask": "free" }),
        ..ON_STEP
    },
    Offered {
        word: "part",
        label: "Only up to here",
        does: "do this step and what it needs for now; all the rest is held back until the run is \
               resumed",
        many: true,
        ask: || json!({ "ask": "part" }),
        ..ON_STEP
    },
    Offered {
        word: "take-command",
        label: "Take command",
        does: "accept the command of this run, which was offered",
        ask: || json!({ "ask": "take-command" }),
        ..ON_RUN
    },
    Offered {
        word: "take-command-glass",
        label: "Take command, breaking the glass",
        does: "take the command that was offered to somebody else; it marks every later view of this \
               run",
        reason: Reason::Must,
        break_glass: true,
        ask: || json!({ "ask": "take-command" }),
        ..ON_RUN
    },
    Offered {
        word: "resume",
        label: "Resume",
        does: "take the run up and go on",
        ask: || json!({ "ask": "resume" }),
        ..ON_RUN
    },
    Offered {
        word: "pause",
        label: "Pause",
        does: "start nothing new until it is resumed; what is in flight is finished",
        ask: || json!({ "ask": "pause" }),
        ..ON_RUN
    },
    Offered {
        word: "note",
        label: "Take a note",
        does: "write something down in the run's record",
        reason: Reason::Text,
        ask: || json!({ "ask": "note" }),
        ..ON_RUN
    },
    Offered {
        word: "insert",
        label: "Add a step by hand",
        does: "add a step that a person does: it asks for an approval, which says that it is done",
        reason: Reason::Must,
        fields: &[Field::Name, Field::Does, Field::After, Field::Before],
        ask: || json!({ "ask": "insert", "steps": [] }),
        ..ON_RUN
    },
    Offered {
        word: "hand-over",
        label: "Hand over",
        does: "offer the command of this run to somebody; you command until they accept",
        fields: &[Field::To],
        ask: || json!({ "ask": "hand-over" }),
        ..ON_RUN
    },
    Offered {
        word: "yield",
        label: "Let go of locks",
        does: "let another run take these targets; this run must not write them meanwhile",
        reason: Reason::Must,
        fields: &[Field::Targets],
        ask: || json!({ "ask": "yield" }),
        ..ON_RUN
    },
    Offered {
        word: "abort",
        label: "Abort",
        does: "finish what is in flight and start nothing more; what was done stays done",
        ask: || json!({ "ask": "abort" }),
        ..ON_RUN
    },
    Offered {
        word: "undo",
        label: "Undo",
        does: "put back what this run did, in reverse order",
        ask: || json!({ "ask": "undo" }),
        ..ON_RUN
    },
    Offered {
        word: "close",
        label: "Close",
        does: "end the run for good: nothing reopens it, and what was kept for its undo may go",
        ask: || json!({ "ask": "close" }),
        ..ON_RUN
    },
];

/// The ask of a command: its fields and those of `more`, as JSON.
pub fn ask_of(
    offered: &Offered,
    step: Option<&str>,
    more: Map<String, Value>,
) -> Result<Ask, serde_json::Error> {
    let mut ask = (offered.ask)();
    if let Value::Object(fields) = &mut ask {
        fields.extend(step.map(|step| {
            if offered.many {
                ("steps".to_owned(), json!([step]))
            } else {
                ("step".to_owned(), Value::from(step))
            }
        }));
        fields.extend(with_step_by_hand(more)?);
    }
    serde_json::from_value(ask)
}

/// The name of a new step and what is done in it become the step.
fn with_step_by_hand(
    mut more: Map<String, Value>,
) -> Result<Map<String, Value>, serde_json::Error> {
    let Some(name) = more.remove("name") else { return Ok(more) };
    let name: String = serde_json::from_value(name)?;
    step_name(&name).map_err(serde::de::Error::custom)?;
    let does: String = serde_json::from_value(more.remove("does").unwrap_or_default())?;
    let after =
        more.remove("after").map_or(Ok(Vec::new()), serde_json::from_value::<Vec<StepId>>)?;
    let step = serde_json::to_value(by_hand_step(&name, &does, after))?;
    more.insert("steps".to_owned(), json!([step]));
    Ok(more)
}

/// What the core would say to one command now, with these fields beside the reason.
pub fn offer_with(
    state: &RunState,
    now: Timestamp,
    actor: &Actor,
    word: &str,
    fields: Map<String, Value>,
) -> Option<Offer> {
    let offered = OFFERS.iter().find(|offered| offered.word == word && !offered.on_step)?;
    let ask = ask_of(offered, None, fields).ok()?;
    Some(refusal(offered, None, said(state, now, actor, offered, ask).err()))
}

/// The commands about the run as a whole.
pub fn offers(state: &RunState, now: Timestamp, actor: &Actor, driven: bool) -> Vec<Offer> {
    let all = OFFERS.iter().filter(|offered| !offered.on_step);
    all.map(|offered| {
        let offer = offer(state, now, actor, offered, None);
        if offered.word == "resume" { resumed(state, offer, driven) } else { offer }
    })
    .collect()
}

/// The commands about one step.
pub fn offers_on(state: &RunState, step: &StepId, now: Timestamp, actor: &Actor) -> Vec<Offer> {
    let all = OFFERS.iter().filter(|offered| offered.on_step);
    all.map(|offered| offer(state, now, actor, offered, Some(step))).collect()
}

/// The same commands where nobody would follow one: each with the reason why not.
pub fn withheld(mut offers: Vec<Offer>) -> Vec<Offer> {
    for offer in &mut offers {
        offer.refused = Some("the exercise is over, and this is its record".to_owned());
        offer.help = Some("a replay walks through it".to_owned());
    }
    offers
}

fn offer(
    state: &RunState,
    now: Timestamp,
    actor: &Actor,
    offered: &Offered,
    step: Option<&StepId>,
) -> Offer {
    refusal(offered, step, tried(state, now, actor, offered, step).err())
}

fn refusal(
    offered: &Offered,
    step: Option<&StepId>,
    refused: Option<backout_core::Rejection>,
) -> Offer {
    Offer {
        word: offered.word.to_owned(),
        step: step.map(ToString::to_string),
        help: refused.as_ref().and_then(|refused| refused.help.clone()),
        refused: refused.map(|refused| refused.message),
    }
}

/// What the core would say, given a reason.
fn tried(
    state: &RunState,
    now: Timestamp,
    actor: &Actor,
    offered: &Offered,
    step: Option<&StepId>,
) -> Result<Vec<Event>, backout_core::Rejection> {
    const SOME: &str = "-";
    let text = (offered.reason == Reason::Text).then(|| ("text".to_owned(), Value::from(SOME)));
    let given = offered.fields.iter().filter_map(|field| some(state, *field));
    let ask = ask_of(offered, step.map(StepId::as_str), given.chain(text).collect());
    let ask = ask.map_err(|error| backout_core::Rejection {
        message: format!("this release cannot ask it: {error}"),
        help: None,
    })?;
    said(state, now, actor, offered, ask)
}

fn said(
    state: &RunState,
    now: Timestamp,
    actor: &Actor,
    offered: &Offered,
    ask: Ask,
) -> Result<Vec<Event>, backout_core::Rejection> {
    const SOME: &str = "-";
    let cause = Cause {
        command: None,
        actor: actor.clone(),
        reason: Some(SOME.to_owned()),
        break_glass: offered.break_glass,
    };
    decide(Some(state), now, &cause, &Command::Ask(ask))
}

/// Something in a field that a command cannot do without.
fn some(state: &RunState, field: Field) -> Option<(String, Value)> {
    let (name, value) = match field {
        Field::Consent | Field::Evidence | Field::Output => return None,
        Field::With => ("with", json!({})),
        Field::To => ("to", json!("-")),
        Field::Targets => ("targets", json!(state.locks.keys().collect::<Vec<_>>())),
        Field::Name => ("name", json!(free_name(state))),
        Field::Does => ("does", json!("-")),
        Field::After => ("after", json!([])),
        Field::Before => ("before", json!([])),
    };
    Some((name.to_owned(), value))
}

/// A name that no step has.
fn free_name(state: &RunState) -> String {
    let names = (1..).map(|at| format!("by_hand_{at}"));
    let free = |name: &String| state.find(&StepId::from(name.as_str())).is_none();
    names.take(state.steps.len() + 1).find(free).unwrap_or_default()
}

/// To resume a run that an engine drives and nobody paused changes nothing.
fn resumed(state: &RunState, offer: Offer, driven: bool) -> Offer {
    let changes = state.paused || !state.held.is_empty() || !driven || state.status().is_end();
    if offer.refused.is_some() || changes {
        return offer;
    }
    Offer { refused: Some(format!("run {} goes on already", state.run)), ..offer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_an_ask() {
        for offered in OFFERS {
            let step = offered.on_step.then_some("a");
            let text = Map::from_iter([("text".to_owned(), Value::from("hello"))]);
            let mut more = if offered.reason == Reason::Text { text } else { Map::new() };
            more.extend(offered.fields.iter().filter_map(|field| match field {
                Field::To => Some(("to".to_owned(), json!("ann"))),
                Field::Targets => Some(("targets".to_owned(), json!(["a:b"]))),
                Field::With => Some(("with".to_owned(), json!({}))),
                Field::Name => Some(("name".to_owned(), json!("call_bank"))),
                Field::Does => Some(("does".to_owned(), json!("call the bank"))),
                Field::After | Field::Before | Field::Consent | Field::Evidence | Field::Output => {
                    None
                }
            }));
            let ask = ask_of(offered, step, more);
            assert!(ask.is_ok(), "{}: {ask:?}", offered.word);
        }
    }

    #[test]
    fn a_step_by_hand_is_one_that_asks() {
        let insert = OFFERS.iter().find(|offered| offered.word == "insert").unwrap();
        let fields = |name: &str| {
            json!({ "name": name, "does": "call ${bank}", "after": ["a"],
            "before": ["b"] })
            .as_object()
            .cloned()
            .unwrap()
        };
        let Ok(Ask::Insert { steps, before }) = ask_of(insert, None, fields("call")) else {
            panic!()
        };
        assert_eq!((steps[0].id.as_str(), steps[0].title.as_str()), ("call", "call ${bank}"));
        assert_eq!((&steps[0].needs[..], &before[..]), (&["a".into()][..], &["b".into()][..]));
        assert_eq!(steps[0].with, json!({ "text": "call $${bank}" }));
        let refused = ask_of(insert, None, fields("Call it")).unwrap_err().to_string();
        assert!(refused.contains("is no name for a step"), "{refused}");
    }

    #[test]
    fn no_two_commands_have_one_word() {
        let mut words: Vec<_> = OFFERS.iter().map(|offered| offered.word).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), OFFERS.len());
    }
}

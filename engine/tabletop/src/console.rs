//! What people type in an exercise: decisions of those who take part, and the hands of the
//! facilitator, the evaluator and the observers.

use serde_json::json;

use backout_core::exercise::calls_emergency;

use crate::decisions::Decision;
use crate::drill::{Broken, Drill, person};
use crate::log::{Logged, Rating};
use crate::scenario::{Inject, Scenario};

/// The clock goes so many times as fast as real time at the most: an hour is then half a second.
pub const SPEED_MAX: u32 = 7_200;

/// Something typed.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// Somebody decides.
    Decide(Decision),
    /// A planned inject is fired now.
    Fire(String),
    /// An inject that nobody planned.
    Say(Box<Inject>),
    /// The clock stops.
    Stop,
    /// The clock goes on.
    Go,
    /// The clock jumps so far, milliseconds.
    Jump(u64),
    /// The clock goes to the next happening.
    Step,
    /// The clock goes so many times as fast as real time.
    Speed(u32),
    /// How an objective was met.
    Rate(String, Rating, String),
    /// A timed note of somebody who observes.
    Observe(String),
    /// Something to be improved: capability, action, owner, due.
    Improve([String; 4]),
    /// Somebody says what they would do: to a question of a discussion by its number from 1 on, or
    /// to the one that was asked last.
    Reply(Option<usize>, String),
    /// What the runbook's plan would do is shown.
    Show,
    /// The next question is asked; where a number is given, only after that question: of two who say
    /// it at once one is too late.
    Next(Option<usize>),
    /// Somebody answers a question of the hotwash, by its number from 1 on.
    Answer(usize, String),
    /// The hotwash is closed, and with it the exercise.
    Finish,
    /// Show how the run stands.
    Status,
    /// Show what is planned.
    Plan,
    /// Show the things of the world.
    World,
    /// Show what can be typed.
    Help,
    /// It is over.
    End,
    /// It is over, for something real; in these words.
    Emergency(String),
}

/// What can be typed in a discussion, where there is no run and no world.
pub fn talk_help() -> String {
    let (end, run) = ("lead       end".to_owned(), ["decide", "facilitate", ""]);
    without(&run).chain([end]).collect::<Vec<_>>().join("\n")
}

/// What can be typed in a drill, where no questions are asked.
pub fn drill_help() -> String {
    without(&["discuss"]).collect::<Vec<_>>().join("\n")
}

fn without(heads: &[&str]) -> impl Iterator<Item = String> {
    let is_ours = |line: &&str| !heads.contains(&line.split(' ').next().unwrap_or_default());
    HELP.lines().filter(is_ours).map(str::to_owned)
}

impl Typed {
    /// The word that it begins with, by which it is told who may type it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Decide(_) => "decide",
            Self::Fire(_) => "inject",
            Self::Say(_) => "say",
            Self::Stop => "stop",
            Self::Go => "go",
            Self::Jump(_) => "jump",
            Self::Step => "step",
            Self::Speed(_) => "speed",
            Self::Rate(..) => "rate",
            Self::Observe(_) => "observe",
            Self::Improve(_) => "improve",
            Self::Reply(..) => "reply",
            Self::Show => "show",
            Self::Next(_) => "next",
            Self::Answer(..) => "answer",
            Self::Finish => "finish",
            Self::Status => "status",
            Self::Plan => "plan",
            Self::World => "world",
            Self::Help => "help",
            Self::End => "end",
            Self::Emergency(_) => "REAL EMERGENCY",
        }
    }
}

/// A line, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Who says it.
    pub who: String,
    /// What.
    pub typed: Typed,
}

/// What can be typed.
pub const HELP: &str = "\
decide     approve STEP, reject STEP, retry STEP, skip STEP, settle STEP done|not-done,
           pause, resume, abort, undo, note TEXT (an update); NAME: before it says who
facilitate inject ID, say TEXT, say FROM -> TO: TEXT, stop, go, jump 10m, step, speed N,
           plan, world, end
evaluate   rate OBJECTIVE P|S|M|U TEXT, observe TEXT, improve CAPABILITY | ACTION | OWNER | DATE
discuss    reply NUMBER TEXT, show, next (questions of a discussion)
hotwash    answer NUMBER TEXT, finish (once it is over)
look       status, help
at once    REAL EMERGENCY ends it on every screen";

/// Reads a line. `who` is the one at the keyboard; several people at one keyboard name themselves:
/// `bea: approve schema_down`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(line: &str, who: &str) -> Result<Line, String> {
    let line = line.trim();
    let (who, line) = match line.split_once(": ") {
        Some((name, rest)) if !name.contains(' ') => (name, rest.trim()),
        Some(_) | None => (who, line),
    };
    Ok(Line { who: who.to_owned(), typed: typed(line, who)? })
}

/// Reads a line of somebody who is known, so that nobody speaks for another.
///
/// # Errors
/// What is wrong with it, in words.
pub fn typed(line: &str, who: &str) -> Result<Typed, String> {
    let line = line.trim();
    if calls_emergency(line) {
        return Ok(Typed::Emergency(line.to_owned()));
    }
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    if matches!(word, "reply" | "observe" | "answer" | "say" | "note" | "update")
        && calls_emergency(said_of(rest))
    {
        return Ok(Typed::Emergency(said_of(rest).to_owned()));
    }
    let needed = |what: &str| {
        if rest.is_empty() { Err(format!("`{word}` needs {what}")) } else { Ok(rest.to_owned()) }
    };
    Ok(match word {
        "inject" => Typed::Fire(needed("the name of an inject; `plan` lists them")?),
        "say" => Typed::Say(Box::new(said(&needed("a text")?))),
        "stop" => Typed::Stop,
        "go" => Typed::Go,
        "step" => Typed::Step,
        "jump" => Typed::Jump(backout_runbook::document::milliseconds(&needed("a duration")?)?),
        "speed" => Typed::Speed(speed(rest)?),
        "rate" => rate(rest)?,
        "observe" => Typed::Observe(needed("a text")?),
        "improve" => improve(rest)?,
        "reply" => reply(&needed("a text")?),
        "show" => Typed::Show,
        "next" => Typed::Next(rest.parse().ok()),
        "answer" => answer(rest)?,
        "finish" => Typed::Finish,
        "status" => Typed::Status,
        "plan" => Typed::Plan,
        "world" => Typed::World,
        "help" => Typed::Help,
        "end" => Typed::End,
        _ => Typed::Decide(decision(word, rest, who)?),
    })
}

/// What is said, without the number of the question that it answers.
fn said_of(rest: &str) -> &str {
    rest.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start()
}

fn speed(rest: &str) -> Result<u32, String> {
    let speed = rest.parse().ok().filter(|speed| (1..=SPEED_MAX).contains(speed));
    speed.ok_or_else(|| format!("`speed` needs a whole number from 1 to {SPEED_MAX}"))
}

/// A message that nobody planned: `FROM -> TO: TEXT`, or the text alone.
fn said(rest: &str) -> Inject {
    let named = rest.split_once(": ").and_then(|(head, text)| Some((head.split_once("->")?, text)));
    match named {
        Some(((from, to), text)) => Inject {
            from: from.trim().to_owned(),
            to: to.trim().to_owned(),
            text: text.trim().to_owned(),
            ..Inject::default()
        },
        None => Inject { text: rest.to_owned(), ..Inject::default() },
    }
}

fn rate(rest: &str) -> Result<Typed, String> {
    let mut words = rest.splitn(3, ' ');
    let (objective, letter) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rating = Rating::of(letter).ok_or("write `rate OBJECTIVE P|S|M|U TEXT`")?;
    Ok(Typed::Rate(objective.to_owned(), rating, words.next().unwrap_or_default().to_owned()))
}

/// `NUMBER TEXT`; without a number it is about the question that was asked last.
fn reply(rest: &str) -> Typed {
    let numbered = rest.split_once(' ').and_then(|(word, text)| Some((word.parse().ok()?, text)));
    match numbered {
        Some((number, text)) => Typed::Reply(Some(number), text.trim().to_owned()),
        None => Typed::Reply(None, rest.to_owned()),
    }
}

fn answer(rest: &str) -> Result<Typed, String> {
    let (number, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let number = number.parse().ok().filter(|_| !text.trim().is_empty());
    let number =
        number.ok_or("write `answer NUMBER TEXT`; the questions are numbered from 1 on")?;
    Ok(Typed::Answer(number, text.trim().to_owned()))
}

fn improve(rest: &str) -> Result<Typed, String> {
    let parts: Vec<String> = rest.split('|').map(|part| part.trim().to_owned()).collect();
    let parts = <[String; 4]>::try_from(parts).ok().filter(|[.., due]| is_date(due));
    parts
        .map(Typed::Improve)
        .ok_or_else(|| "write `improve CAPABILITY | ACTION | OWNER | YYYY-MM-DD`".to_owned())
}

/// Whether a text has the shape of a day.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let digits = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    parts.iter().all(digits) && parts.iter().map(|part| part.len()).eq([4, 2, 2])
}

fn decision(word: &str, rest: &str, who: &str) -> Result<Decision, String> {
    let (step, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let (ask, reason) = match word {
        "approve" | "reject" | "retry" | "skip" if step.is_empty() => {
            return Err(format!("`{word}` needs a step"));
        }
        "approve" | "reject" | "retry" | "skip" => (json!({ "ask": word, "step": step }), after),
        "settle" => {
            let (verdict, reason) = after.split_once(' ').unwrap_or((after, ""));
            if !matches!(verdict, "done" | "not-done") {
                return Err("write `settle STEP done` or `settle STEP not-done`".to_owned());
            }
            (json!({ "ask": word, "step": step, "verdict": verdict, "evidence": reason }), reason)
        }
        "pause" | "resume" | "abort" | "undo" | "close" => (json!({ "ask": word }), rest),
        "note" | "update" if rest.is_empty() => return Err(format!("`{word}` needs a text")),
        "note" | "update" => (json!({ "ask": "note", "text": rest }), ""),
        _ => return Err(format!("`{word}` is not known; `help` shows what can be typed")),
    };
    let reason = (!reason.trim().is_empty()).then(|| reason.trim().to_owned());
    Ok(Decision { by: who.to_owned(), ask, reason, ..Decision::default() })
}

/// What is written down for a line that every kind of exercise takes, or why it is not; nothing where
/// the line is another.
pub(crate) fn written(
    typed: &Typed,
    who: &str,
    scenario: &Scenario,
    over: bool,
) -> Option<Result<Logged, String>> {
    let by = who.to_owned();
    Some(match typed {
        Typed::Rate(objective, rating, text) => rated(scenario, objective, *rating, text, who),
        Typed::Observe(text) => {
            Ok(Logged::Note { role: role_of(scenario, who), by, text: text.clone() })
        }
        Typed::Improve([capability, action, owner, due]) => Ok(Logged::Improvement {
            capability: capability.clone(),
            action: action.clone(),
            owner: owner.clone(),
            due: due.clone(),
        }),
        Typed::Answer(..) if !over => Err("the hotwash comes when the exercise is over".to_owned()),
        Typed::Answer(number, text) => heard(scenario, *number, text, who),
        Typed::Finish if !over => Err("`end` ends the exercise first".to_owned()),
        Typed::Finish => Ok(Logged::Closed { by }),
        _ => return None,
    })
}

/// The role of somebody who notes something: who has none in the scenario observes.
fn role_of(scenario: &Scenario, who: &str) -> String {
    let own = scenario.roles.iter().find(|role| role.who.as_deref() == Some(who));
    own.map_or_else(|| "observer".to_owned(), |role| role.role.clone())
}

fn rated(
    scenario: &Scenario,
    objective: &str,
    rating: Rating,
    text: &str,
    who: &str,
) -> Result<Logged, String> {
    let names: Vec<&str> = scenario.objectives.iter().map(|one| one.id.as_str()).collect();
    if !names.contains(&objective) {
        return Err(format!("there is no objective `{objective}`; they are {}", names.join(", ")));
    }
    let (by, objective, text) = (who.to_owned(), objective.to_owned(), text.to_owned());
    Ok(Logged::Rated { by, objective, rating, text })
}

/// An answer in the hotwash.
fn heard(scenario: &Scenario, number: usize, text: &str, who: &str) -> Result<Logged, String> {
    let questions = scenario.hotwash();
    let question = number.checked_sub(1).and_then(|at| questions.get(at)).cloned();
    let question = question
        .ok_or_else(|| format!("there are {} questions, numbered from 1 on", questions.len()))?;
    Ok(Logged::Answered { question, answer: text.to_owned(), by: who.to_owned(), plan: None })
}

impl Drill {
    /// Does what was typed, where it changes the exercise; what to answer, if anything.
    ///
    /// # Errors
    /// The exercise cannot go on.
    pub fn do_typed(&mut self, typed: &Typed, who: &str) -> Result<Option<String>, Broken> {
        if let Some(said) = written(typed, who, self.scenario(), self.is_over()) {
            return Ok(said.map(|what| self.note(what)).err());
        }
        match typed {
            Typed::Decide(decision) => {
                let answer = self.decide(decision)?;
                Ok(answer.err().map(|why| format!("not possible: {why}")))
            }
            Typed::Emergency(text) => self.emergency(&person(who, &[]), text).map(|()| None),
            Typed::Status | Typed::Plan | Typed::World | Typed::Help => Ok(None),
            Typed::Reply(..) | Typed::Show | Typed::Next(_) => {
                Ok(Some("this is a drill: questions are asked in a discussion".to_owned()))
            }
            _ if self.is_over() => Ok(Some("the exercise is over".to_owned())),
            facilitated => self.facilitate(facilitated),
        }
    }

    /// What the facilitator does with an exercise that goes on.
    fn facilitate(&mut self, typed: &Typed) -> Result<Option<String>, Broken> {
        match typed {
            Typed::Fire(id) => {
                let known = self.fire(id)?;
                return Ok(
                    (!known).then(|| format!("there is no inject `{id}`; `plan` lists them"))
                );
            }
            Typed::Say(inject) => self.inject(inject)?,
            Typed::Stop => self.clock_turns(Logged::ClockStopped, "the clock stands still")?,
            Typed::Go => self.clock_turns(Logged::ClockWentOn, "the clock goes on")?,
            Typed::Jump(ms) => {
                let to = self.now().plus_ms(*ms).min(self.limit());
                let words = format!("the clock jumps to {}", self.clock(to));
                self.clock_turns(Logged::Jumped { ms: *ms }, &words)?;
                self.advance_to(to)?;
            }
            Typed::Step => {
                if let Some(due) = self.next_due() {
                    self.advance_to(due.min(self.limit()))?;
                }
            }
            Typed::Speed(times) => {
                self.tell_all(&format!("the clock goes {times} times as fast as real time"))?;
            }
            _ => self.end("the facilitator ended it"),
        }
        Ok(None)
    }

    /// Everybody sees what is done with the clock.
    fn clock_turns(&mut self, logged: Logged, words: &str) -> Result<(), Broken> {
        self.note(logged);
        self.tell_all(words)
    }

    /// The world's things and services in lines.
    pub fn world_lines(&self) -> Vec<String> {
        let things = self.world().things().map(|(name, value)| format!("{name} = {value}"));
        let services = self.world().healths().into_iter().map(|(name, health)| {
            let percent = health.errors * 100.0;
            format!("service {name}: {percent:.1}% errors, {}ms", health.latency_ms)
        });
        things.chain(services).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_decision_of_whoever_is_named() {
        let line = parse("bea: approve schema_down looked at it", "ana").unwrap();
        assert_eq!(line.who, "bea");
        let Typed::Decide(decision) = line.typed else { panic!("a decision") };
        assert_eq!(
            (decision.by.as_str(), decision.reason.as_deref()),
            ("bea", Some("looked at it"))
        );
        assert_eq!(decision.ask, json!({ "ask": "approve", "step": "schema_down" }));
        assert!(decision.asked().is_ok());
        let settle = typed("settle switch not-done looked", "ana").unwrap();
        let Typed::Decide(settle) = settle else { panic!("a decision") };
        assert!(settle.asked().is_ok());
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (line, part) in [
            ("aprove x", "`help`"),
            ("approve", "needs a step"),
            ("settle x", "not-done"),
            ("rate x Q", "P|S|M|U"),
            ("jump far", "not a duration"),
            ("speed 0", "from 1"),
        ] {
            let error = parse(line, "ana").unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn a_real_emergency_is_heard_however_it_is_written() {
        let heard =
            Line { who: "bea".to_owned(), typed: Typed::Emergency("real emergency!".to_owned()) };
        assert_eq!(parse("bea: real emergency!", "ana"), Ok(heard.clone()));
        for line in ["reply 2 real emergency!", "observe real emergency!", "say real emergency!"] {
            assert_eq!(parse(line, "bea"), Ok(heard.clone()), "{line}");
        }
    }

    #[test]
    fn an_unplanned_message_may_say_from_whom_to_whom() {
        let Ok(Typed::Say(named)) = typed("say head of sales -> ana: when: now?", "f") else {
            panic!("a message");
        };
        let parts = (named.from.as_str(), named.to.as_str(), named.text.as_str());
        assert_eq!(parts, ("head of sales", "ana", "when: now?"));
        let Ok(Typed::Say(alone)) = typed("say look: the disk", "f") else { panic!("a message") };
        assert_eq!((alone.from.as_str(), alone.text.as_str()), ("", "look: the disk"));
    }

    #[test]
    fn nobody_who_is_known_speaks_for_another() {
        assert!(typed("bea: approve schema_down", "ana").is_err());
    }
}

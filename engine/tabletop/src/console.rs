//! What people type in an exercise: decisions of those who take part, and the hands of the
//! facilitator, the evaluator and the observers.

use serde_json::json;

use backout_core::exercise::calls_emergency;

use crate::decisions::Decision;
use crate::drill::{Broken, Drill, person};
use crate::log::{Logged, Rating};
use crate::scenario::Inject;

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

impl Drill {
    /// Does what was typed, where it changes the exercise; what to answer, if anything.
    ///
    /// # Errors
    /// The exercise cannot go on.
    pub fn do_typed(&mut self, typed: &Typed, who: &str) -> Result<Option<String>, Broken> {
        match typed {
            Typed::Decide(decision) => {
                let answer = self.decide(decision)?;
                return Ok(answer.err().map(|why| format!("not possible: {why}")));
            }
            Typed::Rate(objective, rating, text) => {
                return Ok(self.rate(objective, *rating, text, who));
            }
            Typed::Observe(text) => self.note(Logged::Note {
                by: who.to_owned(),
                role: "observer".to_owned(),
                text: text.clone(),
            }),
            Typed::Improve([capability, action, owner, due]) => self.note(Logged::Improvement {
                capability: capability.clone(),
                action: action.clone(),
                owner: owner.clone(),
                due: due.clone(),
            }),
            Typed::Emergency(text) => self.emergency(&person(who, &[]), text)?,
            Typed::Answer(number, text) => return Ok(self.hear(*number, text, who)),
            Typed::Finish if self.is_over() => self.note(Logged::Closed { by: who.to_owned() }),
            Typed::Finish => return Ok(Some("`end` ends the exercise first".to_owned())),
            Typed::Status | Typed::Plan | Typed::World | Typed::Help => {}
            _ if self.is_over() => return Ok(Some("the exercise is over".to_owned())),
            facilitated => return self.facilitate(facilitated),
        }
        Ok(None)
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

    fn rate(&mut self, objective: &str, rating: Rating, text: &str, who: &str) -> Option<String> {
        if !self.scenario().objectives.iter().any(|one| one.id == objective) {
            let names: Vec<&str> =
                self.scenario().objectives.iter().map(|one| one.id.as_str()).collect();
            return Some(format!(
                "there is no objective `{objective}`; they are {}",
                names.join(", ")
            ));
        }
        self.note(Logged::Rated {
            by: who.to_owned(),
            objective: objective.to_owned(),
            rating,
            text: text.to_owned(),
        });
        None
    }

    /// An answer in the hotwash; what to say to it where it is none.
    fn hear(&mut self, number: usize, text: &str, who: &str) -> Option<String> {
        if !self.is_over() {
            return Some("the hotwash comes when the exercise is over".to_owned());
        }
        let questions = self.scenario().hotwash();
        let Some(question) = number.checked_sub(1).and_then(|at| questions.get(at)) else {
            return Some(format!("there are {} questions, numbered from 1 on", questions.len()));
        };
        let (question, answer, by) = (question.clone(), text.to_owned(), who.to_owned());
        self.note(Logged::Answered { question, answer, by, plan: None });
        None
    }

    /// Whether the hotwash was closed: nothing more is waited for.
    pub fn is_closed(&self) -> bool {
        self.log().iter().any(|entry| matches!(entry.what, Logged::Closed { .. }))
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
        assert_eq!(parse("bea: real emergency!", "ana"), Ok(heard));
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

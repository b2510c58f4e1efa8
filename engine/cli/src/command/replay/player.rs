//! The player: the views of every moment, as the people saw them.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use backout_core::exercise::is_drilled;
use backout_core::id::{Seq, Timestamp};
use backout_server::view::{Leading, RunFacts, RunView, counted, run_view, sentence};
use backout_tabletop::replay::Tape;

use crate::app::App;
use crate::exercise::broken;
use crate::exit::{Exit, Failure};
use crate::view::style::{DIM, HELP, WARN, paint};
use crate::view::{status, text};

/// The longest real wait between two events: a night without an event is not sat through.
const WAIT_MAX: Duration = Duration::from_secs(5);

const KEYS: &str = "\
enter next event   n next decision   b back   g SEQ go to an event   p play or pause
s SPEED how fast   v the whole view  q quit";

/// What was known at the place of a tape.
fn view(tape: &Tape) -> Option<RunView> {
    let best = |_: &backout_core::plan::PlanStep| None;
    let now = tape.last().map_or(Timestamp::default(), |recorded| recorded.at);
    let state = tape.state()?;
    let facts = RunFacts {
        now,
        driven: state.attached,
        leading: Leading::Unknown,
        head: None,
        best_guarantee: &best,
    };
    // Nothing can be asked of an earlier moment.
    Some(run_view(state, &facts).as_record())
}

/// Shows one moment and ends.
pub(super) fn show(app: &App, tape: &Tape, json: bool) -> Result<Exit, Failure> {
    let Some(view) = view(tape) else {
        return Err(Failure::usage("the record has nothing there", "name an event from 1 on"));
    };
    if json {
        app.ui.json(&view)?;
    } else {
        let now = tape.last().map_or(0, |recorded| recorded.at.0);
        app.ui.data(&format!("{}\n{}", place(tape), status::run(&view, now, app.ui.width)))?;
    }
    Ok(Exit::Done)
}

fn place(tape: &Tape) -> String {
    let all = tape.journal().len();
    paint(WARN, &format!("REPLAY: what was known at event {} of {all}", tape.at()))
}

struct Player<'a> {
    app: &'a App,
    tape: Tape,
    speed: f64,
    plays: bool,
}

/// Plays on a terminal; without one, prints every event and what asked for a person.
pub(super) fn play(app: &App, tape: Tape, speed: f64) -> Result<Exit, Failure> {
    let mut player = Player { app, tape, plays: app.ui.interactive && speed > 0.0, speed };
    if !app.ui.interactive {
        while player.tape.step().map_err(broken)? {
            player.line(true)?;
        }
        return Ok(Exit::Done);
    }
    app.ui.say(&paint(HELP, KEYS));
    let keys = keys();
    loop {
        match player.next_key(&keys) {
            Some(line) if line.trim() == "q" => return Ok(Exit::Done),
            Some(line) => player.key(line.trim())?,
            None if player.plays => player.forward()?,
            None => return Ok(Exit::Done),
        }
    }
}

fn keys() -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Player<'_> {
    /// The next key; nothing where the time of the next event has come, or nobody types any more.
    fn next_key(&self, keys: &Receiver<String>) -> Option<String> {
        if !self.plays {
            return keys.recv().ok();
        }
        // Nobody types any more, or the time has come: both go on.
        keys.recv_timeout(self.wait()).ok()
    }

    /// How long it is until the next event.
    fn wait(&self) -> Duration {
        let last = self.tape.last().map(|recorded| recorded.at);
        let next = self.tape.next_event().map(|recorded| recorded.at);
        let ms = last.zip(next).map_or(0, |(last, next)| next.since_ms(last));
        let real = Duration::from_millis(ms).div_f64(self.speed.max(0.001));
        real.min(WAIT_MAX)
    }

    fn key(&mut self, key: &str) -> Result<(), Failure> {
        let (word, rest) = key.split_once(' ').unwrap_or((key, ""));
        match word {
            "" => self.forward()?,
            "n" => {
                if !self.tape.next_decision().map_err(broken)? {
                    self.app.ui.say("no decision comes after this");
                }
                self.line(false)?;
            }
            "b" => {
                let back = self.tape.at().saturating_sub(1);
                self.tape.jump(back).map_err(broken)?;
                self.line(false)?;
            }
            "g" => match rest.trim().parse() {
                Ok(seq) => {
                    self.tape.jump_to(Seq(seq)).map_err(broken)?;
                    self.line(false)?;
                }
                Err(_) => self.app.ui.say("write `g` and the number of an event"),
            },
            "p" => self.plays = !self.plays,
            "s" => match rest.trim().parse::<f64>() {
                Ok(speed) if speed > 0.0 => self.speed = speed,
                Ok(_) | Err(_) => self.app.ui.say("write `s` and how many times as fast"),
            },
            "v" => drop(show(self.app, &self.tape, false)?),
            _ => self.app.ui.say(&paint(HELP, KEYS)),
        }
        Ok(())
    }

    fn forward(&mut self) -> Result<(), Failure> {
        if self.tape.step().map_err(broken)? {
            return self.line(false);
        }
        self.plays = false;
        self.app.ui.say("the end of the record");
        Ok(())
    }

    /// The event that happened last, and what the people could see that it asked of them.
    fn line(&self, data: bool) -> Result<(), Failure> {
        let Some(recorded) = self.tape.last() else { return Ok(()) };
        let (step, what) = sentence(&recorded.event);
        let what = step.map_or(what.clone(), |step| format!("{step}: {what}"));
        let at = backout_server::view::rfc3339(recorded.at);
        let actor = &recorded.cause.actor.name;
        let drill = if is_drilled(recorded) { "DRILL " } else { "" };
        let line = format!("{drill}{:>5}  {at}  {actor:<10} {what}", recorded.seq);
        let line = text::cut(&line, self.app.ui.told_width.min(400));
        let asks = view(&self.tape).map_or(0, |view| view.wants.len());
        let asks = if asks > 0 {
            paint(DIM, &format!("  [{}]", counted(asks, "want")))
        } else {
            String::new()
        };
        let line = format!("{line}{asks}");
        if data {
            return self.app.ui.data(&line);
        }
        self.app.ui.say(&line);
        Ok(())
    }
}

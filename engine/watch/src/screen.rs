//! What stands on the screen: pure. Keys and news go in, wishes come out.

use std::collections::VecDeque;

use backout_core::command::Ask as CoreAsk;
use backout_core::event::{Actor, Recorded};
use backout_core::evolve;
use backout_core::id::{RunId, StepId, Timestamp};
use backout_core::state::RunState;
use backout_server::view::{
    EarlierView, Leading, Listed, OFFERS, Offer, RunFacts, RunView, StepView, offers, offers_on,
    run_view, time_view, withheld,
};
use backout_server::wire::EventsPage;

use crate::form::{About, Form};
use crate::tree::{Branch, tree};

/// Events kept for the log; `backout history` has all.
const LOG_MAX: usize = 500;

/// What came from the engine.
#[derive(Debug)]
pub enum News {
    /// The list of runs.
    Runs(Vec<Listed>),
    /// What there is to read of the run that is followed.
    Events(RunId, Box<EventsPage>),
    /// Nothing came: why.
    Silent(String),
    /// A command was recorded.
    Recorded {
        /// The run's last event after it; 0 where it was taken up.
        seq: u64,
        /// Whether an engine drives the run.
        driven: bool,
    },
    /// A command was not followed: why, and what to do.
    Refused(String),
}

/// A command to give.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// To which run.
    pub run: RunId,
    /// What.
    pub ask: CoreAsk,
    /// Why.
    pub reason: Option<String>,
    /// Whether the ordinary rules are set aside.
    pub break_glass: bool,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Follow this run from its beginning; nothing is to read the list alone.
    Follow(Option<RunId>),
    /// Give a command.
    Ask(Box<Ask>),
    /// End.
    Quit,
}

/// A run that is followed.
#[derive(Debug)]
pub struct Followed {
    pub(crate) run: RunId,
    pub(crate) state: Option<RunState>,
    pub(crate) view: Option<RunView>,
    pub(crate) driven: bool,
    /// Whether anybody leads an exercise where the events come from.
    led: bool,
    /// What earlier runs took.
    earlier: Option<EarlierView>,
    pub(crate) log: VecDeque<Recorded>,
    pub(crate) tree: Vec<Branch>,
    /// The chosen step, by its place in the tree.
    pub(crate) chosen: usize,
    /// Whether a person chose it: else it follows what wants a person.
    touched: bool,
    /// Lines that the detail is scrolled down.
    pub(crate) scroll: u16,
}

/// What lies over the screen.
#[derive(Debug)]
pub(crate) enum Over {
    /// Every command, with the key that gives it.
    Menu { offers: Vec<Offer>, at: usize },
    /// A command about to be given.
    Form(Box<Form>),
    /// The keys.
    Help,
}

/// The screen.
#[derive(Debug)]
pub struct Screen {
    /// What is watched.
    pub(crate) place: String,
    /// Who acts.
    pub(crate) actor: Actor,
    pub(crate) runs: Vec<Listed>,
    /// The chosen run in the list.
    pub(crate) at: usize,
    pub(crate) followed: Option<Followed>,
    pub(crate) over: Option<Over>,
    /// When the engine was last heard.
    pub(crate) heard: Option<Timestamp>,
    /// Why nothing comes now.
    pub(crate) silent: Option<String>,
    /// What became of the last command.
    pub(crate) said: Option<(bool, String)>,
    pub(crate) now: Timestamp,
    /// Whether the log has the room of the tree and the step.
    pub(crate) log_wide: bool,
}

impl Followed {
    fn new(run: RunId) -> Self {
        Self {
            run,
            state: None,
            view: None,
            driven: false,
            led: false,
            earlier: None,
            log: VecDeque::new(),
            tree: Vec::new(),
            chosen: 0,
            touched: false,
            scroll: 0,
        }
    }

    /// The position after the last event that is known.
    pub(crate) fn next(&self) -> u64 {
        self.state.as_ref().map_or(1, |state| state.seq.0 + 1)
    }

    fn take(&mut self, events: Vec<Recorded>) -> Result<(), String> {
        for recorded in events {
            if recorded.seq.0 < self.next() {
                continue;
            }
            evolve(&mut self.state, &recorded).map_err(|error| error.to_string())?;
            self.log.push_back(recorded);
        }
        while self.log.len() > LOG_MAX {
            self.log.pop_front();
        }
        Ok(())
    }

    fn look(&mut self, now: Timestamp) {
        let Some(state) = &self.state else { return };
        let leading = if self.led { Leading::Somebody } else { Leading::Nobody };
        let driven = self.driven;
        let facts = RunFacts { now, driven, leading, head: None, best_guarantee: &|_| None };
        let view = self.timed(run_view(state, &facts), state, now);
        let chosen = self.chosen_step().map(|step| step.id.clone());
        if self.tree.len() != state.steps.len() {
            self.tree = tree(&state.order);
        }
        self.view = Some(view);
        match chosen.filter(|_| self.touched) {
            Some(id) => self.choose(&id),
            None => self.choose_wanted(),
        }
    }

    /// The view with the time left by what earlier runs took, as every face tells it.
    fn timed(&self, view: RunView, state: &RunState, now: Timestamp) -> RunView {
        match &self.earlier {
            Some(earlier) if !earlier.is_empty() => {
                RunView { time: Some(time_view(state, now, earlier)), ..view }
            }
            Some(_) | None => view,
        }
    }

    /// The chosen step.
    pub(crate) fn chosen_step(&self) -> Option<&StepView> {
        let branch = self.tree.get(self.chosen)?;
        self.view.as_ref()?.steps.get(branch.step.0)
    }

    fn place_of(&self, id: &str) -> Option<usize> {
        let steps = &self.view.as_ref()?.steps;
        self.tree
            .iter()
            .position(|branch| steps.get(branch.step.0).is_some_and(|step| step.id == id))
    }

    fn choose(&mut self, id: &str) {
        self.chosen = self.place_of(id).unwrap_or(0);
    }

    /// What wants a person first, else what moves.
    fn choose_wanted(&mut self) {
        let Some(view) = &self.view else { return };
        let wants = view.wants.iter().map(|want| &want.step);
        let first = wants.chain(&view.next).find_map(|id| self.place_of(id));
        if let Some(place) = first {
            self.chosen = place;
        }
    }

    /// To the next step that wants a person.
    pub(crate) fn next_want(&mut self) {
        let Some(view) = &self.view else { return };
        let mut places: Vec<usize> =
            view.wants.iter().filter_map(|want| self.place_of(&want.step)).collect();
        places.sort_unstable();
        let next = places.iter().find(|place| **place > self.chosen).or(places.first());
        if let Some(place) = next.copied() {
            self.go_to(place);
        }
    }

    /// To a line of the tree.
    pub(crate) fn go_to(&mut self, place: usize) {
        self.chosen = place.min(self.tree.len().saturating_sub(1));
        self.touched = true;
        self.scroll = 0;
    }

    /// The chosen step's id.
    fn step_id(&self) -> Option<StepId> {
        self.chosen_step().map(|step| StepId::from(step.id.as_str()))
    }
}

impl Screen {
    /// A screen for somebody who watches a place.
    pub fn new(place: impl Into<String>, actor: Actor, now: Timestamp) -> Self {
        Self {
            place: place.into(),
            actor,
            runs: Vec::new(),
            at: 0,
            followed: None,
            over: None,
            heard: None,
            silent: None,
            said: None,
            now,
            log_wide: false,
        }
    }

    /// Begins with one run.
    pub fn follow(&mut self, run: RunId) -> Wish {
        self.followed = Some(Followed::new(run.clone()));
        self.over = None;
        Wish::Follow(Some(run))
    }

    /// Time passed.
    pub fn tick(&mut self, now: Timestamp) {
        self.now = now;
        if let Some(followed) = &mut self.followed {
            followed.look(now);
        }
    }

    /// The position from which the followed run is read on.
    pub fn next(&self) -> u64 {
        self.followed.as_ref().map_or(1, Followed::next)
    }

    /// Takes what came.
    pub fn news(&mut self, news: News) {
        if !matches!(news, News::Silent(_)) {
            self.heard = Some(self.now);
            self.silent = None;
        }
        match news {
            News::Runs(runs) => self.list(runs),
            News::Events(run, page) => self.events(&run, *page),
            News::Silent(why) => self.silent = Some(why),
            News::Recorded { seq: 0, .. } => self.said = Some((true, "it goes on".to_owned())),
            News::Recorded { seq, driven: true } => {
                self.said = Some((true, format!("recorded as event {seq}")));
            }
            News::Recorded { seq, driven: false } => {
                let said =
                    format!("recorded as event {seq}; no engine drives the run: R resumes it");
                self.said = Some((true, said));
            }
            News::Refused(why) => self.said = Some((false, why)),
        }
    }

    fn list(&mut self, runs: Vec<Listed>) {
        let chosen = self.runs.get(self.at).map(|listed| listed.run.clone());
        self.at = chosen.and_then(|run| runs.iter().position(|l| l.run == run)).unwrap_or(0);
        self.runs = runs;
    }

    fn events(&mut self, run: &RunId, page: EventsPage) {
        let Some(followed) = self.followed.as_mut().filter(|followed| followed.run == *run) else {
            return;
        };
        // Who tells the time leads an exercise, where it is one.
        (followed.driven, followed.led) = (page.driven, page.now.is_some());
        if page.earlier.is_some() {
            followed.earlier = page.earlier;
        }
        if let Err(why) = followed.take(page.events) {
            self.silent = Some(why);
            return;
        }
        followed.look(self.now);
    }

    /// The commands that may be given now, to the step that is chosen and to the run.
    pub(crate) fn offers(&self) -> Vec<Offer> {
        let Some(followed) = &self.followed else { return Vec::new() };
        let Some(state) = &followed.state else { return Vec::new() };
        let on_step = followed.step_id().map(|step| offers_on(state, &step, self.now, &self.actor));
        let on_run = offers(state, self.now, &self.actor, followed.driven);
        let all = on_step.into_iter().flatten().chain(on_run).collect();
        let is_record = followed.view.as_ref().is_some_and(RunView::is_record);
        if is_record { withheld(all) } else { all }
    }

    /// Opens the form of a command; where the core would say no, says that instead.
    pub(crate) fn open(&mut self, word: &str) {
        let Some(offer) = self.offers().into_iter().find(|offer| offer.word == word) else {
            return;
        };
        let Some(offered) = OFFERS.iter().find(|offered| offered.word == word) else { return };
        if let Some(why) = offer.refused {
            let help = offer.help.map(|help| format!("; {help}")).unwrap_or_default();
            self.said = Some((false, format!("{}: {why}{help}", offered.label)));
            self.over = None;
            return;
        }
        let about = self.about(offered.on_step);
        self.said = None;
        self.over = Some(Over::Form(Box::new(Form::new(offered, about))));
    }

    fn about(&self, on_step: bool) -> About {
        let Some(followed) = &self.followed else { return About::default() };
        let locks = followed.view.as_ref().map(|view| view.locks.clone()).unwrap_or_default();
        let Some(step) = followed.chosen_step().filter(|_| on_step) else {
            return About { locks, ..About::default() };
        };
        let planned = followed.state.as_ref().and_then(|state| {
            let (_, planned, _) = state.find(&StepId::from(step.id.as_str()))?;
            Some(planned.with.clone())
        });
        let hazards = step.hazards.iter().map(|h| format!("! hazard {}: {}", h.code, h.text));
        About {
            step: Some(step.id.clone()),
            consent: step.wait.as_ref().and_then(|wait| wait.consent.clone()),
            shown: step.difference.iter().cloned().chain(hazards).collect(),
            with: planned.unwrap_or_default(),
            locks,
        }
    }

    /// Sends the form that is open.
    pub(crate) fn send(&mut self) -> Option<Wish> {
        let run = self.followed.as_ref()?.run.clone();
        let Some(Over::Form(form)) = &mut self.over else { return None };
        match form.ask() {
            Err(wrong) => {
                form.wrong = Some(wrong);
                None
            }
            Ok(ask) => {
                let (reason, break_glass) = (form.reason(), form.offered.break_glass);
                self.over = None;
                self.said = Some((true, "sent, waiting for the record".to_owned()));
                Some(Wish::Ask(Box::new(Ask { run, ask, reason, break_glass })))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyEvent};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::draw::Look;

    const PLAIN: Look = Look { color: false, unicode: true };
    const NOW: Timestamp = Timestamp(1_795_403_000_000);

    /// The journal of a rollback up to where two effects are in doubt and two approvals are asked.
    fn incident() -> Vec<Recorded> {
        let text = include_str!("../../report/tests/fixtures/incident.json");
        let all: Vec<Recorded> = serde_json::from_str(text).unwrap();
        let settled = |recorded: &Recorded| recorded.cause.actor.name == "bea";
        let end = all.iter().position(settled).unwrap();
        all[..end].to_vec()
    }

    fn came(run: RunId, events: Vec<Recorded>) -> News {
        let page = EventsPage { events, driven: true, now: Some(NOW), earlier: None };
        News::Events(run, Box::new(page))
    }

    fn screen() -> Screen {
        let mut screen = Screen::new("/var/lib/backout", Actor::unverified("ann"), NOW);
        let run = RunId::from("x7k2m9q4td");
        screen.follow(run.clone());
        screen.news(came(run, incident()));
        screen.tick(NOW);
        screen
    }

    fn drawn(screen: &Screen, look: Look, (width, height): (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame, look)).unwrap();
        terminal.backend().to_string()
    }

    fn press(screen: &mut Screen, keys: &str) -> Option<Wish> {
        let codes = keys.chars().map(|key| match key {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\u{1b}' => KeyCode::Esc,
            key => KeyCode::Char(key),
        });
        codes.map(|code| screen.key(KeyEvent::from(code))).last().flatten()
    }

    #[test]
    fn a_run_in_80_by_24() {
        insta::assert_snapshot!(drawn(&screen(), PLAIN, (80, 24)));
    }

    #[test]
    fn a_run_on_a_wide_terminal() {
        insta::assert_snapshot!(drawn(&screen(), PLAIN, (140, 40)));
    }

    #[test]
    fn a_run_in_ascii_alone() {
        let look = Look { color: false, unicode: false };
        let text = drawn(&screen(), look, (80, 24));
        let inside: String = text.lines().map(|line| line.trim_matches('"')).collect();
        let foreign: String = inside.chars().filter(|c| !c.is_ascii()).collect();
        // The lines between the parts are the terminal's own.
        assert_eq!(foreign.replace(['\u{2500}', '\u{2502}', '\u{250c}'], ""), "", "{text}");
    }

    #[test]
    fn the_list_of_runs() {
        let mut screen = Screen::new("/var/lib/backout", Actor::unverified("ann"), NOW);
        assert!(drawn(&screen, PLAIN, (80, 5)).contains("asking for the runs"));
        let one = self::screen();
        let view = one.followed.unwrap().view.unwrap();
        let other = Listed {
            run: "aaaaaaaaaa".to_owned(),
            state: "succeeded".to_owned(),
            break_glass: true,
            ..view.listed()
        };
        screen.news(News::Runs(vec![view.listed(), other]));
        press(&mut screen, "j");
        insta::assert_snapshot!(drawn(&screen, PLAIN, (80, 8)));
        let wish = press(&mut screen, "\n");
        assert_eq!(wish, Some(Wish::Follow(Some("aaaaaaaaaa".into()))));
    }

    #[test]
    fn the_commands_and_their_reasons_why_not() {
        let mut screen = screen();
        press(&mut screen, "\n");
        insta::assert_snapshot!(drawn(&screen, PLAIN, (80, 24)));
    }

    #[test]
    fn a_command_asks_for_its_reason_before_it_is_given() {
        let mut screen = screen();
        assert_eq!(screen.followed.as_ref().unwrap().chosen_step().unwrap().id, "checkout_old");
        press(&mut screen, "d");
        insta::assert_snapshot!(drawn(&screen, PLAIN, (80, 24)));
        press(&mut screen, "three pods answer\t\t\n");
        assert!(drawn(&screen, PLAIN, (80, 24)).contains("write why"));
        let Some(Wish::Ask(ask)) = press(&mut screen, "I looked\n") else { panic!() };
        assert_eq!(ask.reason.as_deref(), Some("I looked"));
        let CoreAsk::Settle { step, evidence, .. } = ask.ask else { panic!() };
        assert_eq!(
            (step.as_str(), evidence.as_deref()),
            ("checkout_old", Some("three pods answer"))
        );
        assert!(screen.over.is_none());
        screen.news(News::Recorded { seq: 77, driven: true });
        assert!(drawn(&screen, PLAIN, (80, 24)).contains("recorded as event 77"));
    }

    #[test]
    fn what_is_approved_is_what_was_shown() {
        let mut screen = screen();
        let step =
            |screen: &Screen| screen.followed.as_ref().unwrap().chosen_step().unwrap().clone();
        let wants = screen.followed.as_ref().unwrap().view.as_ref().unwrap().wants.len();
        for _ in 0..wants {
            if step(&screen).id != "index_drop" {
                press(&mut screen, "w");
            }
        }
        let consent = step(&screen).wait.unwrap().consent;
        assert!(consent.is_some());
        press(&mut screen, "a");
        let Some(Wish::Ask(ask)) = press(&mut screen, "\n") else { panic!() };
        assert_eq!(ask.ask, CoreAsk::Approve { step: "index_drop".into(), consent });
    }

    #[test]
    fn what_is_not_possible_says_why() {
        let mut screen = screen();
        assert_eq!(press(&mut screen, "a"), None);
        assert!(screen.over.is_none());
        let text = drawn(&screen, PLAIN, (100, 24));
        assert!(text.contains("no: Approve: `checkout_old` is in-doubt"), "{text}");
    }

    #[test]
    fn silence_is_told() {
        let mut screen = screen();
        assert!(drawn(&screen, PLAIN, (80, 24)).contains("live"));
        screen.tick(NOW.plus_ms(30_000));
        assert!(drawn(&screen, PLAIN, (80, 24)).contains("STALE since"));
        screen.news(came("x7k2m9q4td".into(), Vec::new()));
        assert!(drawn(&screen, PLAIN, (80, 24)).contains("live"));
        screen.news(News::Silent("no answer: connection refused".to_owned()));
        let text = drawn(&screen, PLAIN, (80, 24));
        assert!(text.contains("STALE since") && text.contains("connection refused; trying again"));
    }

    #[test]
    fn the_time_left_is_told_by_what_earlier_runs_took() {
        let mut screen = screen();
        let steps = &screen.followed.as_ref().unwrap().view.as_ref().unwrap().steps;
        let took = steps.iter().map(|step| (step.id.as_str().into(), (60_000, 120_000))).collect();
        let earlier = Some(EarlierView { runs: 4, drills: 0, took });
        let page = EventsPage { events: Vec::new(), driven: true, now: Some(NOW), earlier };
        screen.news(News::Events("x7k2m9q4td".into(), Box::new(page)));
        let text = drawn(&screen, PLAIN, (160, 24));
        assert!(text.contains("left by 4 earlier runs"), "{text}");
        screen.tick(NOW.plus_ms(1));
        assert!(drawn(&screen, PLAIN, (160, 24)).contains("left by 4 earlier runs"));
    }

    #[test]
    fn nothing_is_offered_to_the_record_of_an_exercise() {
        let mut screen = Screen::new("/var/lib/backout", Actor::unverified("ann"), NOW);
        let (run, mut events) = (RunId::from("x7k2m9q4td"), incident());
        screen.follow(run.clone());
        for recorded in &mut events {
            if let backout_core::event::Event::RunCreated { plan, .. } = &mut recorded.event {
                plan.labels.insert("drill".to_owned(), "shop-down".to_owned());
            }
        }
        screen.news(came(run.clone(), events));
        assert!(screen.offers().iter().any(|offer| offer.refused.is_none()), "it goes on");
        // Whoever led it is gone: what is read now comes from the store.
        let page = EventsPage { events: Vec::new(), driven: false, now: None, earlier: None };
        screen.news(News::Events(run, Box::new(page)));
        assert!(screen.offers().iter().all(|offer| offer.refused.is_some()));
        let text = drawn(&screen, PLAIN, (80, 24));
        assert!(text.contains("the exercise is over") && !text.contains("R resumes"), "{text}");
    }

    #[test]
    fn it_fits_any_terminal() {
        for size in [(1, 1), (10, 3), (20, 5), (39, 12), (300, 90)] {
            let mut screen = screen();
            drawn(&screen, PLAIN, size);
            for key in ["\n", "?", "d", "n"] {
                press(&mut screen, key);
                drawn(&screen, PLAIN, size);
                press(&mut screen, "\u{1b}");
            }
        }
    }

    #[test]
    fn colour_repeats_what_words_say() {
        let color = Look { color: true, unicode: true };
        assert_eq!(drawn(&screen(), PLAIN, (80, 24)), drawn(&screen(), color, (80, 24)));
    }
}

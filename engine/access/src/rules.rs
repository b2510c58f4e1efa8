//! The one table of who may do what. The layer, the views and the page in the documentation are all
//! made from it; what stands in no row is for admins alone.

use axum::http::Method;
use backout_core::command::Ask;
use backout_core::plan::{BY_HAND_ACTION, PlanStep};
use serde_json::Value;

use crate::role::Role;

/// Which part of the policy file has a say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `run`: who may run this runbook.
    Run,
    /// `approve`: who may approve this step.
    Approve,
    /// None.
    Nothing,
}

/// One thing that can be asked of a run.
#[derive(Clone, Copy, Debug)]
pub struct AskRule {
    /// The word of [`backout_core::command::Ask`].
    pub ask: &'static str,
    /// Roles that may, beside admin.
    pub roles: &'static [Role],
    /// Roles that may where they break the glass: with a reason, against the policy, and marked on
    /// every later view.
    pub broken: &'static [Role],
    /// What the policy may say about it.
    pub part: Part,
    /// What it does.
    pub does: &'static str,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Everybody, also a stranger.
    Nothing,
    /// Somebody with one of these roles, or an admin.
    Roles(&'static [Role]),
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub struct RouteRule {
    /// `GET` stands for `HEAD` too.
    pub method: &'static str,
    /// As the router has it, `/api/v1/runs/{run}`; a `*` at the end is any rest.
    pub path: &'static str,
    /// Who may.
    pub needs: Needs,
    /// What it is for.
    pub does: &'static str,
}

const ANYBODY: &[Role] = &[Role::Viewer, Role::Operator, Role::Approver];
const OPERATOR: &[Role] = &[Role::Operator];
const APPROVER: &[Role] = &[Role::Approver];
const ACTING: &[Role] = &[Role::Operator, Role::Approver];

const fn ask(ask: &'static str, roles: &'static [Role], part: Part, does: &'static str) -> AskRule {
    AskRule { ask, roles, broken: roles, part, does }
}

const fn ask_broken(rule: AskRule, broken: &'static [Role]) -> AskRule {
    AskRule { broken, ..rule }
}

/// To make a run of a runbook that the server knows.
pub const START: AskRule =
    ask("start", OPERATOR, Part::Run, "start a runbook that the server knows");
/// To make a run of a plan that the caller brings. It may hold any command, under any name.
pub const START_OWN: AskRule = ask("start-own", &[], Part::Run, "start a plan of one's own");
/// [`Ask::Retry`] with another input.
pub const RETRY_WITH: AskRule =
    ask("retry-with", OPERATOR, Part::Run, "try a step again with another input");
/// [`Ask::Insert`] of nothing but steps that a person does by hand.
pub const INSERT_BY_HAND: AskRule =
    ask("insert-by-hand", OPERATOR, Part::Run, "add steps that a person does by hand");

/// What is told apart of one command.
pub const TOLD_APART: &[&AskRule] = &[&START, &START_OWN, &RETRY_WITH, &INSERT_BY_HAND];

/// Everything that can be asked of a run.
pub const ASKS: &[AskRule] = &[
    ask("pause", OPERATOR, Part::Run, "start nothing new until resumed"),
    ask("resume", OPERATOR, Part::Run, "go on, also after a failure or an abort"),
    ask("hold", OPERATOR, Part::Run, "hold a branch back"),
    ask("free", OPERATOR, Part::Run, "free a branch that is held back"),
    ask("part", OPERATOR, Part::Run, "do only a part for now"),
    ask_broken(ask("approve", APPROVER, Part::Approve, "say yes to what a step would do"), ACTING),
    ask("reject", APPROVER, Part::Approve, "say no: the step fails"),
    ask("retry", OPERATOR, Part::Run, "try a step again"),
    ask("skip", OPERATOR, Part::Run, "leave a step out"),
    ask("settle", OPERATOR, Part::Run, "say what became of a step in doubt"),
    ask("abort", OPERATOR, Part::Run, "finish what is in flight, start nothing more"),
    ask("undo", OPERATOR, Part::Run, "put back what was made"),
    ask("note", ACTING, Part::Nothing, "write something into the record"),
    ask("close", OPERATOR, Part::Run, "end it for good"),
    ask("insert", &[], Part::Run, "add any steps to the plan"),
    ask("yield", OPERATOR, Part::Run, "let go of locks, so that another run may take them"),
    ask("hand-over", OPERATOR, Part::Run, "offer the command of the run to somebody"),
    ask("take-command", OPERATOR, Part::Run, "accept the command that was offered"),
    ask(
        "supersede",
        OPERATOR,
        Part::Run,
        "end it in favour of a run that goes on, which is started with it",
    ),
];

const fn get(path: &'static str, does: &'static str) -> RouteRule {
    RouteRule { method: "GET", path, needs: Needs::Roles(ANYBODY), does }
}

const fn post(path: &'static str, roles: &'static [Role], does: &'static str) -> RouteRule {
    RouteRule { method: "POST", path, needs: Needs::Roles(roles), does }
}

const fn open(method: &'static str, path: &'static str, does: &'static str) -> RouteRule {
    RouteRule { method, path, needs: Needs::Nothing, does }
}

/// Every route, but those that only read: each `GET` without a row of its own is for everybody with
/// any role.
pub const ROUTES: &[RouteRule] = &[
    open("GET", "/healthz", "whether the process lives"),
    open("GET", "/login", "the form that takes a token"),
    open("POST", "/login", "keeps the token in the browser"),
    open("POST", "/logout", "forgets it"),
    open("GET", "/page/*", "the style and the script of the page, the same everywhere"),
    get("/exercise", "an exercise, as far as one's part in it may see it"),
    get("*", "everything that reads: runs, events, views, metrics, the page"),
    post("/api/v1/runs", &[], "start a plan of one's own"),
    post("/api/v1/runbooks/{runbook}/plan", ANYBODY, "see what a runbook would do"),
    post("/api/v1/runbooks/{runbook}/runs", OPERATOR, "start a runbook"),
    post("/api/v1/locks", OPERATOR, "hold targets, so that no run changes them"),
    post("/api/v1/runs/{run}/resume", OPERATOR, "take a run up"),
    post("/api/v1/runs/{run}/ask", ACTING, "give a command; the table of commands says which"),
    post("/runs/{run}/ask", ACTING, "the same by a form of the page"),
    post("/start", OPERATOR, "start a runbook by a form of the page"),
    post("/locks", OPERATOR, "hold targets by a form of the page"),
    post("/api/v1/exercise", ANYBODY, "a line of an exercise; the table of parts says which"),
    post("/exercise", ANYBODY, "the same by a form of the page"),
    post("/api/v1/exercise/emergency", ANYBODY, "end an exercise, since something real happened"),
    post("/exercise/emergency", ANYBODY, "the same by a form of the page"),
];

/// The row of a route; nothing where it has none.
pub fn route(method: &Method, path: &str) -> Option<&'static RouteRule> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    ROUTES.iter().find(|rule| rule.method == method.as_str() && covers(rule.path, path))
}

fn covers(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => pattern == path,
    }
}

/// The row of a command; nothing where it has none.
pub fn of_word(word: &str) -> Option<&'static AskRule> {
    TOLD_APART.iter().copied().chain(ASKS).find(|rule| rule.ask == word)
}

/// The word of a command in the table.
pub fn word(ask: &Ask) -> String {
    match ask {
        Ask::Retry { with: Some(_), .. } => RETRY_WITH.ask.to_owned(),
        Ask::Insert { steps, .. } if steps.iter().all(is_by_hand) => INSERT_BY_HAND.ask.to_owned(),
        other => {
            let value = serde_json::to_value(other).unwrap_or_default();
            value.get("ask").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
    }
}

fn is_by_hand(step: &PlanStep) -> bool {
    step.action.as_str() == BY_HAND_ACTION
}

/// Whether one of these roles is among those that may. Admins always may.
pub fn allows(needed: &[Role], roles: &[Role]) -> bool {
    roles.iter().any(|role| *role == Role::Admin || needed.contains(role))
}

/// Roles in words, for people.
pub(crate) fn listed(roles: &[Role]) -> String {
    let words: Vec<&str> = roles.iter().chain([&Role::Admin]).map(|role| role.word()).collect();
    words.join(" or ")
}

//! Who sends a request, and how much of what they say about themselves is believed.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use backout_access::{Who, rules};
use backout_core::command::Ask;
use backout_core::event::{Actor, CLAIMED, Cause};
use backout_core::id::CommandId;
use backout_core::plan::Plan;
use backout_core::state::RunState;
use serde_json::{Map, Value};

use crate::problem::Problem;
use crate::view::{Offer, Reason, ask_of};
use crate::wire::By;

/// The name of somebody who gave none.
const ANONYMOUS: &str = "anonymous";

/// Where a request came in. [`crate::router`] puts it into every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The control socket: only the owner of the store's folder reaches it, so that the name in a
    /// request is believed as far as the operating system's own users are.
    Socket,
    /// A port: anybody on the machine reaches it, or on the network. Only what a layer in front of
    /// the routes vouches for is believed.
    Port,
}

/// The sender of one request.
#[derive(Clone, Debug)]
pub struct Sender {
    door: Door,
    /// Whom the layer in front of the routes vouches for.
    who: Option<Who>,
    /// The name of the command by `Idempotency-Key`, where the body gives none.
    key: Option<CommandId>,
}

/// The command's name that stands in the request's head.
#[derive(Clone, Debug)]
pub(crate) struct CommandKey(pub(crate) CommandId);

impl<S: Send + Sync> FromRequestParts<S> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let extensions = &parts.extensions;
        Ok(Self {
            // What no router of ours has marked is believed least.
            door: extensions.get().copied().unwrap_or(Door::Port),
            who: extensions.get().cloned(),
            key: extensions.get::<CommandKey>().map(|key| key.0.clone()),
        })
    }
}

impl Sender {
    /// As the events that follow carry it.
    pub fn cause(&self, by: &By) -> Result<Cause, Problem> {
        let command = by.command.clone().or_else(|| self.key.clone());
        if let Some(who) = &self.who {
            return Ok(who.cause(command, by.reason.clone(), by.break_glass)?);
        }
        let said = Cause { command, ..by.cause() };
        Ok(match self.door {
            Door::Socket => said,
            Door::Port => Cause { actor: claimed(&by.actor), ..said },
        })
    }

    /// Whether this one may start a run of a plan: of a runbook that the engine knows, or of one that
    /// it brings. That may hold any command, which then runs as the engine's own user: on a port it
    /// takes somebody who is vouched for.
    pub fn may_start(&self, plan: &Plan, known: bool, cause: &Cause) -> Result<(), Problem> {
        if !known {
            self.may_bring_steps()?;
        }
        match &self.who {
            Some(who) => Ok(who.may_start(plan, known, cause.break_glass)?),
            None => Ok(()),
        }
    }

    /// Whether this one may take a run up.
    pub fn may_resume(&self, run: &RunState, cause: &Cause) -> Result<(), Problem> {
        match &self.who {
            Some(who) => Ok(who.may_resume(&run.plan, &run.starter.name, cause.break_glass)?),
            None => Ok(()),
        }
    }

    /// Whether this one may give a command to a run.
    pub fn may_ask(&self, ask: &Ask, run: &RunState, cause: &Cause) -> Result<(), Problem> {
        let by_hand = rules::word(ask) == rules::INSERT_BY_HAND.ask;
        if matches!(ask, Ask::Insert { .. } | Ask::Retry { with: Some(_), .. }) && !by_hand {
            self.may_bring_steps()?;
        }
        match &self.who {
            Some(who) => Ok(who.may_ask(ask, &run.plan, &run.starter.name, cause.break_glass)?),
            None => Ok(()),
        }
    }

    /// As whom an approval of this one would count.
    pub(crate) fn actor(&self) -> Actor {
        self.who.as_ref().map_or_else(|| claimed(""), Who::actor)
    }

    /// An offer, refused with the reason where this one may not take it up.
    pub(crate) fn allowed(&self, offer: Offer, run: &RunState) -> Offer {
        let (Some(who), Some(offered), None) = (&self.who, offer.offered(), &offer.refused) else {
            return offer;
        };
        let text = Map::from_iter([("text".to_owned(), Value::from(""))]);
        let more = if offered.reason == Reason::Text { text } else { Map::new() };
        let Ok(ask) = ask_of(offered, offer.step.as_deref(), more) else { return offer };
        match who.may_ask(&ask, &run.plan, &run.starter.name, offered.break_glass) {
            Ok(()) => offer,
            Err(why) => Offer { refused: Some(why.detail), help: why.help, ..offer },
        }
    }

    fn may_bring_steps(&self) -> Result<(), Problem> {
        if self.door == Door::Socket || self.who.is_some() {
            return Ok(());
        }
        let detail = "what an engine has not read itself takes the control socket, or a token";
        let help = "start a runbook that the engine knows: `backout serve --runbooks DIR`";
        Err(Problem::new(StatusCode::FORBIDDEN, "not allowed", detail).helped(help))
    }
}

/// A name that nobody vouches for: it is no user's name, so that no approval counts by it, and it has
/// no roles.
fn claimed(name: &str) -> Actor {
    let name = match name.trim() {
        "" => ANONYMOUS.to_owned(),
        name => format!("{name}{CLAIMED}"),
    };
    Actor::unverified(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(door: Door, by: &By) -> Cause {
        Sender { door, who: None, key: Some("key-1".into()) }.cause(by).unwrap()
    }

    fn by(actor: &str) -> By {
        By { actor: actor.into(), ..By::default() }
    }

    #[test]
    fn a_name_is_believed_on_the_control_socket_only() {
        let root = cause(Door::Socket, &by("root")).actor;
        assert_eq!((root.name.as_str(), root.verified), ("root", false));
        assert!(root.roles.contains(&"root".to_owned()), "{root:?}");
        let claimed = cause(Door::Port, &by("root")).actor;
        assert_eq!(claimed, Actor::unverified("root (claimed)"));
        assert_eq!(cause(Door::Port, &by(" ")).actor, Actor::unverified("anonymous"));
    }

    #[test]
    fn steps_of_ones_own_are_not_taken_from_strangers() {
        let brings = |door| Sender { door, who: None, key: None }.may_bring_steps();
        assert_eq!(brings(Door::Socket), Ok(()));
        assert_eq!(brings(Door::Port).unwrap_err().status, 403);
    }

    #[test]
    fn the_bodys_own_name_of_a_command_goes_before_the_heads() {
        let named = By { command: Some("mine".into()), ..by("ann") };
        assert_eq!(cause(Door::Socket, &named).command, Some("mine".into()));
        assert_eq!(cause(Door::Socket, &by("ann")).command, Some("key-1".into()));
    }
}

//! Points at which a debug build kills itself, so that tests can show every window of a crash on
//! the real binary. A release build has none.

use backout_core::event::{Event, Recorded};
use backout_core::id::StepId;

/// Where in the life of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Its intent is decided and not yet handed to the store.
    BeforeIntent,
    /// Its intent is durable, and it is about to be sent.
    AfterIntent,
    /// It is made, and its outcome is not yet handed to the store.
    AfterEffect,
    /// Its outcome is durable.
    AfterOutcome,
}

/// Where to die.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    /// Where in the life of an effect.
    pub window: Window,
    /// Of which step.
    pub step: StepId,
}

impl CrashPoint {
    /// The environment variable that a debug build reads: `window:step`.
    pub const VARIABLE: &'static str = "BACKOUT_TEST_CRASH";

    /// Reads `before-intent:step`, `after-intent:step`, `after-effect:step`, `after-outcome:step`.
    pub fn parse(text: &str) -> Option<Self> {
        let (window, step) = text.split_once(':')?;
        let window = match window {
            "before-intent" => Window::BeforeIntent,
            "after-intent" => Window::AfterIntent,
            "after-effect" => Window::AfterEffect,
            "after-outcome" => Window::AfterOutcome,
            _ => return None,
        };
        Some(Self { window, step: step.into() })
    }

    /// The point that the environment names; none in a release build.
    pub fn from_environment() -> Option<Self> {
        if cfg!(debug_assertions) {
            std::env::var(Self::VARIABLE).ok().as_deref().and_then(Self::parse)
        } else {
            None
        }
    }

    pub(crate) fn at(point: Option<&Self>, window: Window, step: &StepId) {
        if point.is_some_and(|point| point.window == window && point.step == *step) {
            die();
        }
    }

    pub(crate) fn at_events(point: Option<&Self>, window: Window, recorded: &[Recorded]) {
        for recorded in recorded {
            match (&recorded.event, window) {
                (Event::EffectIntended { sending }, Window::BeforeIntent)
                | (Event::EffectDone { sending, .. }, Window::AfterOutcome) => {
                    Self::at(point, window, &sending.step);
                }
                _ => {}
            }
        }
    }
}

/// SIGKILL, as from outside: nothing is cleaned up.
pub fn die() {
    let own = rustix::process::getpid();
    if rustix::process::kill_process(own, rustix::process::Signal::KILL).is_err() {
        std::process::abort();
    }
}

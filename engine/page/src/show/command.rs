//! The form of one command: what it does, the reason, and the button.

use backout_server::view::{Field, Offer, Offered, Reason};
use maud::{Markup, html};
use serde_json::Value;

use super::Frame;

/// About what a form asks.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) frame: &'a Frame,
    pub(super) run: &'a str,
    /// The run's last event that this page shows.
    pub(super) seq: u64,
    /// The digest of what is shown, for an approval.
    pub(super) consent: Option<&'a str>,
    /// What the step's action takes, as the plan says it.
    pub(super) with: Option<&'a Value>,
    /// What the run holds.
    pub(super) locks: &'a [String],
    /// Where on the page it stands: the same command may stand in two places.
    pub(super) place: &'a str,
}

/// The commands that are possible as forms, and the others with the reason why not.
pub(super) fn commands(about: About<'_>, offers: &[Offer]) -> Markup {
    let (not_now, now): (Vec<&Offer>, Vec<&Offer>) =
        offers.iter().partition(|offer| offer.refused.is_some());
    html! {
        div.commands { @for offer in now { (form(about, offer)) } }
        @if !not_now.is_empty() { (refused(about, &not_now)) }
    }
}

/// What is not possible now is shown, with the core's own words.
fn refused(about: About<'_>, offers: &[&Offer]) -> Markup {
    html! {
        details.refused id={ (about.place) "-refused" } {
            summary { "Not possible now (" (offers.len()) ")" }
            ul {
                @for offer in offers {
                    @if let Some(offered) = offer.offered() {
                        li {
                            button type="button" disabled { (offered.label) }
                            " " (offer.refused.as_deref().unwrap_or_default())
                            @if let Some(help) = &offer.help { "; " (help) }
                        }
                    }
                }
            }
        }
    }
}

/// One command: closed it is a button, open it asks for the reason.
pub(super) fn form(about: About<'_>, offer: &Offer) -> Markup {
    let Some(offered) = offer.offered() else { return html! {} };
    let step = offer.step.as_deref().unwrap_or_default();
    let id = format!("{}-{}-{step}", about.place, offered.word);
    html! {
        details.command.{ "do-" (offered.word) } id=(id) data-consent=[about.consent] {
            summary { (offered.label) }
            form method="post" action={ "/runs/" (about.run) "/ask" } {
                p.does { (capital(offered.does)) "." }
                (hidden(about, offered, step))
                @for field in offered.fields { (field_of(about, *field, &id)) }
                (reason(offered, &id))
                button.do type="submit" { (offered.label) @if !step.is_empty() { " " (step) } }
            }
        }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn hidden(about: About<'_>, offered: &Offered, step: &str) -> Markup {
    // Each form names its own sending: one sent twice is followed once.
    let command = format!("{}-{}-{step}", about.frame.command, offered.word);
    html! {
        input type="hidden" name="token" value=(about.frame.token);
        input type="hidden" name="command" value=(command);
        input type="hidden" name="word" value=(offered.word);
        input type="hidden" name="step" value=(step);
        input type="hidden" name="seen" value=(about.seq);
        @if let Some(consent) = about.consent {
            input type="hidden" name="consent" value=(consent);
        }
    }
}

fn field_of(about: About<'_>, field: Field, id: &str) -> Markup {
    html! {
        @match field {
            Field::Consent => {}
            Field::Evidence => label {
                "What shows it (kept as evidence)"
                textarea name="evidence" id={ (id) "-evidence" } rows="2"
                    placeholder="what you looked at and saw" {}
            },
            Field::Output => label {
                "Outputs that later steps use, one name=value a line; may stay empty"
                textarea name="output" id={ (id) "-output" } rows="1" {}
            },
            Field::With => label {
                "Its input, as JSON"
                textarea name="with" id={ (id) "-with" } rows="6" required spellcheck="false" {
                    (about.with.and_then(|with| serde_json::to_string_pretty(with).ok()).unwrap_or_default())
                }
            },
            Field::To => label {
                "To whom"
                input name="to" id={ (id) "-to" } required autocomplete="off";
            },
            Field::Targets => label {
                "Which, one a line"
                textarea name="targets" id={ (id) "-targets" } rows="2" required spellcheck="false" {
                    (about.locks.join("\n"))
                }
            },
            Field::Name => label {
                "What it is called: small letters, digits and _"
                input name="name" id={ (id) "-name" } required pattern="[a-z][a-z0-9_]*"
                    autocomplete="off" spellcheck="false";
            },
            Field::Does => label {
                "What the person does"
                textarea name="does" id={ (id) "-does" } rows="2" required {}
            },
            Field::After => label {
                "After these steps; may stay empty"
                input name="after" id={ (id) "-after" } autocomplete="off" spellcheck="false";
            },
            Field::Before => label {
                "Before these steps, which have not begun; may stay empty"
                input name="before" id={ (id) "-before" } autocomplete="off" spellcheck="false";
            },
        }
    }
}

fn reason(offered: &Offered, id: &str) -> Markup {
    let label = match offered.reason {
        Reason::Must => "Reason (it stands in the record)",
        Reason::May => "Reason (it stands in the record); may stay empty",
        Reason::Text => "Note",
    };
    html! {
        label {
            (label)
            textarea name="reason" id={ (id) "-reason" } rows="2"
                required[offered.reason != Reason::May] {}
        }
    }
}

//! The form of one command: what it does, the reason, and the button.

use backout_core::limits::EVIDENCE_BYTES_MAX;
use backout_server::view::{Field, Offer, Offered, Reason};
use maud::{Markup, html};
use serde_json::Value;

use super::Frame;
use crate::form::Sent;

/// The file that shows evidence is read by the script, whole.
const EVIDENCE_KIB_MAX: usize = EVIDENCE_BYTES_MAX / 1024;

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
    /// The form that was just refused: what was typed into it is not lost.
    pub(super) refused: Option<&'a Sent>,
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
    let typed = about.typed(offered, step);
    html! {
        details.command.{ "do-" (offered.word) } id=(id) data-consent=[about.consent]
            open[typed.is_some()] {
            summary { (offered.label) }
            form method="post" action={ "/runs/" (about.run) "/ask" } {
                p.does { (capital(offered.does)) "." }
                (hidden(about, offered, step))
                @for field in offered.fields { (field_of(about, *field, &id, typed)) }
                (reason(offered, &id, typed))
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

impl<'a> About<'a> {
    /// What was typed into this form, where it was just refused.
    fn typed(&self, offered: &Offered, step: &str) -> Option<&'a Sent> {
        self.refused.filter(|sent| sent.word == offered.word && sent.step == step)
    }
}

fn field_of(about: About<'_>, field: Field, id: &str, typed: Option<&Sent>) -> Markup {
    let was = |of: fn(&Sent) -> &String| typed.map(of).map(String::as_str).unwrap_or_default();
    html! {
        @match field {
            Field::Consent => {}
            Field::Evidence => {
                label {
                    "What shows it (kept as evidence)"
                    textarea name="evidence" id={ (id) "-evidence" } rows="2"
                        placeholder="what you looked at and saw" { (was(|sent| &sent.evidence)) }
                }
                label.by-script hidden {
                    "Or a file of text that shows it, at most " (EVIDENCE_KIB_MAX)
                    " KiB (EVIDENCE_BYTES_MAX)"
                    input type="file" id={ (id) "-file" } data-into={ (id) "-evidence" }
                        data-bytes-max=(EVIDENCE_BYTES_MAX);
                    span.file-said role="status" {}
                }
            }
            Field::Output => label {
                "Outputs that later steps use, one name=value a line; may stay empty"
                textarea name="output" id={ (id) "-output" } rows="1" { (was(|sent| &sent.output)) }
            },
            Field::With => label {
                "Its input, as JSON"
                textarea name="with" id={ (id) "-with" } rows="6" required spellcheck="false" {
                    @match typed {
                        Some(sent) => (sent.with),
                        None => (about.with.and_then(|with| serde_json::to_string_pretty(with).ok()).unwrap_or_default()),
                    }
                }
            },
            Field::To => label {
                "To whom"
                input name="to" id={ (id) "-to" } required autocomplete="off"
                    value=(was(|sent| &sent.to));
            },
            Field::Targets => label {
                "Which, one a line"
                textarea name="targets" id={ (id) "-targets" } rows="2" required spellcheck="false" {
                    (typed.map_or_else(|| about.locks.join("\n"), |sent| sent.targets.clone()))
                }
            },
            Field::Name => label {
                "What it is called: small letters, digits and _"
                input name="name" id={ (id) "-name" } required pattern="[a-z][a-z0-9_]*"
                    value=(was(|sent| &sent.name)) autocomplete="off" spellcheck="false";
            },
            Field::Does => label {
                "What the person does"
                textarea name="does" id={ (id) "-does" } rows="2" required { (was(|sent| &sent.does)) }
            },
            Field::After => label {
                "After these steps; may stay empty"
                input name="after" id={ (id) "-after" } value=(was(|sent| &sent.after)) autocomplete="off" spellcheck="false";
            },
            Field::Before => label {
                "Before these steps, which have not begun; may stay empty"
                input name="before" id={ (id) "-before" } value=(was(|sent| &sent.before)) autocomplete="off" spellcheck="false";
            },
        }
    }
}

fn reason(offered: &Offered, id: &str, typed: Option<&Sent>) -> Markup {
    let label = match offered.reason {
        Reason::Must => "Reason (it stands in the record)",
        Reason::May => "Reason (it stands in the record); may stay empty",
        Reason::Text => "Note",
    };
    html! {
        label {
            (label)
            textarea name="reason" id={ (id) "-reason" } rows="2"
                required[offered.reason != Reason::May] {
                (typed.map(|sent| sent.reason.as_str()).unwrap_or_default())
            }
        }
    }
}

//! What could not be shown or done.

use backout_server::problem::Problem;
use maud::{DOCTYPE, Markup, html};

use super::head;

/// A page that says only what is wrong.
pub(crate) fn page(problem: &Problem) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(&format!("{} - Backout", problem.title)))
            body {
                header.top { a.brand href="/" { "Backout" } }
                main id="main" {
                    h1 { (problem.title) }
                    (card(problem))
                    p { a href="/" { "All runs" } }
                }
            }
        }
    }
}

/// What is wrong, and what to do next.
pub(super) fn card(problem: &Problem) -> Markup {
    html! {
        div.card.is-failed role="alert" {
            p.lead { (problem.detail) }
            @if !problem.lines.is_empty() { ul { @for line in &problem.lines { li { (line) } } } }
            @if let Some(help) = &problem.help { p { "Next: " (help) } }
        }
    }
}

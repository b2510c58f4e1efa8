//! The page of all locks, and holding targets by it.

use axum::extract::{Form, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect};
use backout_core::id::{CommandId, RunId, TargetId};
use backout_server::Sender;
use backout_server::problem::Problem;
use backout_server::view::LockView;
use backout_server::wire::By;
use serde::Deserialize;

use crate::guard;
use crate::routes::{Answer, Page, rendered, with_token};
use crate::show;
use crate::show::locks::Holder;

/// The form that holds targets.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Hold {
    token: String,
    command: String,
    targets: String,
    reason: String,
}

/// Every target that is held.
pub(crate) async fn page(State(page): State<Page>, headers: HeaderMap, sender: Sender) -> Answer {
    let (frame, is_new) = page.frame(&headers, sender)?;
    let token = frame.token.clone();
    let markup = rendered(move || {
        let locks = page.book.face.locks()?;
        let held: Vec<Option<Holder>> = locks.iter().map(|lock| holder(&page, lock)).collect();
        Ok(show::locks::page(&frame, &locks, &held))
    });
    Ok(with_token(&token, is_new, markup.await?))
}

/// Nothing where the run went meanwhile.
fn holder(page: &Page, lock: &LockView) -> Option<Holder> {
    let state = page.book.face.state(&RunId::from(lock.run.as_str())).ok()?;
    Some(Holder { state, targets: vec![lock.target.as_str().into()] })
}

/// The runs that hold what a step waits for.
pub(crate) fn holders(
    page: &Page,
    state: &backout_core::state::RunState,
    step: &str,
) -> Vec<Holder> {
    let wanted = show::locks::holders(state, step).into_iter();
    wanted
        .filter_map(|(run, targets)| {
            Some(Holder { state: page.book.face.state(&run).ok()?, targets })
        })
        .collect()
}

/// Holds targets.
pub(crate) async fn send(
    State(page): State<Page>,
    headers: HeaderMap,
    sender: Sender,
    Form(sent): Form<Hold>,
) -> Answer {
    guard::is_ours(&headers, &sent.token)?;
    let targets: Vec<TargetId> = sent
        .targets
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(TargetId::from)
        .collect();
    let by = By {
        actor: page.given.person.clone(),
        reason: Some(sent.reason.trim().to_owned()),
        command: Some(CommandId::new(format!("page-{}", sent.command))),
        break_glass: false,
    };
    let held: Result<_, Problem> = page.book.face.hold(&sender, &targets, &by).await;
    Ok(Redirect::to(&format!("/runs/{}", held?.run)).into_response())
}

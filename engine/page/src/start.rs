//! Starting a runbook: chosen, given its parameters, seen as a plan, and only then started.

use std::collections::BTreeMap;

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use backout_core::id::CommandId;
use backout_runtime::Start;
use backout_server::Sender;
use backout_server::books::Params;
use backout_server::problem::Problem;
use backout_server::wire::By;
use serde_json::Value;

use crate::guard;
use crate::routes::{Answer, Page, Refused, rendered, with_token};
use crate::show;

/// What begins the name of a field that is a parameter of the runbook.
pub(crate) const PARAM: &str = "p.";

/// The fields of the address or the form, by name.
pub(crate) type Fields = BTreeMap<String, String>;

fn field<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map_or("", |text| text.trim())
}

/// The parameters that were given; an empty one was not.
fn params(fields: &Fields) -> Params {
    let given = fields.iter().filter(|(_, text)| !text.trim().is_empty());
    let params = given.filter_map(|(name, text)| {
        Some((name.strip_prefix(PARAM)?.to_owned(), Value::from(text.trim())))
    });
    params.collect()
}

/// All runbooks; or one, with what it asks for; or its plan.
pub(crate) async fn page(
    State(page): State<Page>,
    headers: HeaderMap,
    sender: Sender,
    Query(fields): Query<Fields>,
) -> Answer {
    let (frame, is_new) = page.frame(&headers, sender)?;
    let (token, face) = (frame.token.clone(), page.book.face.clone());
    let name = field(&fields, "runbook").to_owned();
    if name.is_empty() {
        let markup = rendered(move || {
            let books = face.books().list(face.engine.host());
            Ok(show::start::all(&frame, face.books().is_open(), &books))
        });
        return Ok(with_token(&token, is_new, markup.await?));
    }
    let plan = match field(&fields, "look") {
        "" => None,
        _ => Some(face.plan_book(&name, params(&fields)).await),
    };
    let markup = rendered(move || {
        let book = face.books().view(face.engine.host(), &name)?;
        Ok(show::start::one(&frame, &book, &fields, plan.as_ref()))
    });
    Ok(with_token(&token, is_new, markup.await?))
}

/// Starts what was seen.
pub(crate) async fn send(
    State(page): State<Page>,
    headers: HeaderMap,
    sender: Sender,
    Form(fields): Form<Fields>,
) -> Answer {
    guard::is_ours(&headers, field(&fields, "token"))?;
    started(&page, &sender, &fields).await.map_err(Refused)
}

async fn started(page: &Page, sender: &Sender, fields: &Fields) -> Result<Response, Problem> {
    let (name, face) = (field(fields, "runbook"), &page.book.face);
    let by = By {
        actor: page.given.person.clone(),
        reason: Some(field(fields, "reason").to_owned()).filter(|reason| !reason.is_empty()),
        // A form that is sent twice starts one run.
        command: Some(CommandId::new(format!("page-{}", field(fields, "command")))),
        break_glass: false,
    };
    let cause = sender.cause(&by)?;
    let ready = face.ready_book(name, params(fields)).await?;
    if ready.digest != field(fields, "digest") {
        let detail = format!("runbook `{name}` is not as it was when you saw its plan");
        let problem = Problem::new(StatusCode::CONFLICT, "not the plan that was seen", detail);
        let help = "nothing was started; go back, look at its plan again, and start that";
        return Err(Problem { help: Some(help.to_owned()), ..problem });
    }
    sender.may_start(&ready.plan, true, &cause)?;
    let run = face.new_run(cause.command.as_ref().map(|key| format!("{name}\n{key}")));
    let reply = face.start(run, Start::all(ready.plan, ready.text), cause).await?;
    Ok(Redirect::to(&format!("/runs/{}", reply.run)).into_response())
}

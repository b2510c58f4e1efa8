//! `render`: the runbook as a page that people can read and print.

use std::path::PathBuf;

use backout_core::plan::{Order, Plan, PlanStep, Role};
use backout_runtime::Host;
use backout_runtime::survey::best_guarantee;
use backout_server::graph::{NodeLook, mermaid, svg};
use backout_server::view::{counted, duration};
use backout_tabletop::discussion::failing;
use backout_tabletop::page::{Block, html, markdown};
use clap::ValueEnum;

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::params::{self, ParamArgs};
use crate::runbook_file;

/// Arguments of `render`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The runbook
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    params: ParamArgs,
    /// What to make of it
    #[arg(long, short, value_enum, default_value_t = Format::Markdown)]
    format: Format,
}

/// A page's format.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For a repository
    Markdown,
    /// For a browser, and to print
    Html,
}

/// Writes the page to stdout.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let given = params::read(&args.params)?;
    let host = app.host();
    let plan = runbook_file::load(app, &host, &args.file, &given)?.plan;
    let page = page(&host, &plan)?;
    let text = match args.format {
        Format::Markdown => markdown(&page),
        Format::Html => html(title(&plan), &page),
    };
    app.ui.data(&text)?;
    Ok(Exit::Done)
}

fn title(plan: &Plan) -> &str {
    if plan.title.is_empty() { &plan.name } else { &plan.title }
}

fn page(host: &Host, plan: &Plan) -> Result<Vec<Block>, Failure> {
    let order = Order::of(&plan.steps).map_err(|error| Failure::Internal(error.to_string()))?;
    let mut page = vec![Block::heading(1, title(plan))];
    page.extend((!plan.description.is_empty()).then(|| Block::text(plan.description.clone())));
    page.push(Block::Table(vec!["", ""], facts(plan)));
    page.push(Block::heading(2, "The order"));
    let drawn = svg(plan, &order, |_| NodeLook::default());
    page.push(Block::Drawing { svg: drawn, mermaid: mermaid(plan) });
    page.push(Block::heading(2, "Parameters"));
    let params = plan.params.iter().map(|(name, given)| {
        let value = given.value.as_str().map_or_else(|| given.value.to_string(), str::to_owned);
        vec![name.clone(), if given.secret { format!("secret, {value}") } else { value }]
    });
    page.push(Block::Table(vec!["parameter", "value"], params.collect()));
    page.push(Block::heading(2, "Steps"));
    for step in plan.steps.iter().filter(|step| step.role == Role::Step) {
        of_step(host, step, &mut page);
    }
    recovered(host, plan, &mut page);
    page.push(Block::heading(2, "Without an engine"));
    page.push(Block::text(
        "Each step above names the commands for a person. Of a run that has begun, \
         `backout by-hand RUN` prints what is left to do.",
    ));
    Ok(page)
}

fn facts(plan: &Plan) -> Vec<Vec<String>> {
    let mut rows = vec![vec!["runbook".to_owned(), plan.name.clone()]];
    let mut row = |name: &str, value: Option<String>| {
        rows.extend(value.map(|value| vec![name.to_owned(), value]));
    };
    row("owner", plan.owner.clone());
    row(
        "environment",
        plan.environment.as_ref().map(|one| {
            let protected =
                if one.protected { ", protected: it asks before it starts" } else { "" };
            format!("{}{protected}", one.name)
        }),
    );
    row("reviewed", plan.reviewed.clone());
    row("review by", plan.review_by.clone());
    row(
        "updates",
        plan.comms
            .as_ref()
            .map(|one| format!("every {} in {}", duration(one.cadence_ms), one.channel)),
    );
    let escalation =
        plan.escalation.iter().map(|one| format!("after {} to {}", duration(one.after_ms), one.to));
    let escalation: Vec<String> = escalation.collect();
    row("escalation", (!escalation.is_empty()).then(|| escalation.join("; ")));
    row(
        "at once",
        Some(format!(
            "at most {}",
            counted(usize::try_from(plan.max_parallel).unwrap_or(0), "step")
        )),
    );
    rows
}

fn of_step(host: &Host, step: &PlanStep, page: &mut Vec<Block>) {
    let title = if step.title.is_empty() {
        step.id.to_string()
    } else {
        format!("{}: {}", step.id, step.title)
    };
    page.push(Block::heading(3, title));
    let by_hand =
        host.find(&step.action).map(|action| action.by_hand(&step.with)).unwrap_or_default();
    let mut rows = vec![vec!["does".to_owned(), does(step, &by_hand.does)]];
    let mut row = |name: &str, value: Option<String>| {
        rows.extend(value.map(|value| vec![name.to_owned(), value]));
    };
    row("owner", step.owner.clone());
    row("after", needs(step));
    row("only when", step.when.clone());
    row("guarantee", best_guarantee(host, step).map(|one| format!("{}, at best", one.word())));
    row("approval", approval(step));
    row("accepts", (!step.accept.is_empty()).then(|| step.accept.join(", ")));
    row("usually takes", step.expect_ms.map(duration));
    row("watch afterwards", watched(step));
    // The head of the row says it already.
    row("when it fails", Some(failing(step).replacen("when it fails, ", "", 1)));
    row("note", step.note.clone());
    row("more", step.runbook_url.clone());
    page.push(Block::Table(vec!["", ""], rows));
    if !by_hand.commands.is_empty() {
        page.extend([Block::text("By hand:"), Block::Code(by_hand.commands)]);
    }
    if !by_hand.verify.is_empty() {
        page.extend([Block::text("Verify:"), Block::Code(by_hand.verify)]);
    }
}

fn does(step: &PlanStep, words: &str) -> String {
    if words.is_empty() { step.action.to_string() } else { format!("{words} ({})", step.action) }
}

fn needs(step: &PlanStep) -> Option<String> {
    let needs: Vec<&str> = step.needs.iter().map(backout_core::id::StepId::as_str).collect();
    (!needs.is_empty()).then(|| needs.join(", "))
}

fn approval(step: &PlanStep) -> Option<String> {
    let policy = step.approval.as_ref()?;
    let by = if policy.by.is_empty() { "anybody".to_owned() } else { policy.by.join(" or ") };
    let starter = if policy.starter_may { "" } else { ", not by who started the run" };
    let people =
        if policy.count == 1 { "1 person".to_owned() } else { format!("{} people", policy.count) };
    Some(format!("by {people} of {by}{starter}"))
}

fn watched(step: &PlanStep) -> Option<String> {
    let soak = step.soak_ms.map(|ms| format!("it must hold for {}", duration(ms)));
    let watch =
        step.watch.then(|| "looked at until the run ends; a change raises an alarm".to_owned());
    let all: Vec<String> = soak.into_iter().chain(watch).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// What counts as recovered.
fn recovered(host: &Host, plan: &Plan, page: &mut Vec<Block>) {
    page.push(Block::heading(2, "Recovered"));
    let Some(success) = &plan.success else {
        page.push(Block::text("The runbook does not say: all steps done is all that is known."));
        return;
    };
    let checks = plan.steps.iter().filter(|step| step.role == Role::Success);
    let mut all: Vec<String> = checks
        .map(|step| {
            let by_hand = host.find(&step.action).map(|action| action.by_hand(&step.with));
            format!("{}: {}", step.id, does(step, &by_hand.unwrap_or_default().does))
        })
        .collect();
    all.extend(success.hold_ms.map(|ms| format!("all of this holds for {}", duration(ms))));
    all.extend(success.validated_by.as_ref().map(|who| format!("{who} says so")));
    page.push(Block::Boxes(all));
}

//! Draft to plan: all that can be said of a runbook without looking at a target.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

use backout_core::contract::Guarantee;
use backout_core::id::{ActionName, StepId, TargetId};
use backout_core::limits::{
    EVENT_BYTES_MAX, MAX_PARALLEL_DEFAULT, STALE_AFTER_MS_DEFAULT, STEPS_MAX, TIMEOUT_MS_DEFAULT,
};
use backout_core::plan::{ApprovalPolicy, Plan, PlanStep, RUNBOOK_FORMAT, Retry, Role, Success};
use serde_json::json;

use crate::codes;
use crate::draft::{Draft, DraftStep, DraftSuccess};
use crate::each::{Item, items};
use crate::fields::At;
use crate::graph::{Graph, index};
use crate::input::{Input, read};
use crate::names::{Found, Names, place, syntax_problem};
use crate::params::{Declared, Values};
use crate::problem::Problem;
use crate::schema::Actions;
use crate::tree::Node;

/// The action that asks a person.
const APPROVAL_ACTION: &str = "wait.approval";
/// The step in which `validated_by` is asked.
const VALIDATED: &str = "success_validated";
/// What the ids of the steps of `success` begin with.
const SUCCESS_PREFIX: &str = "success_";
/// Needs of all steps together, sub-steps counted: a `for_each` that needs another multiplies them.
const NEEDS_TOTAL_MAX: usize = 500_000;

/// Bytes of a step in the plan's event besides what its author wrote.
const STEP_BYTES: usize = 600;
/// Bytes of one need: two parts of at most 64 characters, brackets and quotes.
const NEED_BYTES: usize = 134;
/// Bytes that one byte of the file may take in the event: `\u0000`.
const ESCAPED_BYTES: usize = 6;

/// What is found while lowering.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

/// What can be said of one step before it is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepFacts {
    /// The best guarantee that its input allows.
    pub guarantee: Guarantee,
    /// The byte offset in the file where it is written.
    pub offset: usize,
}

/// The plan, where there is one, and what is known of its steps.
pub(crate) struct Lowered {
    pub(crate) plan: Plan,
    pub(crate) facts: BTreeMap<StepId, StepFacts>,
}

/// Lowers a draft. The plan is of use only where no problem was reported.
pub(crate) fn lower(
    source: &str,
    mut draft: Draft<'_, '_>,
    values: Values,
    actions: &mut Actions<'_>,
    report: &mut Report,
) -> Option<Lowered> {
    let written = draft.steps.len();
    if too_many(written, &draft, report) {
        return None;
    }
    let success = draft.success.take();
    let ids = success_ids(success.as_ref());
    let mut drafts = std::mem::take(&mut draft.steps);
    check_prefix(&drafts, success.as_ref(), report);
    let index = index(&drafts, &mut report.problems);
    let mut graph = Graph::of(&drafts, &index, &mut report.problems);
    add_success(&mut drafts, &mut graph, success.as_ref(), &ids, report);
    let items = all_items(source, &drafts, &draft.params, &values, report);
    let keys: Vec<Option<Vec<String>>> = items
        .iter()
        .map(|items| Some(items.as_ref()?.iter().map(|item| item.key.clone()).collect()))
        .collect();
    let order = graph.order();
    let names = Names {
        source,
        params: &draft.params,
        steps: &drafts,
        index: &index,
        keys: &keys,
        graph: &graph,
        order: order.as_deref(),
        ancestors: OnceCell::new(),
    };
    let waves = order.as_deref().map(|order| graph.waves(order)).unwrap_or_default();
    let mut lowering = Lowering {
        names,
        values: &values,
        retry: draft.retry.over(&Retry::default()),
        timeout_ms: draft.timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT),
        ids: step_ids(&drafts, &items),
        validated_by: success.as_ref().and_then(|success| success.validated_by),
        targets: HashMap::new(),
        waves: &waves,
        needs_total: 0,
        bytes_bound: text_bytes(&draft),
        steps: Vec::with_capacity(drafts.len()),
        facts: BTreeMap::new(),
    };
    for (at, items) in items.iter().enumerate() {
        let role = if at < written { Role::Step } else { Role::Success };
        lowering.step(at, &role, items.as_deref(), actions, report);
    }
    let Lowering { steps, facts, bytes_bound, .. } = lowering;
    let plan = plan(draft, values, steps, success.as_ref());
    check_bytes(&plan, bytes_bound, report);
    Some(Lowered { plan, facts })
}

fn too_many(written: usize, draft: &Draft<'_, '_>, report: &mut Report) -> bool {
    let Some(step) = draft.steps.get(STEPS_MAX) else { return false };
    let message = format!("{written} steps are more than STEPS_MAX ({STEPS_MAX})");
    report.problems.push(
        Problem::new(codes::LIMIT, message)
            .at(step.span, "the first step too many")
            .advise("split the runbook"),
    );
    true
}

fn check_prefix(
    steps: &[DraftStep<'_, '_>],
    success: Option<&DraftSuccess<'_, '_>>,
    report: &mut Report,
) {
    if success.is_none() {
        return;
    }
    let ids = steps.iter().filter_map(|step| step.id);
    for id in ids.filter(|id| id.value.starts_with(SUCCESS_PREFIX)) {
        let message =
            format!("`{}` begins with `{SUCCESS_PREFIX}`, which `success` uses", id.value);
        let problem = Problem::new(codes::BAD_NAME, message).at(id.span, "not allowed");
        report.problems.push(problem.advise("give the step another id"));
    }
}

/// The ids of the steps that `success` becomes, in order.
fn success_ids(success: Option<&DraftSuccess<'_, '_>>) -> Vec<String> {
    let checks = success.map(|success| success.checks.as_slice()).unwrap_or_default();
    checks
        .iter()
        .enumerate()
        .map(|(at, check)| match check.id {
            Some(id) => format!("{SUCCESS_PREFIX}{}", id.value),
            None => format!("{SUCCESS_PREFIX}{}", at + 1),
        })
        .collect()
}

/// Adds the steps of `success` after all others.
fn add_success<'n, 'a>(
    steps: &mut Vec<DraftStep<'n, 'a>>,
    graph: &mut Graph,
    success: Option<&DraftSuccess<'n, 'a>>,
    ids: &'n [String],
    report: &mut Report,
) {
    let Some(success) = success else { return };
    let leaves = graph.leaves();
    let first = steps.len();
    let mut seen: BTreeMap<&str, At<&str>> = BTreeMap::new();
    for (check, id) in success.checks.iter().zip(ids) {
        let span = check.id.map_or(check.span, |id| id.span);
        let id = At { value: id.as_str(), span };
        if let Some(other) = seen.insert(id.value, id) {
            let message = format!("two checks are called `{}`", id.value);
            let problem = Problem::new(codes::DUPLICATE_ID, message)
                .at(span, "again here")
                .at(other.span, "first here");
            report.problems.push(problem.advise("give one of them another id"));
        }
        steps.push(check.named(id));
        graph.needs.push(leaves.clone());
    }
    if let Some(who) = success.validated_by {
        let needs = if success.checks.is_empty() { leaves } else { (first..steps.len()).collect() };
        let id = At { value: VALIDATED, span: who.span };
        let mut step = DraftStep::bare(who.span, Some(id));
        step.title = format!("{} says that it has recovered", who.value);
        step.action = Some(At { value: APPROVAL_ACTION, span: who.span });
        steps.push(step);
        graph.needs.push(needs);
    }
}

fn all_items(
    source: &str,
    steps: &[DraftStep<'_, '_>],
    params: &[Declared<'_>],
    values: &Values,
    report: &mut Report,
) -> Vec<Option<Vec<Item>>> {
    let all: Vec<Option<Vec<Item>>> = steps
        .iter()
        .map(|step| items(source, step.for_each?, params, values, &mut report.problems))
        .collect();
    let count: usize = all.iter().map(|items| items.as_ref().map_or(1, Vec::len)).sum();
    if count > STEPS_MAX {
        let message = format!(
            "with the items of `for_each` the runbook has {count} steps, more than STEPS_MAX \
             ({STEPS_MAX})"
        );
        let longest =
            all.iter().zip(steps).max_by_key(|(items, _)| items.as_ref().map_or(0, Vec::len));
        let span =
            longest.and_then(|(_, step)| step.for_each).map_or_else(Default::default, |n| n.span);
        let problem = Problem::new(codes::LIMIT, message).at(span, "the longest list");
        report.problems.push(problem.advise("split the runbook"));
        return all.into_iter().map(|_| None).collect();
    }
    all
}

/// The ids in the plan of each step of the file.
fn step_ids(steps: &[DraftStep<'_, '_>], items: &[Option<Vec<Item>>]) -> Vec<Vec<StepId>> {
    let ids = steps.iter().zip(items).map(|(step, items)| {
        let id = step.id.map_or("", |id| id.value);
        match items {
            None => vec![StepId::from(id)],
            Some(items) => {
                items.iter().map(|item| StepId::new(format!("{id}[{}]", item.key))).collect()
            }
        }
    });
    ids.collect()
}

struct Lowering<'x, 'n, 'a> {
    names: Names<'x, 'n, 'a>,
    values: &'x Values,
    retry: Retry,
    timeout_ms: u64,
    ids: Vec<Vec<StepId>>,
    validated_by: Option<At<&'n str>>,
    /// Who acts on a target in a wave.
    targets: HashMap<(usize, TargetId), StepId>,
    waves: &'x [usize],
    needs_total: usize,
    /// What the plan takes in its event at the most, by a rough count.
    bytes_bound: usize,
    steps: Vec<PlanStep>,
    facts: BTreeMap<StepId, StepFacts>,
}

impl Lowering<'_, '_, '_> {
    fn step(
        &mut self,
        at: usize,
        role: &Role,
        items: Option<&[Item]>,
        actions: &mut Actions<'_>,
        report: &mut Report,
    ) {
        let Some(step) = self.names.steps.get(at) else { return };
        let when = step.when.and_then(|node| self.when(at, node, report));
        let asked = self.validated_by.filter(|_| step.id.is_some_and(|id| id.value == VALIDATED));
        let made =
            asked.map(|who| json!({ "text": format!("{} says: has it recovered?", who.value) }));
        let Some(input) = read(&self.names, at, made, actions, report) else { return };
        let needs = self.needs(at, report);
        let ids = self.ids.get(at).cloned().unwrap_or_default();
        let written = step.span.end.saturating_sub(step.span.start);
        let each = STEP_BYTES + written * ESCAPED_BYTES + needs.len() * NEED_BYTES;
        self.bytes_bound = self.bytes_bound.saturating_add(each.saturating_mul(ids.len()));
        for (place, id) in ids.into_iter().enumerate() {
            let item = items.and_then(|items| items.get(place));
            let one = input.one(&self.names, self.values, item, report);
            self.watch_targets(at, &id, &one.targets, report);
            let guarantee = one.guarantee.unwrap_or(input.guarantee);
            self.facts.insert(id.clone(), StepFacts { guarantee, offset: step.span.start });
            let base = PlanStep {
                role: role.clone(),
                needs: needs.clone(),
                when: when.clone(),
                item: item.map(|item| item.value.clone()),
                locks: one.locks,
                approval: asked.map_or_else(
                    || step.approval.clone(),
                    |who| {
                        Some(ApprovalPolicy {
                            by: vec![who.value.to_owned()],
                            ..ApprovalPolicy::default()
                        })
                    },
                ),
                ..self.bare(id, step, &input)
            };
            self.steps.push(base);
        }
    }

    /// What a step and all its sub-steps share.
    fn bare(&self, id: StepId, step: &DraftStep<'_, '_>, input: &Input<'_, '_>) -> PlanStep {
        PlanStep {
            id,
            title: step.title.clone(),
            role: Role::Step,
            needs: Vec::new(),
            when: None,
            item: None,
            action: ActionName::from(step.action.map_or("", |action| action.value)),
            with: input.with.clone(),
            pure: input.pure,
            timeout_ms: step.timeout_ms.unwrap_or(self.timeout_ms),
            retry: step.retry.over(&self.retry),
            on_exhausted: step.on_exhausted,
            approval: None,
            accept: step.accept.clone(),
            soak_ms: step.soak_ms,
            expect_ms: step.expect_ms,
            locks: Vec::new(),
            watch: step.watch,
            owner: step.owner.clone(),
            runbook_url: step.runbook_url.clone(),
            note: step.note.clone(),
        }
    }

    fn when(&self, at: usize, node: &Node<'_>, report: &mut Report) -> Option<String> {
        let text = node.text()?;
        if text.trim_start().starts_with("${") {
            let problem =
                Problem::new(codes::EXPRESSION, "`when` is an expression without `${` and `}`")
                    .at(node.span, "here");
            report.problems.push(problem.advise("write when: \"params.x == 1\""));
            return None;
        }
        let expression = match backout_core::expr::Expression::parse(text) {
            Ok(expression) => expression,
            Err(error) => {
                let problem = syntax_problem(self.names.source, Some(node), node.span, &error);
                report.problems.push(problem);
                return None;
            }
        };
        let place = place(self.names.source, node, 0, text.len());
        if let Some(name) = self.names.secret(&expression) {
            let message = format!("`{name}` is a secret and cannot decide a condition");
            let problem = Problem::new(codes::SECRET_PLACE, message);
            report.problems.push(problem.at(place.clone(), "no secret may stand here"));
        }
        let found = Found { expression: &expression, place };
        self.names.check(at, &found, &mut report.problems);
        Some(text.to_owned())
    }

    /// The needs of a step, with all sub-steps of those that are `for_each`.
    fn needs(&mut self, at: usize, report: &mut Report) -> Vec<StepId> {
        let written = self.names.graph.needs.get(at).map(Vec::as_slice).unwrap_or_default();
        let all = |need: &usize| self.ids.get(*need).map(Vec::as_slice).unwrap_or_default();
        let count: usize = written.iter().map(|need| all(need).len()).sum();
        let before = self.needs_total;
        self.needs_total += count * self.ids.get(at).map_or(1, Vec::len);
        if self.needs_total > NEEDS_TOTAL_MAX {
            if before <= NEEDS_TOTAL_MAX {
                let message = format!(
                    "the steps have more needs than NEEDS_TOTAL_MAX ({NEEDS_TOTAL_MAX}), sub-steps \
                     counted"
                );
                let span = self.names.steps.get(at).map_or_else(Default::default, |step| step.span);
                let problem = Problem::new(codes::LIMIT, message).at(span, "reached here");
                report.problems.push(
                    problem.advise(
                        "put one step between two `for_each` steps: `noop.run` does nothing",
                    ),
                );
            }
            return Vec::new();
        }
        written.iter().flat_map(|need| all(need).iter().cloned()).collect()
    }

    /// Warns where two steps of one wave act on one target.
    fn watch_targets(&mut self, at: usize, id: &StepId, targets: &[TargetId], report: &mut Report) {
        let Some(wave) = self.waves.get(at).copied() else { return };
        for target in targets {
            let other = self.targets.insert((wave, target.clone()), id.clone());
            let Some(other) = other.filter(|other| other != id) else { continue };
            let span = self
                .names
                .steps
                .get(at)
                .map_or_else(Default::default, |step| step.id.map_or(step.span, |id| id.span));
            let message =
                format!("`{other}` and `{id}` may run at the same time, both on {target}");
            report.warnings.push(
                Problem::new(codes::SAME_TARGET, message)
                    .warning()
                    .at(span, "waits for the other one's lock, in no fixed order")
                    .advise("let one of them need the other"),
            );
        }
    }
}

/// The text of the head in the plan's event, at the most.
fn text_bytes(draft: &Draft<'_, '_>) -> usize {
    let texts = [&draft.name, &draft.title, &draft.description];
    let labels: usize = draft.labels.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
    (texts.iter().map(|text| text.len()).sum::<usize>() + labels) * ESCAPED_BYTES
}

/// Refuses a plan whose event would be too large. It is measured only where the rough count does
/// not rule that out.
fn check_bytes(plan: &Plan, bound: usize, report: &mut Report) {
    if bound <= EVENT_BYTES_MAX {
        return;
    }
    let mut count = Count(0);
    // Counting cannot fail, and a plan has no keys but texts.
    drop(serde_json::to_writer(&mut count, plan));
    if count.0 > EVENT_BYTES_MAX {
        let message = format!(
            "the plan has {} bytes, more than EVENT_BYTES_MAX ({EVENT_BYTES_MAX})",
            count.0
        );
        report.problems.push(Problem::new(codes::LIMIT, message).advise(
            "split the runbook; each item of a `for_each` repeats the step, and each of its needs",
        ));
    }
}

/// Counts bytes instead of writing them.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn plan(
    draft: Draft<'_, '_>,
    values: Values,
    steps: Vec<PlanStep>,
    success: Option<&DraftSuccess<'_, '_>>,
) -> Plan {
    Plan {
        format: RUNBOOK_FORMAT,
        name: draft.name,
        title: draft.title,
        description: draft.description,
        owner: draft.owner,
        environment: draft.environment,
        labels: draft.labels,
        reviewed: draft.reviewed,
        review_by: draft.review_by,
        params: values.known,
        max_parallel: draft.max_parallel.unwrap_or(MAX_PARALLEL_DEFAULT),
        stale_after_ms: draft.stale_after_ms.unwrap_or(STALE_AFTER_MS_DEFAULT),
        steps,
        success: success.map(|success| Success {
            hold_ms: success.hold_ms,
            validated_by: success.validated_by.map(|who| who.value.to_owned()),
        }),
        comms: draft.comms,
        escalation: draft.escalation,
    }
}

//! Whether a release works with the schema that will be there when a step brings it in. Said of the
//! plan alone: no target is looked at.

use std::collections::{BTreeMap, BTreeSet};

use backout_core::expr::{self, Expression, Reference, Scope};
use backout_core::id::StepId;
use backout_core::plan::{Plan, PlanStep, Role};
use serde_json::Value;

use crate::StepFacts;
use crate::codes;
use crate::problem::Problem;
use crate::releases::{Manifest, Release, place_of};

/// The actions that bring a schema to the version that they are given.
const MIGRATING: [&str; 3] = ["migrations.down", "migrations.up", "exec.run"];
/// What stands under `params.x.` for the parts of a release and for its schema versions.
const SERVICES: &str = "services";
const SCHEMAS: &str = "schemas";

/// The first step for each database that brings in a part of the release `id`, given as `param`,
/// while a schema is there that it does not work with.
pub(crate) fn unfit(
    plan: &Plan,
    facts: &BTreeMap<StepId, StepFacts>,
    manifest: &Manifest,
    param: &str,
    id: &str,
) -> Vec<Problem> {
    let (Some(release), Some(newest)) = (manifest.find(id), manifest.newest()) else {
        return Vec::new();
    };
    let parts: Vec<(&PlanStep, Parts)> =
        plan.steps.iter().map(|step| (step, Parts::of(plan, step, param))).collect();
    let check = |(database, now): (&String, &i64)| {
        let brings = parts.iter().filter(|(step, parts)| parts.services && step.role == Role::Step);
        let at = |step: &PlanStep| there(plan, &parts, step, database, *now, release);
        let (step, _) =
            brings.into_iter().find(|(step, _)| !release.works_with(database, at(step)))?;
        let fact = facts.get(&step.id)?;
        Some(warning(step, fact, (database, *now), (param, release), newest))
    };
    newest.schemas.iter().filter_map(check).collect()
}

/// What a step takes from the release.
#[derive(Default)]
struct Parts {
    services: bool,
    /// The databases that it brings to the release's version.
    brings: BTreeSet<String>,
}

impl Parts {
    fn of(plan: &Plan, step: &PlanStep, param: &str) -> Self {
        let mut parts = Self::default();
        if is_left_out(plan, step) {
            return parts;
        }
        let migrates = MIGRATING.contains(&step.action.as_str());
        for reference in expr::references_of(&step.with).unwrap_or_default() {
            let Reference::Param { name, path } = reference else { continue };
            match path.as_slice() {
                [first, ..] if name == param && first == SERVICES => parts.services = true,
                [first, database, ..] if name == param && first == SCHEMAS && migrates => {
                    parts.brings.insert(database.clone());
                }
                _ => {}
            }
        }
        parts
    }
}

/// Whether its `when` is false already now.
fn is_left_out(plan: &Plan, step: &PlanStep) -> bool {
    let Some(when) = &step.when else { return false };
    let known = Expression::parse(when).is_ok_and(|parsed| {
        parsed.references().iter().all(|reference| matches!(reference, Reference::Param { .. }))
    });
    let outputs: BTreeMap<String, Value> = BTreeMap::new();
    let scope = Scope { params: &plan.params, item: step.item.as_ref(), outputs: &outputs };
    known && expr::truth(when, &scope) == Ok(false)
}

/// The version of a database's schema when a step acts.
fn there(
    plan: &Plan,
    parts: &[(&PlanStep, Parts)],
    step: &PlanStep,
    database: &str,
    now: i64,
    release: &Release,
) -> i64 {
    let before = ancestors(plan, step);
    let brings = |(other, parts): &&(&PlanStep, Parts)| {
        before.contains(&other.id) && parts.brings.contains(database)
    };
    match parts.iter().find(brings) {
        Some(_) => release.schemas.get(database).copied().unwrap_or(now),
        None => now,
    }
}

fn ancestors<'p>(plan: &'p Plan, step: &'p PlanStep) -> BTreeSet<&'p StepId> {
    let by_id: BTreeMap<&StepId, &PlanStep> =
        plan.steps.iter().map(|step| (&step.id, step)).collect();
    let mut found = BTreeSet::new();
    let mut open: Vec<&StepId> = step.needs.iter().collect();
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(by_id.get(id).into_iter().flat_map(|step| &step.needs));
        }
    }
    found
}

fn warning(
    step: &PlanStep,
    fact: &StepFacts,
    (database, now): (&str, i64),
    (param, release): (&str, &Release),
    newest: &Release,
) -> Problem {
    let message = format!(
        "release {} works with schema {} of `{database}`, and {now} is there when `{}` acts: release {}, \
         deployed last, left it",
        release.id,
        release.versions(database),
        step.id,
        newest.id
    );
    Problem::new(codes::RELEASE_UNFIT, message)
        .warning()
        .at(place_of(fact.offset), "this step brings the release in")
        .help(format!(
            "let a step before it take `{database}` back: migrations.down with `to: \
             \"${{params.{param}.schemas.{database}}}\"`, its writers stopped first"
        ))
}

//! The ready exercises, each played by itself; and how fast exercises are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use backout_core::contract::Guarantee;
use backout_core::id::{RunId, Timestamp};
use backout_tabletop::drill::{Drill, Setup};
use backout_tabletop::page::{html, markdown};
use backout_tabletop::report::{blocks, handout};
use backout_tabletop::{decisions, scenario};

use crate::support::{plan, played, reported, verdicts};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runbooks/exercises")
}

fn text(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn setup(name: &str) -> Setup {
    let written = text(&format!("{name}.ron"));
    let runbook = scenario::read(&written, None).unwrap().runbook.unwrap();
    let runbook = text(&runbook);
    let plan = plan(&runbook);
    let scenario = scenario::read(&written, Some(&plan)).unwrap_or_else(|p| panic!("{p:#?}"));
    let decided = decisions::read(&text(&format!("{name}.decisions.ron")));
    Setup {
        run: RunId::from_random(3),
        plan,
        text: runbook,
        seed: scenario.seed,
        scenario,
        guarantees: BTreeMap::from([("switch".into(), Guarantee::Probed)]),
        begin: Timestamp(1_767_236_400_000),
        decisions: decided.unwrap_or_else(|p| panic!("{p:#?}")).decisions,
        chaos: 0,
    }
}

/// Plays an exercise: its own team meets all that is expected, and a team that does nothing does not.
fn check(name: &str) -> Drill {
    let drill = played(setup(name));
    let report = reported(&drill);
    let well = report.expected.iter().all(|one| one.verdict.is_well());
    assert!(well, "{:#?}\n{:#?}", report.expected, report.timeline);
    assert!(report.outcome.starts_with("succeeded"), "{}", report.outcome);
    assert!(report.objectives.iter().all(|one| one.rating.is_some()), "{:#?}", report.objectives);
    let idle = played(Setup { decisions: Vec::new(), ..setup(name) });
    assert!(
        verdicts(&idle).values().any(|verdict| !verdict.is_well()),
        "it asks nothing of a team"
    );
    let page = blocks(&report);
    assert!(markdown(&page).contains("## Expected against actual"));
    assert!(html("t", &page).contains("<h2>Timeline</h2>"));
    drill
}

#[test]
fn an_engine_killed_in_the_middle_of_a_migration() {
    let drill = check("engine_killed");
    let settled = drill
        .journal()
        .iter()
        .any(|recorded| matches!(recorded.event, backout_core::event::Event::EffectSettled { .. }));
    assert!(settled, "the engine finds out what became of the migration");
}

#[test]
fn a_flag_that_comes_back() {
    let drill = check("flag_comes_back");
    assert_eq!(drill.world().value("flag:new_checkout"), Some("off"));
}

#[test]
fn two_commanders_and_one_database() {
    let drill = check("two_commanders");
    let silent = reported(&drill).timeline.iter().any(|line| line.text == "does not answer");
    assert!(silent, "the approver is on a train");
}

/// The guides and handouts beside the scenarios are those that the scenarios make.
/// `UPDATE=1` writes them.
#[test]
fn guides_and_handouts_are_up_to_date() {
    for name in ["engine_killed", "flag_comes_back", "two_commanders"] {
        let scenario = setup(name).scenario;
        let guide = markdown(&handout(&scenario, false));
        let participants = html(&scenario.title, &handout(&scenario, true));
        for (file, made) in [("facilitator.md", guide), ("participants.html", participants)] {
            let path = folder().join(format!("{name}.{file}"));
            if std::env::var_os("UPDATE").is_some() {
                fs::write(&path, &made).unwrap();
            }
            let kept = fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == made, "{}: run again with UPDATE=1", path.display());
        }
    }
}

/// An hour of 200 steps and 100 injects; without optimisation it is some ten times slower than what
/// the benchmark shows, and still below the two seconds that are promised.
#[test]
fn an_hour_of_two_hundred_steps_is_short() {
    let steps: Vec<String> = (0..200)
        .map(|at| {
            let needs = if at < 4 { String::new() } else { format!("needs: [\"s{}\"],", at - 4) };
            format!(
                "(id: \"s{at}\", action: \"noop.run\", {needs} expect: \"50s\", retry: (max: 2)),"
            )
        })
        .collect();
    let runbook = format!(
        "Runbook(format: 1, name: \"big\", max_parallel: 8, steps: [{}])",
        steps.join("\n")
    );
    let injects: Vec<String> = (0..100)
        .map(|at| {
            let what = match at % 4 {
                0 => format!("what: (fail: (step: \"s{at}\")),"),
                1 => format!("what: (lose_reply: (step: \"s{at}\")),"),
                2 if at % 20 == 2 => "what: (kill_engine: (lasts: \"20s\")),".to_owned(),
                _ => String::new(),
            };
            format!("(id: \"i{at}\", at: \"{}s\", text: \"x\", {what}),", at * 30)
        })
        .collect();
    let scenario = format!(
        "Scenario(format: 1, name: \"big\", title: \"big\", lasts: \"3h\", injects: [{}])",
        injects.join("\n")
    );
    let setup = crate::support::setup(&runbook, &scenario, "Decisions(format: 1, decisions: [])");
    let began = std::time::Instant::now();
    let drill = played(setup);
    let took = began.elapsed();
    assert!(drill.now().since_ms(Timestamp(1_767_236_400_000)) >= 2_500_000, "about an hour");
    assert!(drill.journal().len() > 1_000, "{}", drill.journal().len());
    assert!(took.as_secs() < 2, "{took:?} for {} events", drill.journal().len());
}

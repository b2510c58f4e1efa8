//! How long it takes to check a runbook of 10,000 steps:
//! `cargo run --release -p backout-runbook --example check_speed`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use backout_core::contract::Guarantee;
use backout_runbook::{ActionInfo, Catalogue, Checked, Mode, Source, compile};
use serde_json::json;

/// Steps of the runbook.
const STEPS: usize = 10_000;
/// Times it is measured; the median is shown.
const ROUNDS: usize = 9;

struct Noop;

impl Catalogue for Noop {
    fn actions(&self) -> Vec<String> {
        vec!["noop.run".to_owned()]
    }

    fn find(&self, name: &str) -> Option<ActionInfo<'_>> {
        (name == "noop.run").then(|| ActionInfo {
            input_schema: json!({
                "type": "object",
                "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
                "additionalProperties": false,
            }),
            guarantee: Guarantee::ReadOnly,
            pure: true,
            check: Box::new(|_| Checked::default()),
        })
    }
}

fn text() -> String {
    let mut text = String::from(
        "Runbook(\n    format: 1,\n    name: \"large\",\n    params: {\"to\": (type: version, default: \
         \"1.2.3\")},\n    steps: [\n",
    );
    for at in 0..STEPS {
        let needs = if at % 3 == 0 { "" } else { "        needs: [\"step_0\"],\n" };
        let input = match at % 4 {
            0 => "(a: \"${params.to}\", b: 1)".to_owned(),
            1 => "(a: \"x ${default(steps.step_0.output.x, 'v')}\", b: 2)".to_owned(),
            _ => "(a: \"a plain text of some length, as authors write it\", b: 3)".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "    Step(\n        id: \"step_{at}\",\n        title: \"Step number {at} of many\",\n{needs}        \
             action: \"noop.run\",\n        with: {input},\n        timeout: \"30s\",\n        note: \"what to \
             know about it\",\n    ),\n"
        );
    }
    text.push_str("    ],\n)\n");
    text
}

fn main() -> std::io::Result<()> {
    let text = text();
    let source = Source { name: "large.ron", text: &text };
    let mut times = Vec::new();
    let mut steps = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let compiled = compile(&source, &BTreeMap::new(), Mode::Run, &Noop);
        times.push(start.elapsed());
        steps = compiled.plan.map_or(0, |plan| plan.steps.len());
    }
    times.sort();
    let median = times.get(ROUNDS / 2).copied().unwrap_or_default();
    writeln!(
        std::io::stdout(),
        "{} bytes, {steps} steps: median {:.1} ms of {ROUNDS} rounds",
        text.len(),
        median.as_secs_f64() * 1_000.0
    )
}

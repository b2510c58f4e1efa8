//! Documentation that must not drift.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use backout_runbook::{Mode, Source, codes, compile, compile_beside, reference_page};

use crate::actions::Actions;
use crate::fixtures::{check_file, root};

#[test]
fn the_reference_is_that_of_the_reader() {
    check_file(&root().join("docs/reference/runbook.md"), &reference_page());
}

#[test]
fn every_code_has_a_page_and_its_example_gives_that_code() {
    for (code, title) in codes::ALL {
        let path = root().join(format!("docs/errors/{code}.md"));
        let page = fs::read_to_string(&path).unwrap_or_default();
        assert!(page.starts_with(&format!("# {code}: {title}\n")), "{}", path.display());
        assert!(page.contains("## What to do"), "{code}");
        for example in examples(&page) {
            assert_eq!(first_code(&example), Some(*code), "{code}:\n{example}");
        }
        let about_files = code.starts_with("BO010") && *code < "BO0110";
        let about_scenarios = code.starts_with("BO08");
        let about_values = ["BO0602", "BO0603", "BO0605", "BO0702", "BO0706"].contains(code);
        assert!(
            about_files || about_scenarios || about_values || !examples(&page).is_empty(),
            "{code}: no example"
        );
    }
}

#[test]
fn the_index_lists_every_page() {
    let mut index = String::from(
        "# Errors\n\n\
         Every problem with a runbook has a code. Its page says what it means, shows an example, and \
         says what to do.\n\n| code | meaning |\n| --- | --- |\n",
    );
    for (code, title) in codes::ALL {
        writeln!(index, "| [{code}]({code}.md) | {title} |").unwrap();
    }
    check_file(&root().join("docs/errors/README.md"), &index);
}

/// The blocks of a page that show what is wrong.
fn examples(page: &str) -> Vec<String> {
    page.split("```ron wrong\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(example, _)| example.to_owned()))
        .collect()
}

/// A block that is a manifest stands beside a runbook that asks for a release.
fn first_code(text: &str) -> Option<&'static str> {
    if text.starts_with("Releases(") {
        let runbook = "Runbook(format: 1, name: \"page\", params: {\"to\": (type: release)}, \
                       steps: [(id: \"a\", action: \"noop.run\")])";
        let source = Source { name: "page", text: runbook };
        let given = BTreeMap::new();
        let compiled = compile_beside(&source, Some(text), &given, Mode::Check, &Actions);
        return compiled.release_problems.first().map(|problem| problem.code);
    }
    let mode = if text.starts_with("// mode: run") { Mode::Run } else { Mode::Check };
    let compiled = compile(&Source { name: "page", text }, &BTreeMap::new(), mode, &Actions);
    compiled.problems.first().or(compiled.warnings.first()).map(|problem| problem.code)
}

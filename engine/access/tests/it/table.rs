//! The one table: every command of the core has a row, and the page about it is made from it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use backout_access::parts::{self, DEEDS};
use backout_access::policy::STRUCTS;
use backout_access::rules::{ASKS, AskRule, Needs, Part, ROUTES, TOLD_APART, allows};
use backout_access::{NAME_CHARS_MAX, Role};
use backout_core::command::Ask;

/// The words of every command, as its schema lists them.
fn words() -> Vec<String> {
    let schema = schemars::schema_for!(Ask).to_value();
    let variants = schema["oneOf"].as_array().unwrap();
    let word = |variant: &serde_json::Value| {
        variant["properties"]["ask"]["const"].as_str().unwrap().to_owned()
    };
    variants.iter().map(word).collect()
}

#[test]
fn every_command_has_one_row() {
    let mut words = words();
    let mut rows: Vec<String> = ASKS.iter().map(|rule| rule.ask.to_owned()).collect();
    words.sort();
    rows.sort();
    assert_eq!(rows, words, "a command without a row is for admins alone: decide whose it is");
}

fn mark(yes: bool) -> &'static str {
    if yes { "yes" } else { "-" }
}

fn ask_row(rule: &AskRule) -> String {
    let may = |role: &Role| mark(allows(rule.roles, &[*role]));
    let roles: Vec<_> = Role::ALL.iter().map(may).collect();
    let part = match rule.part {
        Part::Run => "`run`",
        Part::Approve => "`approve`",
        Part::Nothing => "-",
    };
    let broken = Role::ALL.iter().filter(|role| allows(rule.broken, &[**role]));
    let broken: Vec<_> = broken.map(|role| role.word()).collect();
    let (ask, does) = (rule.ask, rule.does);
    format!("| `{ask}` | {does} | {} | {part} | {} |\n", roles.join(" | "), broken.join(", "))
}

fn exercises() -> String {
    let mut page = String::from(
        "\n## Exercises\n\nA role lets somebody in; the part in the exercise says what is done there. \
         Admins are facilitators, and\nwhoever the scenario's `roles` or `--part` names; the others \
         take part. Where nobody is known by a token,\neverybody is a facilitator. Decisions about the \
         run are commands, by the table above.\n\n",
    );
    let words: Vec<_> = parts::Part::ALL.iter().map(|part| part.word()).collect();
    let _ = writeln!(page, "| line | does | {} |", words.join(" | "));
    page.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for deed in DEEDS {
        let may = parts::Part::ALL.iter().map(|part| mark(parts::allows(deed, *part)));
        let may: Vec<_> = may.collect();
        let _ = writeln!(page, "| `{}` | {} | {} |", deed.line, deed.does, may.join(" | "));
    }
    page.push('\n');
    page
}

fn page() -> String {
    let mut page = String::from(
        "# Who may do what\n\nMade from the table in `engine/access/src/rules.rs`, by which the server \
         decides.\nHow to use it: [access](../howto/access.md).\n\n## Commands\n\n",
    );
    page.push_str("| command | does | viewer | operator | approver | admin | policy | with a broken glass |\n");
    page.push_str("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for rule in TOLD_APART.iter().copied().chain(ASKS) {
        page.push_str(&ask_row(rule));
    }
    page.push_str("\nA command that is not listed is for admins alone.\n\n## Routes\n\n");
    page.push_str("| route | for | who |\n| --- | --- | --- |\n");
    for rule in ROUTES {
        let who = match rule.needs {
            Needs::Nothing => "everybody".to_owned(),
            Needs::Roles(roles) => {
                let all: Vec<_> =
                    Role::ALL.iter().filter(|role| allows(roles, &[**role])).collect();
                all.iter().map(|role| role.word()).collect::<Vec<_>>().join(", ")
            }
        };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{} {}` | {} | {who} |", rule.method, rule.path, rule.does);
    }
    page.push_str("\nA route that changes something and is not listed is for admins alone.\n");
    page.push_str(&exercises());
    let _ = writeln!(page, "A name has up to {NAME_CHARS_MAX} characters.\n\n## The policy file\n");
    for doc in STRUCTS {
        let _ = writeln!(page, "### `{}`\n\n{}\n", doc.name, doc.meaning);
        page.push_str("| field | takes | default | meaning |\n| --- | --- | --- | --- |\n");
        for field in doc.fields {
            let (name, takes) = (field.name, field.takes);
            let _ =
                writeln!(page, "| `{name}` | {takes} | {} | {} |", field.default, field.meaning);
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

#[test]
fn the_page_is_made_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/access.md");
    if std::env::var_os("BACKOUT_BLESS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/reference/access.md is old: run this with BACKOUT_BLESS=1");
}

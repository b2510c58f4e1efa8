//! A policy's text to a [`Policy`], with every problem at its line.

use std::collections::BTreeMap;

use backout_runbook::ron_file::{At, FieldDoc, Node, Record, StructDoc, advice, settle, texts};
use backout_runbook::{Problem, codes, ron_file};
use glob::Pattern;

use super::{Policy, Rule};
use crate::oidc::{Algorithm, Issuer};
use crate::role::Role;
use crate::who::is_name;

/// The version of the policy's format that this release reads.
pub const POLICY_FORMAT: u32 = 1;
/// Bytes of a policy file: ten thousand rules, and nobody oversees more.
pub const POLICY_BYTES_MAX: usize = 1024 * 1024;

const fn field(
    name: &'static str,
    takes: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> FieldDoc {
    FieldDoc { name, takes, default, meaning }
}

const POLICY: StructDoc = StructDoc {
    name: "Policy",
    meaning: "The whole file.",
    fields: &[
        field("format", "whole number", "required", "The version of this format: `1`."),
        field(
            "groups",
            "map of lists of names",
            "`{}`",
            "Groups of people: `{\"dba\": [\"ana\"]}`.",
        ),
        field(
            "roles",
            "map of lists of names and groups",
            "`{}`",
            "Who has which role: `{\"operator\": [\"sre\"]}`. For people with a certificate or an \
             issuer's token; a token of backout carries its own roles.",
        ),
        field("run", "list of `Run`", "`[]`", "Who may run what. The first that fits decides."),
        field(
            "approve",
            "list of `Approve`",
            "`[]`",
            "Who may approve what. The first that fits decides.",
        ),
        field("issuers", "list of `Issuer`", "`[]`", "Whose bearer tokens are believed."),
    ],
};

const RUN: StructDoc = StructDoc {
    name: "Run",
    meaning: "Who may start and command runs. A field that is left out fits everything.",
    fields: &[
        field("runbook", "pattern", "any", "The runbook's name: `\"shop-*\"`."),
        field("environment", "pattern", "any", "The name of its environment."),
        field("labels", "map of patterns", "any", "Labels that it has: `{\"service\": \"shop\"}`."),
        field("may", "list of names, groups, roles", "required", "Who; `[]` is nobody."),
    ],
};

const APPROVE: StructDoc = StructDoc {
    name: "Approve",
    meaning: "Who may say yes or no. What the runbook itself asks for (`approval`) holds as well.",
    fields: &[
        field("runbook", "pattern", "any", "The runbook's name."),
        field("environment", "pattern", "any", "The name of its environment."),
        field("labels", "map of patterns", "any", "Labels that it has."),
        field("step", "pattern", "any", "The step's id: `\"*-migrations\"`."),
        field("may", "list of names, groups, roles", "required", "Who; `[]` is nobody."),
        field("starter_may", "boolean", "`true`", "Whether the one who started the run may."),
    ],
};

const ISSUER: StructDoc = StructDoc {
    name: "Issuer",
    meaning: "An OIDC issuer. Its keys are read from its discovery document.",
    fields: &[
        field("url", "text", "required", "As it stands in `iss`: `\"https://login.example\"`."),
        field("audience", "text", "required", "What must stand in `aud`."),
        field("name", "text", "`\"sub\"`", "The claim that is the person's name."),
        field("groups", "text", "`\"groups\"`", "The claim that lists the person's groups."),
        field(
            "algorithms",
            "list of `RS256`, `ES256`, `EdDSA`",
            "`[\"RS256\", \"ES256\"]`",
            "How a token may be signed; nothing else is believed.",
        ),
        field("ca", "text", "none", "A file of certificates that vouch for its TLS, in PEM."),
    ],
};

/// The file's structs, for its reference page.
pub const STRUCTS: &[&StructDoc] = &[&POLICY, &RUN, &APPROVE, &ISSUER];

/// Reads a policy. Problems and warnings stand in the order of the file.
///
/// # Errors
/// What is wrong with it.
pub fn read(text: &str) -> Result<(Policy, Vec<Problem>), Vec<Problem>> {
    let mut problems = Vec::new();
    if text.len() > POLICY_BYTES_MAX {
        let message = format!(
            "the file has {} bytes, more than POLICY_BYTES_MAX ({POLICY_BYTES_MAX})",
            text.len()
        );
        return Err(vec![Problem::new(codes::FILE_TOO_LARGE, message)]);
    }
    let (root, syntax) = ron_file::read(text);
    if !syntax.is_empty() {
        problems.extend(syntax);
        settle(&mut problems, text);
        return Err(problems);
    }
    let policy = policy(text, &root, &mut problems);
    settle(&mut problems, text);
    let is_wrong = |problem: &Problem| problem.severity == backout_runbook::Severity::Error;
    match policy {
        Some(policy) if !problems.iter().any(is_wrong) => Ok((policy, problems)),
        _ => Err(problems),
    }
}

fn policy(text: &str, root: &Node<'_>, problems: &mut Vec<Problem>) -> Option<Policy> {
    let record = Record::open(root, &POLICY, problems)?;
    record.require("format", problems);
    let format = (POLICY_FORMAT, POLICY_FORMAT, "");
    if record.has("format") && record.whole("format", format, problems).is_none() {
        // Nothing else can be said about a file of another format.
        return None;
    }
    let groups = groups(&record, problems);
    Some(Policy {
        roles: roles(&record, problems),
        run: rules(text, &record, "run", &RUN, problems),
        approve: rules(text, &record, "approve", &APPROVE, problems),
        issuers: issuers(&record, problems),
        groups,
    })
}

fn groups(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> BTreeMap<String, Vec<String>> {
    let entries = record.entries("groups", problems);
    let mut groups = BTreeMap::new();
    for (name, node) in entries {
        known_name(name, "a group", problems);
        let members = people(node, problems);
        groups.insert(name.value.to_owned(), members);
    }
    groups
}

/// The names of a list, each of which can be one.
fn people(node: &Node<'_>, problems: &mut Vec<Problem>) -> Vec<String> {
    let named = texts(node, problems).unwrap_or_default();
    for name in &named {
        known_name(*name, "a person", problems);
    }
    named.into_iter().map(|name| name.value.to_owned()).collect()
}

fn known_name(name: At<&str>, what: &str, problems: &mut Vec<Problem>) {
    if is_name(name.value) {
        return;
    }
    let message = format!("`{}` cannot be the name of {what}", name.value);
    problems.push(
        Problem::new(codes::BAD_NAME, message)
            .at(name.span, "not allowed")
            .advise("one line of up to 64 characters that is no role and not `engine`"),
    );
}

fn roles(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> BTreeMap<Role, Vec<String>> {
    let entries = record.entries("roles", problems);
    let mut roles = BTreeMap::new();
    for (word, node) in entries {
        let people = people(node, problems);
        match Role::of(word.value) {
            Some(role) => drop(roles.insert(role, people)),
            None => problems.push(unknown_word(word, "a role", "roles are", &role_words())),
        }
    }
    roles
}

fn role_words() -> Vec<&'static str> {
    Role::ALL.iter().map(|role| role.word()).collect()
}

fn unknown_word(word: At<&str>, what: &str, kind: &str, known: &[&str]) -> Problem {
    Problem::new(codes::BAD_WORD, format!("`{}` is not {what}", word.value))
        .at(word.span, "not known")
        .help(advice(word.value, kind, known))
}

fn rules(
    text: &str,
    record: &Record<'_, '_>,
    name: &str,
    doc: &'static StructDoc,
    problems: &mut Vec<Problem>,
) -> Vec<Rule> {
    let nodes = record.list(name, problems).unwrap_or_default();
    let mut all: Option<usize> = None;
    let mut rules = Vec::new();
    for node in nodes {
        let known = problems.len();
        let Some(rule) = rule(text, node, doc, problems) else { continue };
        match all {
            Some(line) => problems.push(never(node, line)),
            // One with a mistake in it seems wider than it is meant.
            None if rule.fits_all() && problems.len() == known => all = Some(rule.line),
            None => {}
        }
        rules.push(rule);
    }
    rules
}

/// A rule after one that fits everything decides nothing.
fn never(node: &Node<'_>, line: usize) -> Problem {
    let message = format!("this rule decides nothing: the one in line {line} fits everything");
    Problem::new(codes::CONFLICT, message)
        .warning()
        .at(node.span, "never reached")
        .advise("the first rule that fits decides; write the narrow ones first")
}

fn rule(
    text: &str,
    node: &Node<'_>,
    doc: &'static StructDoc,
    problems: &mut Vec<Problem>,
) -> Option<Rule> {
    let record = Record::open(node, doc, problems)?;
    record.require("may", problems);
    let is_approve = doc.name == APPROVE.name;
    let may = record.texts("may", problems).unwrap_or_default();
    Some(Rule {
        line: line_of(text, node.span.start),
        runbook: pattern(record.text("runbook", problems), problems),
        environment: pattern(record.text("environment", problems), problems),
        labels: labels(&record, problems),
        step: is_approve.then(|| pattern(record.text("step", problems), problems)).flatten(),
        may: may.into_iter().map(|name| name.value.to_owned()).collect(),
        starter_may: !is_approve || record.boolean("starter_may", problems).unwrap_or(true),
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1)
}

fn labels(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> BTreeMap<String, Pattern> {
    let mut labels = BTreeMap::new();
    for (name, node) in record.entries("labels", problems) {
        let Some(pattern) = pattern(ron_file::text(node, problems), problems) else { continue };
        labels.insert(name.value.to_owned(), pattern);
    }
    labels
}

fn pattern(text: Option<At<&str>>, problems: &mut Vec<Problem>) -> Option<Pattern> {
    let text = text?;
    match Pattern::new(text.value) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let message = format!("`{}` is no pattern: {}", text.value, error.msg);
            problems.push(
                Problem::new(codes::BAD_WORD, message)
                    .at(text.span, "cannot be used")
                    .advise("`*` is any text, `?` one character, `[abc]` one of these"),
            );
            None
        }
    }
}

fn issuers(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> Vec<Issuer> {
    let nodes = record.list("issuers", problems).unwrap_or_default();
    nodes.iter().filter_map(|node| issuer(node, problems)).collect()
}

fn issuer(node: &Node<'_>, problems: &mut Vec<Problem>) -> Option<Issuer> {
    let record = Record::open(node, &ISSUER, problems)?;
    record.require("url", problems);
    record.require("audience", problems);
    let url = record.text("url", problems);
    if let Some(url) = url.filter(|url| !crate::oidc::is_safe(url.value)) {
        let message = format!("`{}` is no https URL", url.value);
        problems.push(
            Problem::new(codes::INPUT_VALUE, message)
                .at(url.span, "keys that come over an open line prove nothing")
                .advise("write it as it stands in the `iss` of its tokens; http only on loopback"),
        );
    }
    let audience = record.owned("audience", problems)?;
    let claim = |name: &str, default: &str, problems: &mut Vec<Problem>| {
        record.owned(name, problems).unwrap_or_else(|| default.to_owned())
    };
    Some(Issuer {
        url: url?.value.to_owned(),
        audience,
        name: claim("name", "sub", problems),
        groups: claim("groups", "groups", problems),
        algorithms: algorithms(&record, problems),
        ca: record.owned("ca", problems).map(Into::into),
    })
}

fn algorithms(record: &Record<'_, '_>, problems: &mut Vec<Problem>) -> Vec<Algorithm> {
    let Some(written) = record.texts("algorithms", problems) else {
        return vec![Algorithm::RS256, Algorithm::ES256];
    };
    let known = ["RS256", "ES256", "EdDSA"];
    let mut algorithms = Vec::new();
    for word in written {
        match word.value {
            "RS256" => algorithms.push(Algorithm::RS256),
            "ES256" => algorithms.push(Algorithm::ES256),
            "EdDSA" => algorithms.push(Algorithm::EdDSA),
            _ => problems.push(unknown_word(word, "an algorithm", "those believed are", &known)),
        }
    }
    algorithms
}

//! The policy file: who may run which runbook, who may approve what, which groups and roles those
//! have for whom a certificate or an issuer vouches.

use std::collections::BTreeMap;

use backout_core::plan::Plan;
use glob::Pattern;

use crate::oidc::Issuer;
use crate::role::Role;
use crate::who::Who;

mod read;
pub use read::{POLICY_BYTES_MAX, POLICY_FORMAT, STRUCTS, read};

/// What a policy file says. Where nothing is said, roles alone decide.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The members of each group: names of people.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Who has a role: names and groups. Tokens carry their own roles.
    pub roles: BTreeMap<Role, Vec<String>>,
    /// Who may run what; the first rule that fits decides.
    pub run: Vec<Rule>,
    /// Who may approve what; the first rule that fits decides.
    pub approve: Vec<Rule>,
    /// Whose bearer tokens are believed.
    pub issuers: Vec<Issuer>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it stands in the file, from 1 on.
    pub line: usize,
    /// The runbook's name.
    pub runbook: Option<Pattern>,
    /// The environment's name; a runbook without one does not fit.
    pub environment: Option<Pattern>,
    /// Labels that the runbook must have.
    pub labels: BTreeMap<String, Pattern>,
    /// The step's id; only for approvals.
    pub step: Option<Pattern>,
    /// Names, groups and roles.
    pub may: Vec<String>,
    /// Whether the one who started the run may approve.
    pub starter_may: bool,
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    plan: &'a Plan,
    starter: Option<&'a str>,
    step: Option<&'a str>,
}

/// What the policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// No rule fits.
    Nothing,
    /// This person may.
    Yes,
    /// This person may not.
    No {
        /// Who may, in words.
        why: String,
    },
}

impl<'a> Facts<'a> {
    /// A run of a plan, and a step of it.
    pub fn of(plan: &'a Plan, starter: Option<&'a str>, step: Option<&'a str>) -> Self {
        Self { plan, starter, step }
    }

    fn environment(&self) -> Option<&'a str> {
        self.plan.environment.as_ref().map(|environment| environment.name.as_str())
    }
}

impl Policy {
    /// The groups that a name is in.
    pub(crate) fn groups_of<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p str> {
        let has = move |members: &&Vec<String>| members.iter().any(|member| member == name);
        self.groups.iter().filter(move |(_, members)| has(members)).map(|(group, _)| group.as_str())
    }

    /// The roles that the file gives to a name with groups.
    pub(crate) fn roles_of(&self, name: &str, groups: &[String]) -> Vec<Role> {
        let own: Vec<&str> = self.groups_of(name).collect();
        let is = |entry: &String| {
            entry == name || groups.contains(entry) || own.contains(&entry.as_str())
        };
        let given = self.roles.iter().filter(|(_, people)| people.iter().any(is));
        given.map(|(role, _)| *role).collect()
    }

    pub(crate) fn may_run(&self, who: &Who, facts: &Facts<'_>) -> Say {
        let Some(rule) = self.run.iter().find(|rule| rule.fits(facts)) else { return Say::Nothing };
        if rule.may.iter().any(|entry| who.is(entry)) {
            return Say::Yes;
        }
        let place = place(facts);
        Say::No { why: rule.none_of(&format!("`{}`{place} is run", facts.plan.name), who) }
    }

    pub(crate) fn may_approve(&self, who: &Who, facts: &Facts<'_>) -> Say {
        let fitting = self.approve.iter().find(|rule| rule.fits(facts));
        let Some(rule) = fitting else { return Say::Nothing };
        let what = facts.step.map(|step| format!("`{step}` of ")).unwrap_or_default();
        let what = format!("{what}`{}`{}", facts.plan.name, place(facts));
        if !rule.may.iter().any(|entry| who.is(entry)) {
            return Say::No { why: rule.none_of(&format!("{what} is approved"), who) };
        }
        if !rule.starter_may && facts.starter == Some(who.name.as_str()) {
            let why = format!(
                "{} started the run, and by line {} of the policy may not approve {what}",
                who.name, rule.line
            );
            return Say::No { why };
        }
        Say::Yes
    }
}

fn place(facts: &Facts<'_>) -> String {
    facts.environment().map(|name| format!(" in {name}")).unwrap_or_default()
}

impl Rule {
    fn fits(&self, facts: &Facts<'_>) -> bool {
        let fits = |wanted: &Option<Pattern>, is: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| is.is_some_and(|is| wanted.matches(is)))
        };
        fits(&self.runbook, Some(&facts.plan.name))
            && fits(&self.environment, facts.environment())
            && fits(&self.step, facts.step)
            && self.labels.iter().all(|(name, wanted)| {
                facts.plan.labels.get(name).is_some_and(|is| wanted.matches(is))
            })
    }

    /// Whether it fits every run.
    pub(crate) fn fits_all(&self) -> bool {
        let any = |wanted: &Option<Pattern>| wanted.as_ref().is_none_or(|p| p.as_str() == "*");
        any(&self.runbook)
            && self.environment.is_none()
            && any(&self.step)
            && self.labels.is_empty()
    }

    fn none_of(&self, what: &str, who: &Who) -> String {
        let may = match self.may.as_slice() {
            [] => "nobody".to_owned(),
            some => some.join(" or "),
        };
        let line = self.line;
        format!("{what} by {may} (line {line} of the policy), and {} is none of them", who.name)
    }
}

//! Somebody whose name is vouched for, and what that person may do.

use std::sync::Arc;

use backout_core::command::Ask;
use backout_core::event::{Actor, Cause};
use backout_core::id::CommandId;
use backout_core::plan::Plan;
use serde::Serialize;
use serde_json::Value;

use crate::policy::{Facts, Policy, Say};
use crate::refusal::Refusal;
use crate::role::Role;
use crate::rules::{self, ASKS, AskRule, Part, START, START_OWN, TOLD_APART, listed};

/// Characters of a name: it must fit a column.
pub const NAME_CHARS_MAX: usize = 64;
/// Groups of one person that an event carries: it must stay small. Further ones are left out.
pub const GROUPS_MAX: usize = 64;

/// Who vouches for a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum How {
    /// A token of this store.
    Token {
        /// Its public part.
        id: String,
    },
    /// A break-glass token of this store: every command of it is marked.
    BreakGlass {
        /// Its public part.
        id: String,
    },
    /// A client certificate, signed by the authority that the server trusts.
    Certificate,
    /// An OIDC issuer.
    Issuer {
        /// Its URL.
        url: String,
    },
}

/// Somebody whose name is vouched for. The layer puts it into a request's extensions; it cannot be
/// made from anything that came over the wire.
#[derive(Clone, Debug, Serialize)]
pub struct Who {
    /// The name.
    pub name: String,
    /// What kinds of things this person may do.
    pub roles: Vec<Role>,
    /// Groups, of the policy file or of the issuer.
    pub groups: Vec<String>,
    /// Always true: an unverified person is no `Who`.
    pub verified: bool,
    /// Who vouches.
    pub how: How,
    #[serde(skip)]
    policy: Arc<Policy>,
}

/// Whether somebody may do something, for a view that shows it as such instead of hiding it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct May {
    /// `approve` for instance.
    pub ask: &'static str,
    /// What it does.
    pub does: &'static str,
    /// Why not; absent where this person may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Whether a name can be one: it goes into records, pages and terminals.
pub fn is_name(text: &str) -> bool {
    let long = text.chars().count();
    let is_clean = !text.chars().any(char::is_control) && text.trim() == text;
    (1..=NAME_CHARS_MAX).contains(&long) && is_clean && Role::of(text).is_none() && text != "engine"
}

impl Who {
    /// Somebody whom a part of this crate has verified.
    pub(crate) fn new(
        name: String,
        roles: Vec<Role>,
        how: How,
        mut groups: Vec<String>,
        policy: Arc<Policy>,
    ) -> Self {
        groups.extend(policy.groups_of(&name).map(str::to_owned));
        // A group of an issuer that is called like a role gives nothing.
        groups.retain(|group| Role::of(group).is_none());
        groups.sort();
        groups.dedup();
        groups.truncate(GROUPS_MAX);
        Self { name, roles, groups, verified: true, how, policy }
    }

    /// Whether every command is marked, and the policy is set aside.
    pub fn breaks_glass(&self) -> bool {
        matches!(self.how, How::BreakGlass { .. })
    }

    /// Whether a name of a policy or a runbook means this person: the name, a role or a group.
    pub fn is(&self, entry: &str) -> bool {
        self.name == entry
            || self.roles.iter().any(|role| role.word() == entry)
            || self.groups.iter().any(|group| group == entry)
    }

    /// As events carry it.
    pub fn actor(&self) -> Actor {
        let roles = self.roles.iter().map(|role| role.word().to_owned());
        let roles = roles.chain(self.groups.iter().cloned()).collect();
        Actor { name: self.name.clone(), verified: true, roles }
    }

    /// Why an event came to be that this person asked for.
    ///
    /// # Errors
    /// The glass is broken without a reason.
    pub fn cause(
        &self,
        command: Option<CommandId>,
        reason: Option<String>,
        break_glass: bool,
    ) -> Result<Cause, Refusal> {
        let break_glass = break_glass || self.breaks_glass();
        if break_glass && reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
            let refusal = Refusal::forbidden("breaking the glass needs a reason");
            return Err(refusal.help("say why in `reason`: it marks every later view of the run"));
        }
        Ok(Cause { command, actor: self.actor(), reason, break_glass })
    }

    /// Whether this person may start a run of a plan: of a runbook that the server knows, or of one
    /// that the caller brings, which may hold anything under any name.
    ///
    /// # Errors
    /// Who may.
    pub fn may_start(&self, plan: &Plan, known: bool, break_glass: bool) -> Result<(), Refusal> {
        let rule = if known { &START } else { &START_OWN };
        self.may(rule, &Facts::of(plan, None, None), break_glass)
    }

    /// Whether this person may take a run up.
    ///
    /// # Errors
    /// Who may.
    pub fn may_resume(&self, plan: &Plan, starter: &str, break_glass: bool) -> Result<(), Refusal> {
        self.may_word("resume", &Facts::of(plan, Some(starter), None), break_glass)
    }

    /// Whether this person may give a command to a run of a plan that somebody started.
    ///
    /// # Errors
    /// Who may.
    pub fn may_ask(
        &self,
        ask: &Ask,
        plan: &Plan,
        starter: &str,
        break_glass: bool,
    ) -> Result<(), Refusal> {
        let step = step_of(ask);
        let facts = Facts::of(plan, Some(starter), step.as_deref());
        self.may_word(&rules::word(ask), &facts, break_glass)
    }

    /// What this person may do to a run, and to a step of it where one is named.
    pub fn may_all(&self, plan: &Plan, starter: &str, step: Option<&str>) -> Vec<May> {
        let facts = Facts::of(plan, Some(starter), step);
        let may = |rule: &AskRule| {
            let refused = self.may(rule, &facts, false).err();
            May { ask: rule.ask, does: rule.does, refused: refused.map(|refusal| refusal.detail) }
        };
        TOLD_APART.iter().copied().chain(ASKS).map(may).collect()
    }

    fn may_word(&self, word: &str, facts: &Facts<'_>, break_glass: bool) -> Result<(), Refusal> {
        match rules::of_word(word) {
            Some(rule) => self.may(rule, facts, break_glass),
            None if rules::allows(&[], &self.roles) => Ok(()),
            None => Err(self.lacks(word, &[])),
        }
    }

    fn may(&self, rule: &AskRule, facts: &Facts<'_>, break_glass: bool) -> Result<(), Refusal> {
        let break_glass = break_glass || self.breaks_glass();
        let roles = if break_glass { rule.broken } else { rule.roles };
        if !rules::allows(roles, &self.roles) {
            return Err(self.lacks(rule.does, roles));
        }
        if break_glass {
            return Ok(());
        }
        let say = match rule.part {
            Part::Run => self.policy.may_run(self, facts),
            Part::Approve => self.policy.may_approve(self, facts),
            Part::Nothing => Say::Nothing,
        };
        match say {
            Say::Nothing | Say::Yes => Ok(()),
            Say::No { why } => Err(Refusal::forbidden(why).help(
                "ask one of them; in an emergency, break the glass: it needs a reason and is marked",
            )),
        }
    }

    fn lacks(&self, does: &str, roles: &[Role]) -> Refusal {
        let has: Vec<&str> = self.roles.iter().map(|role| role.word()).collect();
        let has = if has.is_empty() { "no role".to_owned() } else { has.join(" and ") };
        Refusal::forbidden(format!("to {does} takes {}; {} is {has}", listed(roles), self.name))
            .help("ask somebody who has that role, or an admin to give it")
    }
}

/// The step that a command names.
fn step_of(ask: &Ask) -> Option<String> {
    let value = serde_json::to_value(ask).ok()?;
    value.get("step").and_then(Value::as_str).map(str::to_owned)
}

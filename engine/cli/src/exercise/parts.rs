//! Who has which part in an exercise, where the command line says more than the scenario.

use backout_tabletop::scenario::{Role, Scenario};

use crate::exit::Failure;

/// Parts that the command line gives.
#[derive(Debug, clap::Args)]
pub(crate) struct PartArgs {
    /// Give somebody a part, beside those of the scenario: `fay=facilitator`, `eve=evaluator`,
    /// `dan=data collector`, or any other word for one who takes part
    #[arg(long = "part", value_name = "NAME=PART")]
    parts: Vec<String>,
}

impl PartArgs {
    /// Gives the parts, as if the scenario had named them.
    pub(crate) fn give(&self, scenario: &mut Scenario) -> Result<(), Failure> {
        for given in &self.parts {
            let named = given.split_once('=').map(|(who, role)| (who.trim(), role.trim()));
            let named = named.filter(|(who, role)| !who.is_empty() && !role.is_empty());
            let (who, role) = named.ok_or_else(|| {
                let message = format!("`{given}` is no part");
                Failure::usage(message, "write --part NAME=PART, fay=facilitator for instance")
            })?;
            let (role, who) = (role.to_owned(), Some(who.to_owned()));
            scenario.roles.push(Role { role, who, does: String::new() });
        }
        Ok(())
    }
}

//! The plugins as the runbook reader knows them.

use backout_core::id::ActionName;
use backout_plugin_api as api;
use backout_runbook::{ActionInfo, Catalogue, Checked, InputProblem};
use backout_runtime::Host;

/// The host's actions.
#[derive(Clone, Copy, Debug)]
pub struct Actions<'h>(pub &'h Host);

impl Catalogue for Actions<'_> {
    fn actions(&self) -> Vec<String> {
        self.0.all().map(|(name, _)| name.to_string()).collect()
    }

    fn find(&self, name: &str) -> Option<ActionInfo<'_>> {
        let action = self.0.find(&ActionName::from(name))?;
        let manifest = action.manifest();
        Some(ActionInfo {
            input_schema: (manifest.input)().to_value(),
            guarantee: manifest.guarantee,
            pure: manifest.pure,
            check: Box::new(|input| checked(action.check(input))),
        })
    }
}

fn checked(said: api::Checked) -> Checked {
    Checked {
        problems: said.problems.into_iter().map(problem).collect(),
        warnings: said.warnings.into_iter().map(problem).collect(),
        guarantee: said.guarantee,
        targets: said.targets,
    }
}

fn problem(said: api::InputProblem) -> InputProblem {
    InputProblem { at: said.at, message: said.message, help: said.help }
}

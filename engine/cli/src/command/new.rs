//! `new`: a runbook to begin with.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use crate::app::App;
use crate::exit::{Exit, Failure};

/// A runbook to begin with.
struct Template {
    name: &'static str,
    about: &'static str,
    text: &'static str,
}

/// All templates; the first is the default.
const TEMPLATES: [Template; 4] = [
    Template {
        name: "release",
        about: "a release folder behind a symlink, a flag, a check",
        text: include_str!("../templates/release.ron"),
    },
    Template {
        name: "schema",
        about: "a database schema back by down migrations, behind an approval",
        text: include_str!("../templates/schema.ron"),
    },
    Template {
        name: "command",
        about: "commands of your own, with a probe that tells whether they worked",
        text: include_str!("../templates/command.ron"),
    },
    Template {
        name: "minimal",
        about: "two steps that do nothing",
        text: include_str!("../templates/minimal.ron"),
    },
];

/// Arguments of `new`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write it; `-` is stdout [default: rollback.ron]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// What to begin with
    #[arg(long, value_name = "TEMPLATE", value_parser = TEMPLATES.map(|template| template.name))]
    from: Option<String>,
    /// List the templates
    #[arg(long, conflicts_with_all = ["file", "from"])]
    list: bool,
}

/// Writes a new file; one that is there is never overwritten.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    if args.list {
        for template in &TEMPLATES {
            app.ui.data(&format!("{:<9} {}", template.name, template.about))?;
        }
        return Ok(Exit::Done);
    }
    let template = find(args.from.as_deref());
    let path = args.file.clone().unwrap_or_else(|| PathBuf::from("rollback.ron"));
    if path.as_os_str() == "-" {
        app.ui.data(template.text)?;
        return Ok(Exit::Done);
    }
    let failed = |error| Failure::file(format!("writing {}", path.display()), error);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
    file.write_all(template.text.as_bytes()).map_err(failed)?;
    app.ui.say(&format!("wrote {}; next: backout check {}", path.display(), path.display()));
    Ok(Exit::Done)
}

fn find(name: Option<&str>) -> &'static Template {
    let named = TEMPLATES.iter().find(|template| Some(template.name) == name);
    named.unwrap_or(&TEMPLATES[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Given;
    use crate::runbook_file;

    #[test]
    fn every_template_is_a_valid_runbook() {
        let host = crate::app::host();
        for template in &TEMPLATES {
            let checked =
                runbook_file::check_text(&host, template.name, template.text, &Given::new());
            assert!(checked.plan.is_some(), "{}: {:?}", template.name, checked.problems);
            assert!(checked.problems.is_empty(), "{}: {:?}", template.name, checked.problems);
        }
    }
}

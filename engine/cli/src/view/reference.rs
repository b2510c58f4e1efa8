//! The reference page of the command line, generated from clap.

use std::fmt::Write;

use clap::{Arg, Command};

use crate::exit::Exit;

/// `docs/reference/cli.md`.
pub(crate) fn page(command: &Command) -> String {
    let mut out = "# Command line\n\nGenerated from the command itself by the test \
                   `the_command_reference_is_up_to_date`.\n\nData goes to stdout, everything else to \
                   stderr. A run is named by any unique prefix of its name, or `latest`.\n\n"
        .to_owned();
    out.push_str("| exit code | meaning |\n|---|---|\n");
    for exit in Exit::ALL {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "| {} | {} |", exit.code(), exit.meaning());
    }
    out.push_str("\n## Everywhere\n\n");
    arguments(&mut out, command.get_arguments().filter(|arg| arg.is_global_set()));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        section(&mut out, sub, sub.get_name());
        for inner in sub.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            section(&mut out, inner, &format!("{} {}", sub.get_name(), inner.get_name()));
        }
    }
    out
}

fn section(out: &mut String, command: &Command, name: &str) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().bin_name(format!("backout {name}")).render_usage();
    let usage = usage.to_string().replace("Usage: ", "");
    let _ = write!(out, "\n## `{name}`\n\n{about}.\n\n```text\n{}\n```\n\n", usage.trim());
    let own = command.get_arguments().filter(|arg| !arg.is_global_set() && !arg.is_hide_set());
    arguments(out, own);
    if let Some(after) = command.get_after_help() {
        let _ = writeln!(out, "\n{after}");
    }
}

fn arguments<'a>(out: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    let arguments: Vec<&Arg> = arguments.filter(|arg| arg.get_id() != "help").collect();
    if arguments.is_empty() {
        return;
    }
    out.push_str("| argument | |\n|---|---|\n");
    for argument in arguments {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let env = argument.get_env().map(|env| format!(" (`{}`)", env.to_string_lossy()));
        let _ = writeln!(out, "| `{}` | {help}{} |", name(argument), env.unwrap_or_default());
    }
}

fn name(argument: &Arg) -> String {
    let values: Vec<&str> =
        argument.get_value_names().into_iter().flatten().map(clap::builder::Str::as_str).collect();
    let takes = argument.get_action().takes_values();
    let value = if takes { values.join(" ") } else { String::new() };
    match (argument.get_long(), argument.get_short()) {
        (Some(long), Some(short)) => format!("-{short}, --{long} {value}").trim_end().to_owned(),
        (Some(long), None) => format!("--{long} {value}").trim_end().to_owned(),
        (None, Some(short)) => format!("-{short} {value}").trim_end().to_owned(),
        (None, None) => value,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use backout_plugin_api::Manifest;
    use clap::CommandFactory;

    use crate::args::Cli;
    use crate::view::plugins;

    fn docs(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(path)
    }

    /// Compares a generated page with the one that is checked in; `BACKOUT_BLESS=1` rewrites it.
    fn check_page(path: &str, text: &str) {
        let path = docs(path);
        if std::env::var_os("BACKOUT_BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == text,
            "{} is not up to date; run the tests with BACKOUT_BLESS=1",
            path.display()
        );
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_reference_is_up_to_date() {
        check_page("reference/cli.md", &super::page(&Cli::command()));
    }

    #[test]
    fn plugin_pages_are_up_to_date() {
        let manifests: Vec<Manifest> =
            crate::app::host().all().map(|(_, action)| action.manifest()).collect();
        let plugin = |manifest: &Manifest| {
            manifest.name.as_str().split('.').next().unwrap_or_default().to_owned()
        };
        let mut names: Vec<String> = manifests.iter().map(plugin).collect();
        names.dedup();
        assert!(!names.is_empty());
        for name in names {
            let own: Vec<&Manifest> = manifests.iter().filter(|m| plugin(m) == name).collect();
            check_page(&format!("plugins/{name}.md"), &plugins::page(&name, &own));
        }
    }
}

//! Commands that a person types.

use std::collections::BTreeMap;

use crate::input::{EngineInput, Select, Tls};

/// The client with all that it needs to reach the engine.
pub(crate) fn docker(engine: &EngineInput) -> String {
    let mut command = "docker".to_owned();
    if *engine != EngineInput::default() {
        command = format!("{command} -H {}", engine.host);
    }
    if let Some(Tls { ca, cert, key }) = &engine.tls {
        command = format!("{command} --tlsverify --tlscacert {ca}");
        if let (Some(cert), Some(key)) = (cert, key) {
            command = format!("{command} --tlscert {cert} --tlskey {}", key.0);
        }
    }
    command
}

/// The command that lists the containers with these labels.
pub(crate) fn list(docker: &str, labels: &BTreeMap<String, String>) -> String {
    let filter = |(name, value): (&String, &String)| match value.as_str() {
        "" => format!("--filter label={name}"),
        value => format!("--filter label={name}={value}"),
    };
    let filters: Vec<_> = labels.iter().map(filter).collect();
    format!("{docker} ps -a {}  # and for each NAME:", filters.join(" "))
}

/// The command that names the containers first, where they are not named yet, and the name that
/// stands in the commands after it.
pub(crate) fn names(docker: &str, select: Result<Select, String>) -> (Option<String>, String) {
    match select {
        Ok(Select::Name(name)) => (None, name),
        Ok(Select::Labels(labels)) => (Some(list(docker, &labels)), "NAME".to_owned()),
        Err(_) => (None, "NAME".to_owned()),
    }
}

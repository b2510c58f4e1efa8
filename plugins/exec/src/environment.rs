//! What a command finds in its environment besides what the engine itself has.

use std::collections::BTreeMap;

use backout_plugin_api::{Context, EffectKey, SecretError};

use crate::input::Input;

/// Variables, and the values among them that nobody may see.
pub(crate) struct Environment {
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) secrets: Vec<String>,
}

/// Asks for the secrets and puts all together.
pub(crate) async fn environment(
    ctx: &Context,
    key: &EffectKey,
    input: &Input,
) -> Result<Environment, SecretError> {
    let mut variables = input.env.clone();
    let mut secrets = Vec::new();
    for (name, reference) in &input.secret_env {
        let secret = ctx.secret(reference).await?;
        variables.insert(name.clone(), secret.expose().to_owned());
        secrets.push(secret.expose().to_owned());
    }
    let own = [
        ("BACKOUT_RUN", ctx.run.to_string()),
        ("BACKOUT_STEP", ctx.step.to_string()),
        ("BACKOUT_ATTEMPT", ctx.attempt.to_string()),
        ("BACKOUT_KEY", key.to_string()),
        ("BACKOUT_EPOCH", ctx.epoch.to_string()),
    ];
    variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
    if let Some(trace) = &ctx.traceparent {
        variables.insert("TRACEPARENT".to_owned(), trace.clone());
    }
    Ok(Environment { variables, secrets })
}

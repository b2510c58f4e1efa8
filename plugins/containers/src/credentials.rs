//! Who asks a registry.

use backout_plugin_api::Context;
use bollard::auth::DockerCredentials;

use crate::host::Credentials;
use crate::input::RegistryInput;

/// The credentials, at the moment of use.
///
/// # Errors
/// The secret's reference gave nothing.
pub(crate) async fn credentials(
    ctx: &Context,
    input: Option<&RegistryInput>,
) -> Result<Credentials, String> {
    let Some(input) = input else { return Ok(Credentials::default()) };
    let password = ctx.secret(&input.password).await.map_err(|error| error.to_string())?;
    Ok(Credentials(Some(DockerCredentials {
        username: Some(input.username.clone()),
        password: Some(password.expose().to_owned()),
        ..DockerCredentials::default()
    })))
}

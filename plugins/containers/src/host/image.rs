//! Images: here, at the registry, and brought from there.

use std::collections::BTreeSet;

use bollard::auth::DockerCredentials;
use bollard::models::{ImageConfig, ImageInspect};
use bollard::query_parameters::{CreateImageOptionsBuilder, ListImagesOptionsBuilder};
use futures::TryStreamExt;

use super::{Flavor, Host, HostError};

/// An image that is here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    /// Its own digest, `sha256:…`.
    pub(crate) id: String,
    /// `NAME@sha256:…`, by which registries know it.
    pub(crate) digests: Vec<String>,
    /// `linux/amd64` for instance.
    pub(crate) platform: String,
    /// What it sets for its containers.
    pub(crate) config: ImageConfig,
}

/// What the registry says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registry {
    pub(crate) digest: String,
    pub(crate) platforms: BTreeSet<String>,
}

/// How the registry is told who asks. `Debug` shows nothing of it.
#[derive(Clone, Default)]
pub(crate) struct Credentials(pub(crate) Option<DockerCredentials>);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Credentials").field(&self.0.is_some()).finish()
    }
}

impl From<ImageInspect> for Image {
    fn from(seen: ImageInspect) -> Self {
        let text = Option::unwrap_or_default;
        Self {
            id: with_algorithm(text(seen.id)),
            digests: seen.repo_digests.unwrap_or_default(),
            platform: format!("{}/{}", text(seen.os), text(seen.architecture)),
            config: seen.config.unwrap_or_default(),
        }
    }
}

/// Podman leaves `sha256:` away in some answers.
pub(super) fn with_algorithm(id: String) -> String {
    if id.is_empty() || id.contains(':') { id } else { format!("sha256:{id}") }
}

impl Host {
    /// The image of this name, digest or id, if it is here.
    ///
    /// # Errors
    /// The engine did not answer, or said something else than that it is not here.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<Image>, HostError> {
        match self.docker.inspect_image(name).await.map_err(HostError::from) {
            Ok(seen) => Ok(Some(seen.into())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The ids of all images here that a registry knows under this name, or that bear it as a tag.
    ///
    /// # Errors
    /// As the engine says.
    pub(crate) async fn images_of(&self, repository: &str) -> Result<BTreeSet<String>, HostError> {
        let options = ListImagesOptionsBuilder::default().all(false).digests(true).build();
        let all = self.docker.list_images(Some(options)).await?;
        let is_of = |name: &String| {
            name.strip_prefix(repository).is_some_and(|rest| rest.starts_with([':', '@']))
        };
        Ok(all
            .into_iter()
            .filter(|image| image.repo_tags.iter().chain(&image.repo_digests).any(is_of))
            .map(|image| with_algorithm(image.id))
            .collect())
    }

    /// What the registry says of a name with tag or digest; nothing where this engine cannot ask
    /// without pulling.
    ///
    /// # Errors
    /// The registry does not have it, or does not give it to these credentials.
    pub(crate) async fn registry(
        &self,
        name: &str,
        credentials: &Credentials,
    ) -> Result<Option<Registry>, HostError> {
        if self.flavor == Flavor::Podman {
            return Ok(None);
        }
        let seen = self.docker.inspect_registry_image(name, credentials.0.clone()).await?;
        let platform = |os: Option<String>, arch: Option<String>| {
            format!("{}/{}", os.unwrap_or_default(), arch.unwrap_or_default())
        };
        Ok(Some(Registry {
            digest: seen.descriptor.digest.unwrap_or_default(),
            platforms: seen
                .platforms
                .into_iter()
                .map(|each| platform(each.os, each.architecture))
                .filter(|each| each != "/")
                .collect(),
        }))
    }

    /// Brings an image here. Again it is quick.
    ///
    /// # Errors
    /// As the engine says, of the registry's answer too.
    pub(crate) async fn pull(
        &self,
        name: &str,
        credentials: &Credentials,
    ) -> Result<(), HostError> {
        let options = CreateImageOptionsBuilder::default().from_image(name).build();
        let lines = self.docker.create_image(Some(options), None, credentials.0.clone());
        lines.try_for_each(|_| async { Ok(()) }).await?;
        Ok(())
    }
}

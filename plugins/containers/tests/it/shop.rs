//! A shop on a container engine: images of its service, and containers of it that are the test's
//! own, by a label that a replacement takes over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::Duration;

use backout_test_targets::docker::{Docker, Engine};
use backout_test_targets::podman::Podman;
use backout_test_targets::wait_until;
use serde_json::{Value, json};

/// A secret in a container's environment: nothing may ever show it.
pub(crate) const TOKEN: &str = "tok-4be1-in-the-environment";
const LABEL: &str = "io.backout.test";
const HEALTHY_WITHIN: Duration = Duration::from_mins(1);

/// One engine for all tests of this process.
pub(crate) fn docker() -> Option<&'static dyn Engine> {
    docker_itself().map(|docker| docker as &dyn Engine)
}

/// The same, with what only Docker has.
pub(crate) fn docker_itself() -> Option<&'static Docker> {
    static DOCKER: LazyLock<Option<Docker>> = LazyLock::new(|| Docker::start().unwrap());
    DOCKER.as_ref()
}

/// The same of Podman.
pub(crate) fn podman() -> Option<&'static dyn Engine> {
    static PODMAN: LazyLock<Option<Podman>> = LazyLock::new(|| Podman::start().unwrap());
    PODMAN.as_ref().map(|podman| podman as &dyn Engine)
}

/// The id of the image of a version, built once for each engine. Versions that are not numbers are
/// broken as they say.
pub(crate) fn image(engine: &dyn Engine, version: &str) -> String {
    static BUILT: OnceLock<Mutex<BTreeMap<(String, String), String>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap();
    let key = (engine.host(), version.to_owned());
    let make = || {
        let mut env = vec![("VERSION", version)];
        env.extend(match version {
            "sick" => Some(("UNHEALTHY", "1")),
            "crash" => Some(("CRASH", "1")),
            "plain" => Some(("NOCHECK", "1")),
            _ => None,
        });
        engine.image(&format!("shop:{version}"), &env).unwrap()
    };
    built.entry(key).or_insert_with(make).clone()
}

/// One test's containers, removed with it.
pub(crate) struct Shop {
    pub(crate) engine: &'static dyn Engine,
    pub(crate) name: String,
    pub(crate) network: String,
    label: String,
    _folder: tempfile::TempDir,
    _silent: std::os::unix::net::UnixListener,
    pub(crate) silent_host: String,
}

impl Shop {
    pub(crate) fn new(engine: &'static dyn Engine) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("silent.sock");
        let shop = Self {
            engine,
            name: format!("web-{number}"),
            network: format!("net-{number}"),
            label: format!("{LABEL}={number}"),
            _silent: std::os::unix::net::UnixListener::bind(&socket).unwrap(),
            silent_host: format!("unix://{}", socket.display()),
            _folder: folder,
        };
        shop.docker(&["network", "create", &shop.network]);
        shop
    }

    #[track_caller]
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        self.engine.docker(args).unwrap()
    }

    /// Runs a container of the shop, with all that a replacement must keep, and waits until it is
    /// healthy.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, version: &str, more: &[&str]) {
        let image = self.image(version);
        self.run_image(name, &image, more);
        if !["sick", "crash"].contains(&version) {
            self.wait_well(name);
        }
    }

    #[track_caller]
    pub(crate) fn run_image(&self, name: &str, image: &str, more: &[&str]) {
        let token = format!("TOKEN={TOKEN}");
        let mut args = vec!["run", "-d", "--name", name, "--label", &self.label];
        args.extend(["--network", &self.network, "-e", &token]);
        args.extend(more);
        args.push(image);
        self.docker(&args);
    }

    /// The id of the image of a version.
    pub(crate) fn image(&self, version: &str) -> String {
        image(self.engine, version)
    }

    /// Waits until a container runs and, where the engine checks that, is healthy.
    #[track_caller]
    pub(crate) fn wait_well(&self, name: &str) {
        let format = "{{.State.Running}} {{if .State.Health}}{{.State.Health.Status}}{{end}}";
        wait_until(HEALTHY_WITHIN, || {
            let said = self.docker(&["inspect", name, "--format", format]);
            let is_podman = self.engine.host().contains("podman");
            let is_well =
                said == "true" || said == "true healthy" || (is_podman && said.starts_with("true"));
            if is_well { Ok(()) } else { Err(said) }
        })
        .unwrap();
    }

    /// The test's containers, one line each: name, image, state, when it started. A kept one, and
    /// one under our mark, too; a seal has no label of theirs.
    pub(crate) fn record(&self) -> Vec<String> {
        let filter = format!("label={}", self.label);
        let ids = self.docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]);
        let format = "{{.Name}} {{.Image}} {{.State.Status}} {{.State.StartedAt}} \
                      {{.HostConfig.RestartPolicy.Name}} {{.Id}}";
        let mut lines: Vec<_> =
            ids.lines().map(|id| self.docker(&["inspect", id, "--format", format])).collect();
        lines.sort();
        lines
    }

    /// What serves under a name: image and state.
    pub(crate) fn serving(&self, name: &str) -> Value {
        let format = "{{.Image}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}}";
        json!(self.engine.docker(&["inspect", name, "--format", format]).ok())
    }

    /// The names of the test's containers that run, and of those that do not.
    pub(crate) fn names(&self) -> (Vec<String>, Vec<String>) {
        let of = |more: &str| {
            let filter = format!("label={}", self.label);
            let format = "{{.Names}}";
            let said = self
                .docker(&["ps", "-a", "--filter", &filter, "--filter", more, "--format", format]);
            let mut names: Vec<_> = said.lines().map(ToOwned::to_owned).collect();
            names.sort();
            names
        };
        let mut down = of("status=exited");
        down.extend(of("status=created"));
        (of("status=running"), down)
    }

    /// The label by which its containers are selected.
    pub(crate) fn labels(&self) -> Value {
        let (name, value) = self.label.split_once('=').unwrap();
        json!({ name: value })
    }

    /// Where its engine is, for an input.
    pub(crate) fn host(&self) -> Value {
        json!({ "host": self.engine.host() })
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let filter = format!("label={}", self.label);
        let ids = self.engine.docker(&["ps", "-aq", "--filter", &filter]).unwrap_or_default();
        for id in ids.lines() {
            let _gone = self.engine.docker(&["rm", "-f", id]);
        }
        let _gone = self.engine.docker(&["network", "rm", &self.network]);
    }
}

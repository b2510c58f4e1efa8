//! `runbooks/checkout.ron` and `runbooks/checkout_schema_first.ron` on the real thing: two services
//! in containers that write to PostgreSQL, goose's ledger, a go-feature-flag relay, and people who
//! order all the while.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use backout_test_targets::docker::Engine;
use backout_test_targets::flags::{Relay, RelayOptions, System};
use backout_test_targets::postgres::Postgres;
use backout_test_targets::registry::Registry;
use backout_test_targets::{missing, program, wait_until};

use crate::support::{DOCKER, POSTGRES, Said, TestEnv};

const SERVICES: [&str; 2] = ["cart", "checkout"];
const MIGRATIONS: [(&str, &str); 3] = [
    (
        "00001_orders.sql",
        "-- +goose Up\nCREATE TABLE orders (id bigserial PRIMARY KEY, service text NOT NULL, release text NOT NULL, \
         price int, at timestamptz NOT NULL DEFAULT now());\n-- +goose Down\nDROP TABLE orders;\n",
    ),
    (
        "00002_index.sql",
        "-- +goose Up\nCREATE INDEX orders_at ON orders (at);\n-- +goose Down\nDROP INDEX orders_at;\n",
    ),
    ("00003_total.sql", ""),
];
/// The newer schema, where the older release still writes beside it.
const BESIDE: &str = "-- +goose Up\nALTER TABLE orders ADD COLUMN total int;\n\
                      -- +goose Down\nALTER TABLE orders DROP COLUMN total;\n";
/// The newer schema, on which the older release cannot even start.
const INSTEAD: &str = "-- +goose Up\nALTER TABLE orders RENAME COLUMN price TO total;\n\
                       -- +goose Down\nALTER TABLE orders RENAME COLUMN total TO price;\n";
const FLAGS: &str = "# The checkout's flags.\nnew_checkout:\n  variations:\n    enabled: true\n    disabled: false\n  \
                     defaultRule:\n    variation: enabled\n";
const HEALTHCHECK: &str =
    "HEALTHCHECK --interval=1s --timeout=2s --retries=2 CMD [\"/service\", \"health\"]";
/// How long containers may take to be well on a busy machine.
const WELL_WITHIN: Duration = Duration::from_mins(2);

static REGISTRY: LazyLock<Option<Registry>> = LazyLock::new(|| Registry::start(false).unwrap());

fn is_possible() -> bool {
    let goose = program("goose").is_some()
        || missing("goose", "TOOLS=... bash tests/setup/migration-tools.sh");
    goose && Postgres::is_here() && Relay::is_here() && DOCKER.is_some() && REGISTRY.is_some()
}

/// The service, compiled once for the process.
static SERVICE: LazyLock<PathBuf> = LazyLock::new(|| {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/it/checkout/service");
    let built = std::env::temp_dir().join(format!("backout-checkout-{}", std::process::id()));
    let done = Command::new("go")
        .args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
        .arg(&built)
        .arg(".")
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    built
});

fn docker(args: &[&str]) -> String {
    DOCKER.as_ref().unwrap().docker(args).unwrap()
}

/// A release of a service in the registry: its image by digest, which the engine has already. Made
/// once for the process: a second build would move the tag under the first.
fn image(release: &str, column: &str) -> String {
    static MADE: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let tag = format!("{}/shop:{release}-{column}", REGISTRY.as_ref().unwrap().name());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(tag.clone()).or_insert_with(|| make_image(&tag, release, column)).clone()
}

fn make_image(tag: &str, release: &str, column: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(&*SERVICE, folder.path().join("service")).unwrap();
    let text = format!(
        "FROM scratch\nCOPY service /service\nENV VERSION={release} PRICE_COLUMN={column}\n\
         {HEALTHCHECK}\nCMD [\"/service\"]\n"
    );
    fs::write(folder.path().join("Dockerfile"), text).unwrap();
    docker(&["build", "-q", "-t", tag, folder.path().to_str().unwrap()]);
    docker(&["push", "-q", tag]);
    docker(&["image", "inspect", tag, "--format", "{{index .RepoDigests 0}}"])
}

/// What the engine itself calls an image.
fn id_of(image: &str) -> String {
    docker(&["image", "inspect", image, "--format", "{{.Id}}"])
}

/// What the relay takes a refresh with.
const RELAY_KEY: &str = "s3cret-admin";

/// A shop of its own: network, database, flags, relay, the newer release running.
struct Shop {
    env: TestEnv,
    project: String,
    database: String,
    old: String,
    relay: Relay,
}

impl Shop {
    /// `third` is the newer schema; `works_to` the newest that the old release works with.
    fn new(name: &str, third: &str, works_to: u32) -> Self {
        let env = TestEnv::new();
        let project = format!("{name}{}", std::process::id());
        let database = POSTGRES.new_database().unwrap();
        for (file, text) in MIGRATIONS {
            env.write(&format!("migrations/{file}"), if text.is_empty() { third } else { text });
        }
        let flags = env.write("flags.yaml", FLAGS);
        let options = RelayOptions { admin_key: RELAY_KEY, ..RelayOptions::default() };
        let relay = Relay::start(System::GoFeatureFlag, &flags, options).unwrap();
        let (old, new) = (image("2025.11.3", "price"), image("2025.11.4", "total"));
        let shop = Self { env, project, database, old, relay };
        shop.goose("up");
        docker(&["network", "create", &shop.project]);
        for service in SERVICES {
            shop.start(service, &new);
        }
        shop.write_releases(&new, works_to);
        shop
    }

    fn name(&self, service: &str) -> String {
        format!("{}-{service}", self.project)
    }

    fn goose(&self, verb: &str) -> String {
        let done = Command::new("goose")
            .args(["-dir", "migrations", "postgres", &POSTGRES.url(&self.database), verb])
            .current_dir(self.env.path(""))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        said
    }

    fn start(&self, service: &str, image: &str) {
        let database = format!(
            "DATABASE=host=/pg port={} user=postgres dbname={} sslmode=disable",
            POSTGRES.port(),
            self.database
        );
        let socket = format!("{}:/pg:ro", POSTGRES.folder().display());
        let (name, is_service) = (self.name(service), format!("SERVICE={service}"));
        let project = format!("com.docker.compose.project={}", self.project);
        let label = format!("com.docker.compose.service={service}");
        let mut args = vec!["run", "-d", "--name", &name, "--network", &self.project];
        args.extend(["--network-alias", service, "--label", &project, "--label", &label]);
        args.extend(["-e", &database, "-e", &is_service, "-v", &socket, image]);
        docker(&args);
        let format = "{{.State.Health.Status}}";
        wait_until(WELL_WITHIN, || {
            match docker(&["inspect", &name, "--format", format]).as_str() {
                "healthy" => Ok(()),
                other => Err(format!("{name} is {other}")),
            }
        })
        .unwrap();
    }

    fn write_releases(&self, new: &str, works_to: u32) {
        let entry = |id: &str, at: &str, image: &str, schema: u32, to: u32| {
            format!(
                r#"(id: "{id}", deployed_at: "{at}",
    services: {{"cart": (image: "{image}"), "checkout": (image: "{image}")}},
    schemas: {{"orders": {schema}}}, works_with: {{"orders": [(from: {schema}, to: {to})]}},
    flags: ["new_checkout"]),
"#
            )
        };
        let old = entry("2025.11.3", "2025-11-13T10:15:00Z", &self.old, 2, works_to);
        let new = entry("2025.11.4", "2025-11-20T09:40:00Z", new, 3, 3);
        self.env.write("releases.ron", &format!("Releases(format: 1, releases: [{old}{new}])"));
    }

    /// `backout run` of a runbook, or `resume`, killed at a point of the engine where one is named.
    fn backout(&self, args: &[&str], killed_at: &str) -> Said {
        let mut command = self.env.command(args);
        command.env("CHECKOUT_DATABASE", POSTGRES.url(&self.database));
        command.env("RELAY_ADMIN_KEY", RELAY_KEY);
        if !killed_at.is_empty() {
            command.env("BACKOUT_TEST_CRASH", killed_at);
        }
        crate::support::Running::new(&mut command).wait()
    }

    fn run(&self, runbook: &str, more: &[&str], killed_at: &str) -> Said {
        let text = fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runbooks").join(runbook),
        );
        // Nobody looks for two minutes here.
        self.env.write(runbook, &text.unwrap().replace("soak: \"2m\"", "soak: \"2s\""));
        let host = DOCKER.as_ref().unwrap().host();
        let params = [
            format!("engine={host}"),
            format!("flags={}", self.env.path("flags.yaml").display()),
            format!("relay={}", self.relay.url()),
            format!("migrations={}", self.env.path("migrations").display()),
        ];
        let mut args = vec!["run", runbook, "--yes", "--no-wait"];
        for param in params.iter().map(String::as_str).chain(more.iter().copied()) {
            args.extend(["-p", param]);
        }
        self.backout(&args, killed_at)
    }

    fn orders(&self, release: &str) -> u64 {
        let sql = format!("SELECT count(*) FROM orders WHERE release = '{release}'");
        POSTGRES.psql(&self.database, &sql).unwrap().trim().parse().unwrap()
    }

    /// The containers of a service that run, by image, and how many there are of it at all.
    fn containers(&self, service: &str) -> (Vec<String>, usize) {
        let project = format!("label=com.docker.compose.project={}", self.project);
        let label = format!("label=com.docker.compose.service={service}");
        let ids = docker(&["ps", "-aq", "--filter", &project, "--filter", &label]);
        let state =
            |id: &str| docker(&["inspect", id, "--format", "{{.State.Running}} {{.Image}}"]);
        let all: Vec<String> = ids.lines().map(state).collect();
        let running = all.iter().filter_map(|one| one.strip_prefix("true ")).map(str::to_owned);
        (running.collect(), all.len())
    }

    /// Approves what waits for it.
    fn approve(&self) {
        let status = self.env.status("latest");
        let steps = status["steps"].as_array().unwrap();
        let waiting = steps.iter().find(|step| step["wait"]["for"] == "approval").unwrap();
        self.env.backout(["approve", "latest", waiting["id"].as_str().unwrap()]).exits(0);
    }

    /// What must be true at the end, whatever came between.
    fn is_rolled_back(&self, schema: &str) {
        assert_eq!(self.env.status("latest")["state"], "succeeded");
        self.env.backout(["verify"]).exits(0);
        for service in SERVICES {
            let (running, all) = self.containers(service);
            assert_eq!(running, [id_of(&self.old)], "{service} runs once, in the old release");
            assert!(all <= 2, "{service}: one that runs, and at most one kept for an undo: {all}");
        }
        assert!(self.goose("version").contains(schema), "{}", self.goose("version"));
        let flags = fs::read_to_string(self.env.path("flags.yaml")).unwrap();
        assert!(flags.starts_with("# The checkout's flags."), "{flags}");
        assert!(flags.contains("variation: disabled"), "{flags}");
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let Some(docker) = DOCKER.as_ref() else { return };
        let project = format!("label=com.docker.compose.project={}", self.project);
        let ids = docker.docker(&["ps", "-aq", "--filter", &project]).unwrap_or_default();
        for id in ids.lines() {
            drop(docker.docker(&["rm", "-f", id]));
        }
        drop(docker.docker(&["network", "rm", &self.project]));
    }
}

/// People who order at both services, over and over, each time by a new connection.
struct Traffic<'a> {
    shop: &'a Shop,
    name: String,
}

impl<'a> Traffic<'a> {
    fn begin(shop: &'a Shop) -> Self {
        let name = format!("{}-people", shop.project);
        let mut args = vec!["run", "-d", "--name", &name, "--network", &shop.project];
        args.extend(["--no-healthcheck", &shop.old, "/service", "load"]);
        args.extend(["http://cart:8080/order", "http://checkout:8080/order"]);
        docker(&args);
        Self { shop, name }
    }

    /// Ends it, and gives how many orders were taken, how many failed, and what was said of those.
    fn end(self) -> (u64, u64, String) {
        docker(&["stop", &self.name]);
        let said = docker(&["logs", &self.name]);
        docker(&["rm", "-f", &self.name]);
        let last = said.lines().last().unwrap_or_default();
        let words: Vec<&str> = last.split_whitespace().collect();
        let [_, good, _, bad] = words.as_slice() else { panic!("{}: {said}", self.shop.project) };
        (good.parse().unwrap(), bad.parse().unwrap(), said)
    }
}

/// Where the engine is killed, one after the other, in the course of one rollback: in each window of
/// each of these steps. The outcome on disk and nothing after it is where the next step's intent is
/// not yet.
fn kills(steps: &[&str]) -> Vec<String> {
    let windows = ["before-intent", "after-intent", "after-effect"];
    steps.iter().flat_map(|step| windows.map(|window| format!("{window}:{step}"))).collect()
}

/// How often it may stop for a person between two kills.
const STOPS_MAX: usize = 4;

/// Goes back by a runbook, killed at each of these points, and then to the end; says yes wherever it
/// asks.
fn walk(shop: &Shop, runbook: &str, more: &[&str], points: &[String]) {
    let mut said: Option<Said> = None;
    let mut go_on = |point: &str| -> i32 {
        let now = match &said {
            None => shop.run(runbook, more, point),
            Some(_) => shop.backout(&["resume", "latest", "--no-wait"], point),
        };
        let code = now.code;
        if code == 4 {
            shop.approve();
        }
        said = Some(now);
        code
    };
    for point in points {
        let stops = (0..STOPS_MAX).map(|_| go_on(point)).take_while(|code| *code == 4).count();
        let state = shop.env.status("latest");
        assert_eq!(state["state"], "interrupted", "not killed at {point} after {stops} stops");
    }
    let code = (0..STOPS_MAX).map(|_| go_on("")).find(|code| *code != 4);
    assert_eq!(code, Some(0), "{}", said.map(|said| said.err).unwrap_or_default());
}

/// The orders that were taken are all there.
fn nothing_is_lost(shop: &Shop, good: u64) {
    let written = shop.orders("2025.11.3") + shop.orders("2025.11.4");
    assert!(written >= good, "{good} orders were taken, {written} are there");
}

#[test]
fn the_checkout_goes_back_under_traffic_killed_in_every_window() {
    if !is_possible() {
        return;
    }
    let shop = Shop::new("kill", BESIDE, 2);
    let traffic = Traffic::begin(&shop);
    let project = format!("project={}", shop.project);
    let points = kills(&["flag_off", "cart_back", "checkout_back", "schema_down"]);
    walk(&shop, "checkout.ron", &[&project], &points);
    shop.is_rolled_back("version 2");
    let (good, bad, log) = traffic.end();
    println!("killed {} times; {good} orders taken, {bad} failed", points.len());
    nobody_was_left_out(good, bad, &log);
    nothing_is_lost(&shop, good);
}

#[test]
fn the_schema_stays_where_the_old_release_works_with_it() {
    if !is_possible() {
        return;
    }
    let shop = Shop::new("stay", BESIDE, 3);
    let traffic = Traffic::begin(&shop);
    let project = format!("project={}", shop.project);
    shop.run("checkout.ron", &[&project], "").exits(0);
    shop.is_rolled_back("version 3");
    let (good, bad, log) = traffic.end();
    println!("{good} orders taken, {bad} failed");
    nobody_was_left_out(good, bad, &log);
}

/// The service was there all the time. A connection that was opened in the moment when its container
/// ended may be lost all the same: only the service itself could prevent that.
fn nobody_was_left_out(good: u64, bad: u64, log: &str) {
    assert!(bad * 100 <= good, "{bad} of {good} orders failed\n{log}");
}

/// Killed at these steps on the way; the service goes dark, and it comes back.
fn goes_dark_and_comes_back(name: &str, steps: &[&str]) {
    if !is_possible() {
        return;
    }
    let shop = Shop::new(name, INSTEAD, 2);
    let traffic = Traffic::begin(&shop);
    let names = SERVICES.map(|service| format!("{service}={}", shop.name(service)));
    let more: Vec<&str> = names.iter().map(String::as_str).collect();
    let points = kills(steps);
    walk(&shop, "checkout_schema_first.ron", &more, &points);
    shop.is_rolled_back("version 2");
    let before = shop.orders("2025.11.3");
    wait_until(WELL_WITHIN, || match shop.orders("2025.11.3") {
        now if now > before + 20 => Ok(()),
        now => Err(format!("{now} orders")),
    })
    .unwrap();
    let (good, bad, log) = traffic.end();
    println!("killed {} times; {good} orders taken, {bad} failed while it was dark", points.len());
    assert!(bad > 0, "it cannot have been dark without anybody seeing it");
    let failed: Vec<&str> = log.lines().filter(|line| line.starts_with("FAIL")).collect();
    println!("dark from {:?} to {:?}", failed.first(), failed.last());
    nothing_is_lost(&shop, good);
}

/// What goes beside them, the checkout, is at any point of its own when the engine dies.
#[test]
fn schema_first_under_traffic_killed_in_every_window_of_one_service() {
    goes_dark_and_comes_back("dark", &["flag_off", "cart_out", "schema_down", "cart_back"]);
}

#[test]
fn schema_first_under_traffic_killed_in_every_window_of_the_other_service() {
    goes_dark_and_comes_back("night", &["checkout_out", "checkout_back"]);
}

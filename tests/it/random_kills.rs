//! A runbook of thirty steps whose engine is killed at random moments until it ends.

use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use crate::support::{TestEnv, wait_until};
use crate::targets::{Database, FlagFile, OLD_SHA256, Releases, Server, lines};

/// A killed engine lived so many milliseconds at the most: some kills come before it opened its
/// store, some after several steps.
const LIFE_MS_MAX: u64 = 250;
/// Kills after which the run is left alone to end.
const KILLS_MAX: usize = 25;
/// Steps in the runbook.
const STEPS: usize = 30;
/// The seeds of an ordinary test run; `BACKOUT_TEST_SEED` adds one.
const SEEDS: [u64; 2] = [1, 20_261_122];

/// splitmix64: small, and the same for ever.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

#[test]
fn random_kills_make_no_effect_twice() {
    let more = std::env::var("BACKOUT_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    std::thread::scope(|scope| {
        for seed in SEEDS.into_iter().chain(more) {
            scope.spawn(move || survive(seed));
        }
    });
}

struct World {
    env: TestEnv,
    server: Server,
    flags: FlagFile,
    releases: Releases,
    database: Database,
}

impl World {
    fn new() -> Self {
        let env = TestEnv::new();
        let folder = env.path("");
        let world = Self {
            server: Server::new(true),
            flags: FlagFile::new(&folder),
            releases: Releases::new(&folder),
            database: Database::new(&folder, 3),
            env,
        };
        world.env.write("long.ron", &world.runbook());
        world
    }

    /// Appends the step's name to a file in the end, after a while in which it may be killed.
    fn command(&self, id: &str, more: &str) -> String {
        format!(
            r#"action: "exec.run", with: (cwd: "{}", command: ["sh", "-c",
            "sleep 0.0{}; echo $BACKOUT_STEP >> made"], {more})"#,
            self.env.path("").display(),
            id.len() % 8,
        )
    }

    fn runbook(&self) -> String {
        let mut steps: Vec<String> = Vec::new();
        steps.push(r#"(id: "start", action: "noop.run")"#.to_owned());
        steps.push(format!(
            r#"(id: "fan", for_each: ["a", "b", "c", "d", "e", "f", "g", "h"], {})"#,
            self.command("fan", "")
        ));
        steps.push(r#"(id: "join", needs: ["fan"], action: "noop.run")"#.to_owned());
        for at in 1..=5 {
            let id = format!("manual_{at}");
            steps.push(format!(r#"(id: "{id}", {})"#, self.command(&id, "")));
            let id = format!("probed_{at}");
            let settle = format!(r#"settle: ["grep", "-qx", "{id}", "made"]"#);
            steps.push(format!(r#"(id: "{id}", {})"#, self.command(&id, &settle)));
        }
        steps.push(format!(
            r#"(id: "flag", action: "flags.off", with: (file: "{}", flag: "new_checkout"))"#,
            self.flags.path.display()
        ));
        steps.push(format!(
            r#"(id: "schema", action: "migrations.down", accept: ["drops-table", "drops-column", "changes-rows"],
            with: (path: "{}", dir: "{}", to: 0))"#,
            self.database.path.display(),
            self.database.migrations.display()
        ));
        steps.push(format!(
            r#"(id: "release", action: "releases.activate", with: (root: "{}", release: "1.4.1",
            artifact: (path: "bin/shop", sha256: "{OLD_SHA256}")))"#,
            self.releases.root.display()
        ));
        steps.push(format!(
            r#"(id: "drain", action: "http.request", with: (method: POST, url: "{}", keyed: "1h"))"#,
            self.server.url("/drain")
        ));
        steps.push(r#"(id: "short", action: "wait.for", with: (time: "100ms"))"#.to_owned());
        let counted = steps.len() + 7;
        for at in counted..STEPS {
            steps.push(format!(r#"(id: "noop_{at}", action: "noop.run")"#));
        }
        let mut text = String::from("Runbook(format: 1, name: \"long\", steps: [\n");
        for step in steps {
            writeln!(text, "{step},").unwrap();
        }
        text + "])"
    }

    /// Every target says: once.
    fn check(&self, seed: u64) {
        let mut made = lines(&self.env.path("made"));
        made.sort();
        let mut wanted: Vec<String> = ('a'..='h').map(|key| format!("fan[{key}]")).collect();
        wanted.extend((1..=5).flat_map(|at| [format!("manual_{at}"), format!("probed_{at}")]));
        wanted.sort();
        assert_eq!(made, wanted, "seed {seed}");
        assert_eq!(self.flags.swaps(), 1, "seed {seed}");
        assert_eq!(self.releases.swaps(), 1, "seed {seed}");
        assert_eq!(self.releases.current(), "releases/1.4.1", "seed {seed}");
        assert_eq!(self.database.audit(), ["down 3", "down 2", "down 1"], "seed {seed}");
        assert!(self.database.schema().is_empty(), "seed {seed}");
        assert_eq!(self.server.made(), 1, "seed {seed}");
    }
}

fn survive(seed: u64) {
    println!(
        "seed {seed}: BACKOUT_TEST_SEED={seed} cargo test -p backout-cli --test it random_kills"
    );
    let world = World::new();
    let mut chance = Chance(seed);
    let mut kills = 0;
    let code = loop {
        let begun = !world.env.history("latest").is_empty();
        let args: &[&str] = if begun { &["resume", "latest"] } else { &["run", "long.ron"] };
        let mut running = world.env.spawn(args);
        let life = Duration::from_millis(chance.below(LIFE_MS_MAX));
        let end = Instant::now() + life;
        if kills >= KILLS_MAX {
            break running.wait().code;
        }
        while !running.is_over() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !running.is_over() {
            running.signal("KILL");
        }
        let said = running.wait();
        if said.code != -1 {
            assert!(said.code == 0, "seed {seed}: {}\n{}", said.out, said.err);
            break said.code;
        }
        kills += 1;
        let verified = world.env.backout(["verify"]);
        assert_eq!(
            verified.code, 0,
            "seed {seed}, after kill {kills}:\n{}{}",
            verified.out, verified.err
        );
        // A kill may come between the run's last event and the end of its engine.
        if !world.env.history("latest").is_empty()
            && world.env.status("latest")["state"] == "succeeded"
        {
            break 0;
        }
    };
    assert_eq!(code, 0, "seed {seed}");
    println!("seed {seed}: ended after {kills} kills");
    assert!(kills >= 3, "seed {seed} killed too seldom to say anything");
    let status = world.env.status("latest");
    assert_eq!(status["state"], "succeeded", "seed {seed}");
    assert_eq!(status["steps"].as_array().unwrap().len(), STEPS);
    world.check(seed);
    wait_until("no shim is left behind", || !is_any_shim(&world));
}

/// Whether a process still works in the world's folder.
fn is_any_shim(world: &World) -> bool {
    let folder = world.env.path("");
    let inside = |entry: fs::DirEntry| {
        fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder))
    };
    fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(inside)
}

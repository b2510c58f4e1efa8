//! The examples of what stands around a rollback: gates, configuration, a release from a store.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use backout_test_targets::prometheus::Prometheus;
use backout_test_targets::wait_until;
use backout_test_targets::web::{Web, closed};

use sqlx::{Connection, Executor, SqliteConnection};

use crate::support::{Said, TestEnv};

/// A week, seconds.
const WEEK: u64 = 7 * 24 * 3_600;
/// How long a service may take to start.
const WITHIN: Duration = Duration::from_mins(1);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn run(env: &TestEnv, example: &str, params: &[(&str, &str)]) -> Said {
    let file = root().join("runbooks").join(example).display().to_string();
    let mut args = vec!["run".to_owned(), file, "--yes".to_owned()];
    for (name, value) in params {
        args.extend(["-p".to_owned(), format!("{name}={value}")]);
    }
    env.backout(args)
}

fn sha256(path: &Path) -> String {
    let said = Command::new("sha256sum").arg(path).output().unwrap().stdout;
    String::from_utf8(said).unwrap()[..64].to_owned()
}

/// The same latency around this time a week ago.
fn last_week() -> String {
    let mut text = "# TYPE checkout_latency_seconds gauge\n".to_owned();
    let middle = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() - WEEK;
    for at in (middle - 2_000..=middle + 2_000).step_by(15) {
        writeln!(text, "checkout_latency_seconds 0.2 {at}").unwrap();
    }
    text + "# EOF\n"
}

/// A database with one order, which is paid; the reference to its URL.
fn database(env: &TestEnv) -> String {
    let url = format!("sqlite://{}", env.path("shop.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut database = SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
        database.execute("CREATE TABLE orders (state TEXT)").await.unwrap();
        database.execute("INSERT INTO orders VALUES ('paid')").await.unwrap();
        database.close().await.unwrap();
    });
    format!("file:{}", env.write("database-url", &url).display())
}

#[test]
fn the_example_of_gates_passes_and_holds_where_one_fails() {
    if !Prometheus::is_here() {
        return;
    }
    let (exporter, shop) = (Web::start().unwrap(), Web::start().unwrap());
    exporter.say(200, "checkout_latency_seconds 0.25\n");
    exporter.header("Content-Type: text/plain; version=0.0.4");
    let prometheus = Prometheus::start(&exporter.address(), Some(&last_week())).unwrap();
    shop.say(200, r#"{"version": "1.4.1"}"#);
    let env = TestEnv::new();
    let (shop_url, gone, url) = (shop.url(""), closed().unwrap(), database(&env));
    let prometheus_url = prometheus.url();
    let params = [
        ("shop", shop_url.as_str()),
        ("prometheus", &prometheus_url),
        ("database", &url),
        ("gone", &gone),
    ];
    run(&env, "checks.ron", &params).exits(0);
    let status = env.status("latest");
    assert_eq!(status["state"], "succeeded");
    let said = env.backout(["history", "latest", "--json"]).exits(0).out;
    assert!(said.contains("\"baseline\"") && said.contains("\"incident\""), "{said}");
    exporter.say(200, "checkout_latency_seconds 0.9\n");
    let elsewhere = TestEnv::new();
    let file = root().join("runbooks/checks.ron").display().to_string();
    let mut args = vec!["run".to_owned(), file, "--yes".to_owned(), "--no-wait".to_owned()];
    for (name, value) in params {
        args.extend(["-p".to_owned(), format!("{name}={value}")]);
    }
    elsewhere.backout(args).exits(4);
    let status = elsewhere.status("latest");
    assert_eq!(status["state"], "waiting");
}

fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A service with a pid file and a way to restart it; ended with the value.
struct Service {
    pid_file: PathBuf,
}

impl Service {
    /// `program` is started anew by `restart`, which this makes and runs once.
    fn start(restart: &Path, pid_file: &Path, program: &str) -> Self {
        let pid = pid_file.display();
        script(
            restart,
            &format!(
                "[ -f '{pid}' ] && kill $(cat '{pid}')\n\
                 setsid sh -c '{program}; exec sleep 600' </dev/null >/dev/null 2>&1 &\n\
                 echo $! > '{pid}'"
            ),
        );
        assert!(Command::new(restart).status().unwrap().success());
        Self { pid_file: pid_file.to_owned() }
    }

    fn pid(&self) -> String {
        fs::read_to_string(&self.pid_file).unwrap().trim().to_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(Command::new("kill").arg(self.pid()).status());
    }
}

fn until_reads(path: &Path, wanted: &str) {
    wait_until(WITHIN, || match fs::read_to_string(path) {
        Ok(text) if text == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .unwrap();
}

#[test]
fn the_example_of_configuration_puts_it_back_and_restarts_what_reads_it() {
    let env = TestEnv::new();
    let at = |name: &str| env.path(name);
    for folder in ["etc", "old", "backups"] {
        fs::create_dir(at(folder)).unwrap();
    }
    fs::write(at("etc/app.toml"), "timeout = 50\n").unwrap();
    fs::write(at("etc/new.toml"), "added by the bad release\n").unwrap();
    fs::write(at("old/app.toml"), "timeout = 5\n").unwrap();
    fs::write(at("SHA256SUMS"), format!("{}  app.toml\n", sha256(&at("old/app.toml")))).unwrap();
    fs::write(at("backups/a.tar.gz"), "large enough a backup").unwrap();
    let sum = sha256(&at("backups/a.tar.gz"));
    fs::write(at("backups/a.tar.gz.sha256"), format!("{sum}  a.tar.gz\n")).unwrap();
    let read = at("read");
    let program = format!("cat {} > {}", at("etc/app.toml").display(), read.display());
    let service = Service::start(&at("control/restart"), &at("control/shop.pid"), &program);
    until_reads(&read, "timeout = 50\n");
    let before = service.pid();
    let paths = ["etc", "old", "SHA256SUMS", "backups", "control"];
    let paths = paths.map(|name| at(name).display().to_string());
    let digest = sha256(&at("SHA256SUMS"));
    let params = [
        ("folder", paths[0].as_str()),
        ("old", &paths[1]),
        ("list", &paths[2]),
        ("sha256", &digest),
        ("backups", &paths[3]),
        ("control", &paths[4]),
    ];
    run(&env, "config.ron", &params).exits(0);
    until_reads(&read, "timeout = 5\n");
    assert_ne!(service.pid(), before);
    let after = service.pid();
    run(&env, "config.ron", &params).exits(0);
    assert_eq!(service.pid(), after, "what is younger than its configuration is left alone");
}

#[test]
fn the_example_of_a_release_from_a_store_links_and_runs_it() {
    let (env, store) = (TestEnv::new(), Web::start().unwrap());
    let at = |name: &str| env.path(name);
    for (release, folder) in [("1.4.2", "root/releases/1.4.2"), ("1.4.1", "made/shop-1.4.1")] {
        fs::create_dir_all(at(folder).join("bin")).unwrap();
        fs::write(at(folder).join("bin/version"), release).unwrap();
    }
    std::os::unix::fs::symlink("releases/1.4.2", at("root/current")).unwrap();
    let archive = at("1.4.1.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(&archive).arg("-C").arg(at("made"));
    assert!(tar.arg("shop-1.4.1").status().unwrap().success());
    store.put("/shop/1.4.1.tar.gz", &fs::read(&archive).unwrap());
    let runs = at("runs");
    let version = at("root/current/bin/version");
    let program = format!("cat {} > {}", version.display(), runs.display());
    let _service = Service::start(&at("root/bin/restart"), &at("root/shop.pid"), &program);
    until_reads(&runs, "1.4.2");
    let (folder, digest) = (at("root").display().to_string(), sha256(&archive));
    let url = store.url("");
    let params = [("root", folder.as_str()), ("store", &url), ("sha256", &digest)];
    run(&env, "releases_http.ron", &params).exits(0);
    until_reads(&runs, "1.4.1");
    assert!(at("root/releases/1.4.2/bin/version").is_file(), "the release from before is kept");
}

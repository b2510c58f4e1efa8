//! `releases.restart` with real processes: by a command, supervisord and runit.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, Cuts, check};
use backout_plugin_api::{
    Action, Call, CancellationToken, Context, Outcome, Prepared, Satisfied, Settled,
};
use backout_plugin_releases::{ReleasesRestart, RestartPoint};
use backout_test_targets::{Daemon, missing, program, wait_until};
use serde_json::{Value, json};

use super::{call, context};

/// How long a manager may take to start or restart a process.
const WITHIN: Duration = Duration::from_mins(1);

/// A service that counts its starts, and who runs it.
struct Service {
    dir: tempfile::TempDir,
    _manager: Option<Daemon>,
    input: Value,
}

impl Service {
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        script(&dir, "shop", "echo started >> \"$0.starts\"\nexec sleep 600");
        dir
    }

    /// A pid file and a command.
    fn by_command() -> Self {
        let dir = Self::folder();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let (pid, shop) = (at("shop.pid"), at("shop"));
        script(
            &dir,
            "restart",
            &format!(
                "[ -f '{pid}' ] && kill $(cat '{pid}')\n\
                 setsid '{shop}' </dev/null >/dev/null 2>&1 &\necho $! > '{pid}'"
            ),
        );
        let input = json!({"manager": "command", "command": [at("restart")], "pid_file": pid});
        let service = Self { dir, _manager: None, input };
        assert!(Command::new(at_of(&service, "restart")).status().unwrap().success());
        service.until_started(1);
        service
    }

    fn by_supervisord() -> Option<Self> {
        let here = program("supervisord").is_some();
        if !here && !missing("supervisord", "apt-get install supervisor") {
            return None;
        }
        let dir = Self::folder();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={}\n\
             [unix_http_server]\nfile={socket}\n[supervisorctl]\nserverurl=unix://{socket}\n\
             [rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
             [program:shop]\ncommand={}\nstartsecs=0\n",
            at("supervisord.pid"),
            at("shop"),
            socket = at("s.sock"),
        );
        std::fs::write(at("supervisord.conf"), config).unwrap();
        let mut command = Command::new(program("supervisord").unwrap());
        command.args(["-c", &at("supervisord.conf")]);
        let manager = Daemon::start(&command, &dir.path().join("log")).unwrap();
        let input =
            json!({"manager": "supervisord", "name": "shop", "config": at("supervisord.conf")});
        let service = Self { dir, _manager: Some(manager), input };
        service.until_started(1);
        service.until_seen();
        Some(service)
    }

    fn by_runit() -> Option<Self> {
        let here = program("runsv").is_some() && program("sv").is_some();
        if !here && !missing("runit", "apt-get install runit") {
            return None;
        }
        let dir = Self::folder();
        let folder = dir.path().join("service");
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(dir.path().join("shop"), folder.join("run")).unwrap();
        let mut command = Command::new(program("runsv").unwrap());
        command.arg(&folder);
        let manager = Daemon::start(&command, &dir.path().join("log")).unwrap();
        let input = json!({"manager": "runit", "name": folder});
        let service = Self { dir, _manager: Some(manager), input };
        wait_until(WITHIN, || (service.all_starts() > 0).then_some(()).ok_or("no start".into()))
            .unwrap();
        service.until_seen();
        Some(service)
    }

    /// By runit the script is called `run`.
    fn all_starts(&self) -> usize {
        let files = ["shop.starts", "service/run.starts", "run.starts"];
        let read = |name: &&str| std::fs::read_to_string(self.dir.path().join(name)).ok();
        files.iter().filter_map(read).map(|text| text.lines().count()).sum()
    }

    fn until_started(&self, times: usize) {
        wait_until(WITHIN, || match self.all_starts() {
            starts if starts >= times => Ok(()),
            starts => Err(format!("{starts} starts")),
        })
        .unwrap();
    }

    /// Until the manager tells its process.
    fn until_seen(&self) {
        let words = if self.input["manager"] == json!("runit") {
            vec!["sv".to_owned(), "status".to_owned(), text(&self.input["name"])]
        } else {
            let config = text(&self.input["config"]);
            ["supervisorctl", "-c", &config, "pid", "shop"].map(str::to_owned).to_vec()
        };
        wait_until(WITHIN, || {
            let said = Command::new(&words[0]).args(&words[1..]).output().unwrap().stdout;
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            let runs = said.starts_with("run: ") || said.parse::<u32>().is_ok_and(|pid| pid > 0);
            runs.then_some(()).ok_or(said)
        })
        .unwrap();
    }

    fn context(&self) -> Context {
        Context { scratch: self.dir.path().join("scratch"), timeout: WITHIN, ..context() }
    }

    async fn prepare(&self) -> Prepared {
        ReleasesRestart::default().prepare(&self.context(), &self.input).await.unwrap()
    }

    async fn call(&self, dispatch: u32) -> Call {
        call(&self.input, self.prepare().await, dispatch)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.dir.path().join("shop.pid")).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse::<u32>() {
            drop(Command::new("kill").arg(pid.to_string()).status());
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn at_of(service: &Service, name: &str) -> PathBuf {
    service.dir.path().join(name)
}

fn script(dir: &tempfile::TempDir, name: &str, text: &str) {
    let path = dir.path().join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Each manager that is here, with a service of its own.
fn services() -> Vec<Service> {
    let all = [Some(Service::by_command()), Service::by_supervisord(), Service::by_runit()];
    all.into_iter().flatten().collect()
}

#[tokio::test]
async fn each_manager_restarts_once_and_its_process_is_another() {
    for service in services() {
        let restart = ReleasesRestart::default();
        let starts = service.all_starts();
        let made = service.call(1).await;
        let outcome = restart.apply(&service.context(), &made).await;
        let Outcome::Done { output } = &outcome else { panic!("{}: {outcome:?}", service.input) };
        assert!(output["pid"].as_u64().is_some(), "{output}");
        service.until_started(starts + 1);
        let settled = restart.settle(&service.context(), &made).await;
        assert_eq!(settled, Settled::Done { output: output.clone() });
        let again = restart.apply(&service.context(), &made).await;
        assert!(matches!(again, Outcome::Refused { .. }), "{again:?}");
        assert_eq!(service.all_starts(), starts + 1, "{}", service.input);
    }
}

#[tokio::test]
async fn a_process_younger_than_the_link_is_left_alone() {
    let mut service = Service::by_command();
    let link = at_of(&service, "current");
    service.input["newer_than"] = json!(link);
    wait_until(WITHIN, || {
        // Not in the same tick of the kernel's clock as the start.
        drop(std::fs::remove_file(&link));
        std::os::unix::fs::symlink("releases/1", &link).map_err(|error| error.to_string())?;
        let age = service.dir.path().join("shop.starts").metadata().unwrap().modified().unwrap();
        let made = link.symlink_metadata().unwrap().modified().unwrap();
        let apart = made.duration_since(age).unwrap_or_default();
        (apart > Duration::from_millis(200)).then_some(()).ok_or(format!("{apart:?}"))
    })
    .unwrap();
    let before = service.prepare().await;
    assert_eq!(before.effects[0].satisfied, Satisfied::No);
    let made = call(&service.input, before, 1);
    let outcome = ReleasesRestart::default().apply(&service.context(), &made).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let after = service.prepare().await;
    assert_eq!(after.effects[0].satisfied, Satisfied::Yes);
    assert_eq!(after.difference(), Vec::<String>::new());
}

/// Sends from a process that is killed at a point.
fn send_and_kill(service: &Service, made: &Call, at: usize) {
    let job = json!([at, service.context().scratch, made.input, *made.prepared]).to_string();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "restarts::child_that_kills_itself"])
        .env("BACKOUT_TEST_KILL_RESTART", job)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(9), "{:?}", RestartPoint::ALL[at]);
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
async fn child_that_kills_itself() {
    let Ok(job) = std::env::var("BACKOUT_TEST_KILL_RESTART") else { return };
    let (at, scratch, input, prepared): (usize, PathBuf, Value, Prepared) =
        serde_json::from_str(&job).unwrap();
    let restart = ReleasesRestart::default().with_fault(move |point| {
        if point == RestartPoint::ALL[at] {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
        false
    });
    let ctx = Context { scratch, timeout: WITHIN, ..context() };
    restart.apply(&ctx, &call(&input, prepared, 1)).await;
}

#[tokio::test]
async fn each_window_is_settled_honestly() {
    let mut cuts = Cuts::new("releases.restart", "a process, by a command", "SIGKILL");
    for (at, point) in RestartPoint::ALL.into_iter().enumerate() {
        let service = Service::by_command();
        let made = service.call(1).await;
        send_and_kill(&service, &made, at);
        if point != RestartPoint::Claimed {
            service.until_started(2);
        }
        let restart = ReleasesRestart::default();
        let begun = Instant::now();
        let settled = loop {
            match restart.settle(&service.context(), &made).await {
                Settled::Running { .. } if begun.elapsed() < WITHIN => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                settled => break settled,
            }
        };
        if point == RestartPoint::Claimed {
            // Nobody knows whether it was about to begin: a person decides.
            assert!(matches!(settled, Settled::Unknown { .. }), "{point:?}: {settled:?}");
        } else {
            assert!(matches!(settled, Settled::Done { .. }), "{point:?}: {settled:?}");
        }
        let late = restart.apply(&service.context(), &made).await;
        assert!(!matches!(late, Outcome::Done { .. }), "late: {late:?}");
        let starts = if point == RestartPoint::Claimed { 1 } else { 2 };
        assert_eq!(service.all_starts(), starts, "{point:?}");
        let is_lost = point == RestartPoint::Claimed;
        cuts.add(&point, if is_lost { Cuts::IN_DOUBT } else { Cuts::ONCE });
    }
    cuts.assert_kept();
}

#[tokio::test]
async fn a_command_that_fails_says_why_and_one_that_hangs_is_ended() {
    let mut service = Service::by_command();
    script(&service.dir, "fails", "echo no such release >&2; exit 3");
    service.input["command"] = json!([at_of(&service, "fails")]);
    let made = service.call(1).await;
    let outcome = ReleasesRestart::default().apply(&service.context(), &made).await;
    let Outcome::Failed { reason, output } = &outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("no such release"), "{reason}");
    assert_eq!(output["status"], json!(3));
    script(&service.dir, "hangs", "echo $$ > \"$0.pid\"; sleep 600");
    service.input["command"] = json!([at_of(&service, "hangs")]);
    let mut made = service.call(2).await;
    made.fence.dispatch = 2;
    let ctx = Context {
        timeout: Duration::from_secs(3),
        cancel: CancellationToken::new(),
        ..service.context()
    };
    let outcome = ReleasesRestart::default().apply(&ctx, &made).await;
    assert!(matches!(outcome, Outcome::Unclear { .. }), "{outcome:?}");
    let pid = std::fs::read_to_string(at_of(&service, "hangs.pid")).unwrap();
    let proc = PathBuf::from(format!("/proc/{}", pid.trim()));
    wait_until(WITHIN, || (!proc.exists()).then_some(()).ok_or("it lives".to_owned())).unwrap();
}

struct RestartCase {
    service: Service,
    action: ReleasesRestart,
}

#[async_trait]
impl Case for RestartCase {
    fn action(&self) -> &dyn Action {
        &self.action
    }

    fn input(&self) -> Value {
        self.service.input.clone()
    }

    fn scratch(&self) -> PathBuf {
        self.service.dir.path().join("scratch")
    }

    async fn observe(&self) -> Value {
        let pid = std::fs::read_to_string(at_of(&self.service, "shop.pid")).unwrap();
        json!({"pid": pid})
    }

    /// The service answers as before; another process does.
    async fn image(&self) -> Value {
        Value::Null
    }

    fn unreachable(&self) -> Option<Value> {
        Some(json!({"manager": "supervisord", "name": "shop", "config": "/nonexistent.conf"}))
    }

    fn silent(&self) -> Option<Value> {
        let mut input = self.input();
        input["command"] = json!(["sleep", "600"]);
        Some(input)
    }
}

#[tokio::test]
async fn restart_conforms() {
    check(async || RestartCase {
        service: Service::by_command(),
        action: ReleasesRestart::default(),
    })
    .await
    .assert_kept_on("a process, by a command");
}

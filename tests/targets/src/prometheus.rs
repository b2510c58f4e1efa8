//! Prometheus on loopback, which scrapes an exporter of the test and may know an invented past.

use std::io;
use std::process::Command;

use tempfile::TempDir;

use crate::{Daemon, answers, free_port, missing, program};

/// A server that ends with this value, or with the test's process.
#[derive(Debug)]
pub struct Prometheus {
    _daemon: Daemon,
    _folder: TempDir,
    port: u16,
}

impl Prometheus {
    /// Whether it is installed; see [`missing`].
    pub fn is_here() -> bool {
        program("prometheus").is_some() && program("promtool").is_some()
            || missing("Prometheus", "apt-get install prometheus")
    }

    /// A new server that scrapes `exporter` (host and port) once a second. `history` is its
    /// past in OpenMetrics with a time, in seconds, at each value; it ends with `# EOF`.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start(exporter: &str, history: Option<&str>) -> io::Result<Self> {
        Self::configured(&config("shop", exporter), history)
    }

    /// A new server that scrapes `exporter` as `job` once a second, and evaluates these rules.
    ///
    /// # Errors
    /// It does not start, or does not take the rules; with what it said.
    pub fn with_rules(job: &str, exporter: &str, rules: &std::path::Path) -> io::Result<Self> {
        let rules = format!("rule_files: ['{}']\n", rules.display());
        Self::configured(&(config(job, exporter) + &rules), None)
    }

    fn configured(config: &str, history: Option<&str>) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("prometheus.yml"), config)?;
        std::fs::create_dir(at("data"))?;
        if let Some(history) = history {
            std::fs::write(at("history.txt"), history)?;
            backfill(&at("history.txt"), &at("data"))?;
        }
        let port = free_port()?;
        let mut command = Command::new(program("prometheus").unwrap_or_default());
        command
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--storage.tsdb.retention.time=1y", "--log.level=warn"]);
        let mut daemon = Daemon::start(&command, &at("log"))?;
        daemon.wait_ready(|| answers(port, "/-/ready"))?;
        Ok(Self { _daemon: daemon, _folder: folder, port })
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn config(job: &str, exporter: &str) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         scrape_configs:\n- job_name: {job}\n  static_configs: [{{targets: ['{exporter}']}}]\n"
    )
}

fn backfill(history: &std::path::Path, data: &std::path::Path) -> io::Result<()> {
    let mut promtool = Command::new(program("promtool").unwrap_or_default());
    promtool.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(history).arg(data);
    let done = promtool.output()?;
    if done.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()))
}

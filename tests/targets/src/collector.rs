//! The OpenTelemetry Collector on loopback, which says each span that it received.

use std::io;
use std::process::Command;

use tempfile::TempDir;

use crate::{Daemon, free_port, missing, program};

const PROGRAM: &str = "otel-collector";
/// What the Collector says once it takes spans.
const READY: &str = "Everything is ready";

/// A Collector that takes OTLP over HTTP; it ends with this value.
#[derive(Debug)]
pub struct Collector {
    daemon: Daemon,
    port: u16,
    _folder: TempDir,
}

/// A span as the Collector tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Hex.
    pub trace: String,
    /// Hex; empty for the first of a trace.
    pub parent: String,
    /// Hex.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it began, `2026-03-01 10:00:00.123 +0000 UTC`.
    pub began: String,
    /// When it ended, in the same form.
    pub ended: String,
}

impl Collector {
    /// Whether it is installed; see [`missing`].
    pub fn is_here() -> bool {
        program(PROGRAM).is_some()
            || missing("the OpenTelemetry Collector", "TOOLS=... bash tests/setup/telemetry.sh")
    }

    /// Starts one.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let config = folder.path().join("collector.yaml");
        std::fs::write(&config, configured(port))?;
        let mut command = Command::new(program(PROGRAM).unwrap_or_default());
        command.arg("--config").arg(format!("file:{}", config.display()));
        let mut daemon = Daemon::start(&command, &folder.path().join("log"))?;
        let log = folder.path().join("log");
        daemon.wait_ready(|| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if said.contains(READY) { Ok(()) } else { Err("not yet".to_owned()) }
        })?;
        Ok(Self { daemon, port, _folder: folder })
    }

    /// Where it takes traces.
    pub fn traces(&self) -> String {
        format!("http://127.0.0.1:{}/v1/traces", self.port)
    }

    /// The spans that it has received.
    pub fn spans(&self) -> Vec<Span> {
        spans(&self.daemon.output())
    }
}

fn configured(port: u16) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\n\
         exporters: {{debug: {{verbosity: detailed}}}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
         pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}\n"
    )
}

/// The spans in what the Collector's debug exporter wrote.
fn spans(said: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for line in said.lines() {
        if line.starts_with("Span #") {
            spans.push(Span::default());
        }
        let (Some(span), Some((name, value))) = (spans.last_mut(), line.split_once(" : ")) else {
            continue;
        };
        let field = match name.trim() {
            "Trace ID" => &mut span.trace,
            "Parent ID" => &mut span.parent,
            "ID" => &mut span.id,
            "Name" => &mut span.name,
            "Start time" => &mut span.began,
            "End time" => &mut span.ended,
            _ => continue,
        };
        value.trim().clone_into(field);
    }
    spans
}

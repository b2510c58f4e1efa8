//! Whom an engine tells of its runs: people by the channels file, a collector of traces by OTLP.

use backout_runtime::Engine;
use backout_telemetry::Traces;

use crate::ui::Ui;

/// Where traces go, as OpenTelemetry names it: the whole URL.
const TRACES_VARIABLE: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
/// The same without the path.
const OTLP_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// People outside are told where a channels file says how.
pub(crate) fn told(ui: &Ui, engine: Engine) -> Engine {
    match backout_plugin_notify::place() {
        Some(file) if file.exists() => engine.telling(),
        Some(file) if std::env::var_os(backout_plugin_notify::CHANNELS_VARIABLE).is_some() => {
            ui.warn(&format!("nobody outside is told: there is no {}", file.display()));
            engine
        }
        Some(_) | None => engine,
    }
}

/// Traces are sent where the environment says so.
pub(crate) fn traced(ui: &Ui, engine: Engine) -> Engine {
    let Some(endpoint) = endpoint() else { return engine };
    match Traces::to(&endpoint) {
        Ok(traces) => engine.followed_by(traces.follower()),
        Err(error) => {
            ui.warn(&format!("no traces are sent: {error}"));
            engine
        }
    }
}

fn endpoint() -> Option<String> {
    let given = |name| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    given(TRACES_VARIABLE)
        .or_else(|| Some(format!("{}/v1/traces", given(OTLP_VARIABLE)?.trim_end_matches('/'))))
}

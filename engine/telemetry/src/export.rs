//! Sending spans by OTLP over HTTP.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backout_core::id::Timestamp;
use backout_runtime::{Follow, Followed};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind as OtlpKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};

use crate::spans::{Span, Spans};

/// How long one sending may take: a collector that hangs costs spans, never a run.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// What the spans are said to come from.
const SERVICE: &str = "backout";

/// Why no spans can be sent there.
#[derive(Debug, thiserror::Error)]
#[error(
    "{endpoint} is no place for traces: {why}; give the whole URL, as in http://127.0.0.1:4318/v1/traces"
)]
pub struct EndpointError {
    endpoint: String,
    why: String,
}

/// Sends the traces of an engine's runs.
#[derive(Debug)]
pub struct Traces {
    exporter: SpanExporter,
}

impl Traces {
    /// To an OTLP endpoint over HTTP, the whole URL (`http://host:4318/v1/traces`).
    ///
    /// # Errors
    /// It is no URL.
    pub fn to(endpoint: &str) -> Result<Self, EndpointError> {
        let failed = |why: String| EndpointError { endpoint: endpoint.to_owned(), why };
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(endpoint)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let resource = Resource::builder().with_service_name(SERVICE).build();
        exporter.set_resource(&resource);
        Ok(Self { exporter })
    }

    /// What follows an engine's runs and sends their spans.
    pub fn follower(self) -> Follow {
        let traces = Arc::new(self);
        Arc::new(move |followed| Box::pin(follow(traces.clone(), followed)))
    }

    async fn send(&self, spans: Vec<Span>) {
        let data: Vec<SpanData> = spans.into_iter().map(data).collect();
        if data.is_empty() {
            return;
        }
        if let Err(error) = self.exporter.export(data).await {
            tracing::warn!(%error, "spans were not taken, and are lost");
        }
    }
}

/// Spans that ended before the engine came to the run were sent by the one before it.
async fn follow(traces: Arc<Traces>, mut followed: Followed) {
    let mut durable = followed.engine.store().watch(&followed.run);
    let mut spans = Spans::default();
    loop {
        let over = followed.is_over();
        let Ok(news) = followed.news(spans.next()) else { return };
        let mut ended = Vec::new();
        for recorded in &news {
            let new = spans.take(recorded);
            if recorded.seq > followed.since {
                ended.extend(new);
            }
        }
        traces.send(ended).await;
        if over {
            return;
        }
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { return },
            () = followed.over() => {}
        }
    }
}

fn data(span: Span) -> SpanData {
    let context = SpanContext::new(
        TraceId::from_bytes(span.trace),
        SpanId::from_bytes(span.id),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let attribute = |(name, value): (&'static str, String)| KeyValue::new(name, value);
    SpanData {
        span_context: context,
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: false,
        span_kind: OtlpKind::Internal,
        name: Cow::Owned(span.name),
        start_time: moment(span.start),
        end_time: moment(span.end),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.failed.map_or(Status::Ok, Status::error),
        instrumentation_scope: InstrumentationScope::builder(SERVICE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

fn moment(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}

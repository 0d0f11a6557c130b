//! Logs and traces of a process.
//!
//! Logs go to standard output, as JSON unless it is a terminal. Traces are exported by OTLP over HTTP when
//! `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) is set; the other `OTEL_*` variables work as
//! the specification says. Without either no trace is made, and tracing costs next to nothing.

use std::{
    collections::HashMap,
    io::IsTerminal as _,
    time::{Duration, SystemTime},
};

use contracts::{Cause, Header, Timestamp};
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator as _,
    trace::{
        SpanBuilder, SpanContext, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// How long the end of the process waits for a collector that doesn't answer.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// Sends what is left when it is dropped.
#[must_use = "dropping it ends the export of traces"]
#[derive(Debug)]
pub struct Guard(Option<SdkTracerProvider>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown_with_timeout(LAST_EXPORT)
        {
            eprintln!("the last spans could not be exported: {error}");
        }
    }
}

/// Starts logging and, where it is configured, tracing, for the whole process. `RUST_LOG` filters (`info` by default).
///
/// # Errors
/// When the exporter's settings can't be used, or logging was started before.
pub fn init(service: &'static str) -> anyhow::Result<Guard> {
    // lapin logs the bodies of returned messages; what matters of its errors is logged where it is handled.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"))
        .add_directive("lapin=off".parse()?);
    let logs = if std::io::stdout().is_terminal() {
        tracing_subscriber::fmt::layer().with_target(false).boxed()
    } else {
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false).boxed()
    };
    let provider = exporting().then(|| tracer_provider(service)).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("shop"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
    });
    if let Some(provider) = &provider {
        opentelemetry::global::set_tracer_provider(provider.clone());
    }
    tracing_subscriber::registry().with(filter).with(logs).with(traces).try_init()?;
    Ok(Guard(provider))
}

fn exporting() -> bool {
    let endpoints = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    variable("OTEL_SDK_DISABLED").as_deref() != Some("true")
        && endpoints.into_iter().any(|name| variable(name).is_some())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the OTEL_* variables are named and described by OpenTelemetry"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn tracer_provider(service: &'static str) -> anyhow::Result<SdkTracerProvider> {
    // The exporter's HTTP client panics without one. Another installed provider would do as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build()?;
    let name = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| service.to_owned());
    let resource = Resource::builder()
        .with_service_name(name)
        .with_attribute(KeyValue::new("service.namespace", "shop"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string()))
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// The span's W3C trace context; none when it isn't traced.
#[must_use]
pub fn traceparent(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    context.is_valid().then(|| {
        format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags().to_u8()
        )
    })
}

/// What a message that is created in this span says about its origin, when a request from outside led to it.
#[must_use]
pub fn cause(span: &Span) -> Cause {
    Cause { message: None, traceparent: traceparent(span) }
}

/// The remote context that a `traceparent` names; one without a span when it is malformed.
fn remote(traceparent: &str) -> Context {
    if !is_well_formed(traceparent) {
        return Context::new();
    }
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

/// Whether the fields have their lengths and digits: the propagator takes ids that are too short, and fills them up.
fn is_well_formed(traceparent: &str) -> bool {
    let mut fields = traceparent.split('-');
    [2, 32, 16, 2].into_iter().all(|length| {
        fields.next().is_some_and(|field| {
            field.len() == length && field.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    })
}

/// Makes the span a child of the remote one, and writes the trace's id into its field `trace_id`, for the logs.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    if let Some(traceparent) = traceparent
        && span.set_parent(remote(traceparent)).is_err()
    {
        tracing::debug!("a span had been entered before its parent was set");
    }
    let context = span.context();
    let trace = context.span().span_context().clone();
    if trace.is_valid() {
        span.record("trace_id", trace.trace_id().to_string());
    }
}

/// Ends the span in its trace now, whoever still holds it: sqlx has SQLite's thread hold the span of a statement until a moment
/// after the statement's answer.
pub(crate) fn end(span: &Span) {
    if !span.is_disabled() {
        span.context().span().end();
    }
}

/// Links the span to a remote one.
pub fn link(span: &Span, traceparent: &str) {
    let context: SpanContext = remote(traceparent).span().span_context().clone();
    if context.is_valid() {
        span.add_link(context);
    }
}

/// Links two spans to each other.
pub fn link_both(one: &Span, other: &Span) {
    for (from, to) in [(one, other), (other, one)] {
        if let Some(to) = traceparent(to) {
            link(from, &to);
        }
    }
}

/// A try to publish a message, made when its outcome is known: the PRODUCER span `publish {exchange}` from the sending to the
/// broker's answer. When that is a confirm, it lies in a span `outbox` from the message's creation to the confirm.
pub(crate) fn record_publish(sent: &Published<'_>) {
    let Some(traceparent) = &sent.header.traceparent else { return };
    let tracer = opentelemetry::global::tracer("shop");
    let end = SystemTime::now();
    let mut parent = remote(traceparent);
    if sent.failure.is_none() {
        let waiting = SpanBuilder::from_name("outbox")
            .with_kind(SpanKind::Internal)
            .with_start_time(SystemTime::from(sent.header.time));
        parent = parent.with_span(tracer.build_with_context(waiting, &parent));
    }
    let publish = SpanBuilder::from_name(format!("publish {}", sent.exchange))
        .with_kind(SpanKind::Producer)
        .with_start_time(sent.at)
        .with_attributes(sent.attributes());
    let publish = parent.with_span(tracer.build_with_context(publish, &parent));
    if let Some((kind, error)) = sent.failure {
        publish.span().set_attribute(KeyValue::new("error.type", kind));
        publish.span().set_status(opentelemetry::trace::Status::error(error.to_owned()));
    } else {
        parent.span().end_with_timestamp(end);
    }
    publish.span().end_with_timestamp(end);
}

/// Something that took a while and has ended: an INTERNAL span below the place that a `traceparent` names.
pub fn record_step(took: &Took<'_>) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let parent = remote(took.traceparent);
    let tracer = opentelemetry::global::tracer("shop");
    let attributes = took
        .attributes
        .iter()
        .map(|(key, value)| KeyValue::new(*key, value.clone()))
        .collect::<Vec<_>>();
    let span = SpanBuilder::from_name(took.name.clone())
        .with_kind(SpanKind::Internal)
        .with_start_time(SystemTime::from(took.from))
        .with_attributes(attributes);
    let span = parent.with_span(tracer.build_with_context(span, &parent));
    span.span().end_with_timestamp(took.to.into());
}

/// What [`record_step`] tells.
#[derive(Debug)]
pub struct Took<'t> {
    /// The place in the trace.
    pub traceparent: &'t str,
    /// The span's name.
    pub name: String,
    /// When it began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
    /// What else there is to say.
    pub attributes: Vec<(&'static str, String)>,
}

/// What [`record_publish`] tells of a message.
pub(crate) struct Published<'m> {
    pub(crate) header: &'m Header,
    pub(crate) system: &'static str,
    pub(crate) exchange: &'static str,
    pub(crate) routing_key: &'m str,
    pub(crate) at: SystemTime,
    /// Why the broker doesn't have it: the kind of failure, and what was said.
    pub(crate) failure: Option<(&'static str, &'m str)>,
}

impl Published<'_> {
    fn attributes(&self) -> [KeyValue; 7] {
        let Self { header, exchange, routing_key, .. } = self;
        [
            KeyValue::new("messaging.system", self.system),
            KeyValue::new("messaging.operation.name", "publish"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", format!("{exchange}:{routing_key}")),
            KeyValue::new("messaging.rabbitmq.destination.routing_key", (*routing_key).to_owned()),
            KeyValue::new("messaging.message.id", header.id.to_string()),
            KeyValue::new("messaging.message.conversation_id", header.correlationid.clone()),
        ]
    }
}

//! A collector of traces: takes what programs export by OTLP over HTTP, and keeps it to be looked at.

pub mod tree;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{self as otlp, ResourceSpans, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message as _;
use tokio::{net::TcpListener, task::JoinHandle};

/// The attributes of a span, a resource or an event; a list is written as its debug text.
pub type Attributes = BTreeMap<String, String>;

/// What a span says of its place: trace id and span id, in hexadecimal.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanRef {
    /// 32 digits.
    pub trace: String,
    /// 16 digits.
    pub span: String,
}

impl SpanRef {
    /// The place that a W3C `traceparent` names.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn of_traceparent(traceparent: &str) -> Self {
        let mut parts = traceparent.split('-').skip(1).map(str::to_owned);
        let mut part = || parts.next().expect("a traceparent");
        Self { trace: part(), span: part() }
    }
}

/// A finished span.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.name` of its resource.
    pub service: String,
    /// The other attributes of its resource.
    pub resource: Attributes,
    /// Where it is.
    pub place: SpanRef,
    /// The span above it, by its id; none for a root.
    pub parent: Option<String>,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SpanKind,
    /// Its start and end, in nanoseconds since 1970.
    pub time: (u64, u64),
    /// Its attributes.
    pub attributes: Attributes,
    /// The places that it links to.
    pub links: Vec<SpanRef>,
    /// Whether its status is *error*.
    pub failed: bool,
}

impl Span {
    /// An attribute's text; empty when it isn't there.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// What was exported, as bytes and as spans.
#[derive(Debug, Default)]
struct Received {
    bodies: Vec<Bytes>,
    spans: Vec<Span>,
}

/// The collector; it ends when it is dropped.
#[derive(Debug)]
pub struct Collector {
    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
    received: Arc<Mutex<Received>>,
    server: JoinHandle<()>,
}

impl Collector {
    /// Starts to collect, on a port of its own.
    ///
    /// # Panics
    /// When it can't listen.
    pub async fn start() -> Self {
        let received = Arc::<Mutex<Received>>::default();
        let app = Router::new()
            .route("/v1/traces", post(take))
            .layer(DefaultBodyLimit::disable())
            .with_state(received.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("the collector serves");
        });
        Self { endpoint: format!("http://{address}"), received, server }
    }

    /// The spans that have come so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).spans.clone()
    }

    /// Whether a text is anywhere in what has come so far: in a name, an attribute, an event, whatever.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bodies = received.bodies.iter();
        // Protocol buffers hold texts as they are.
        bodies.any(|body| body.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Answer = (StatusCode, [(header::HeaderName, &'static str); 1], Vec<u8>);

async fn take(State(received): State<Arc<Mutex<Received>>>, body: Bytes) -> Answer {
    let answer = |status, body| (status, [(header::CONTENT_TYPE, "application/x-protobuf")], body);
    let Ok(request) = ExportTraceServiceRequest::decode(body.clone()) else {
        return answer(StatusCode::BAD_REQUEST, Vec::new());
    };
    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
    received.bodies.push(body);
    received.spans.extend(request.resource_spans.into_iter().flat_map(spans));
    answer(StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec())
}

fn spans(of: ResourceSpans) -> impl Iterator<Item = Span> {
    let mut resource = attributes(of.resource.unwrap_or_default().attributes);
    let service = resource.remove("service.name").unwrap_or_default();
    let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans.map(move |span| read(span, &service, &resource))
}

fn read(span: otlp::Span, service: &str, resource: &Attributes) -> Span {
    Span {
        service: service.to_owned(),
        resource: resource.clone(),
        place: SpanRef { trace: hex(&span.trace_id), span: hex(&span.span_id) },
        parent: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
        kind: span.kind(),
        name: span.name,
        time: (span.start_time_unix_nano, span.end_time_unix_nano),
        attributes: attributes(span.attributes),
        links: span
            .links
            .iter()
            .map(|link| SpanRef { trace: hex(&link.trace_id), span: hex(&link.span_id) })
            .collect(),
        failed: span.status.is_some_and(|status| status.code() == SpanStatus::Error),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    pairs.into_iter().map(|pair| (pair.key, text(pair.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        None => String::new(),
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        Some(other) => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

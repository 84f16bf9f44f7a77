//! The admin endpoint: what operators and their tools read over HTTP.
//!
//! | route      | answer                                                                     |
//! |------------|----------------------------------------------------------------------------|
//! | `/`        | these routes                                                               |
//! | `/metrics` | Prometheus' text exposition                                                |
//! | `/livez`   | 200 while the control thread turns                                         |
//! | `/readyz`  | 200 if this process can do its work now, else 503 with the reason          |
//! | `/status`  | JSON: identity, readiness, limits, and every link that is up               |
//!
//! Promises: reads only, and bounded whoever calls: a number of connections, a time for each, a size of a request
//! head, one request a connection, `GET` and `HEAD` alone. Secrets are not within its reach.
//! Must not know: links, keys, or how anything was counted.

mod exposition;
mod metrics;
mod status;

use std::{collections::VecDeque, convert::Infallible, io, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{task::AbortHandle, time};
use tracing::{debug, warn};

use crate::counters::{Limit, Registry};
use crate::link::budget::Budget;
use crate::net::{accept::Accepting, listen::Listener};

/// When there are more, the oldest is closed: those that hold one and ask nothing must not keep a probe out.
const CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole connection: a caller that does not read its answer keeps nothing.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES: usize = 16 * 1024;

/// What this process is and was told to be: constant while it runs.
#[derive(Debug, Clone)]
pub struct About {
    pub role: &'static str,
    pub deployment: String,
    pub name: Option<String>,
    /// Who computes the AEAD: `aws-lc` or `rustcrypto`.
    pub aead_backend: &'static str,
    pub limits: Vec<(Limit, u64)>,
    pub budget: Arc<Budget>,
}

/// Everything that the routes show.
pub struct Pages {
    registry: Arc<Registry>,
    about: About,
    metrics: metrics::Metrics,
    started: status::Started,
}

impl Pages {
    pub fn new(registry: Arc<Registry>, about: About) -> Result<Self, prometheus::Error> {
        let started = status::Started::now();
        let metrics = metrics::Metrics::new(registry.clone(), about.clone(), started)?;
        Ok(Self {
            registry,
            about,
            metrics,
            started,
        })
    }
}

/// Serves until it is dropped.
pub async fn serve(listener: Listener, pages: Arc<Pages>) -> io::Result<Infallible> {
    let listener = Accepting::new(listener)?;
    let mut open = VecDeque::<AbortHandle>::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of files or memory: without a pause this would spin.
                warn!(event = "admin_accept_failed", reason = %error, "an admin connection was not accepted");
                time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let pages = pages.clone();
        let connection = tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = respond(&pages, &request);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_BYTES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            match time::timeout(CONNECTION_TIMEOUT, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(event = "admin_connection_failed", reason = %error),
                Err(_) => debug!(event = "admin_connection_failed", reason = "timeout"),
            }
        });
        open.push_back(connection.abort_handle());
    }
}

fn respond(pages: &Pages, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        response
            .headers_mut()
            .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" => page(StatusCode::OK, HTML, INDEX),
        "/livez" => page(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => match pages.registry.readiness.get() {
            Ok(()) => page(StatusCode::OK, TEXT, "ok\n"),
            Err(reason) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {reason}\n")),
        },
        "/metrics" => or_500(pages.metrics.encode(), prometheus::TEXT_FORMAT),
        "/status" => or_500(status::encode(pages), JSON),
        _ => page(StatusCode::NOT_FOUND, TEXT, "no such page; / lists them\n"),
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const INDEX: &str = "<!doctype html><title>wa-sidecar</title><h1>wa-sidecar</h1><ul>\
    <li><a href=\"/metrics\">/metrics</a> for Prometheus\
    <li><a href=\"/livez\">/livez</a> the process turns\
    <li><a href=\"/readyz\">/readyz</a> it can do its work now\
    <li><a href=\"/status\">/status</a> links, limits, identity as JSON</ul>\n";

fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

fn or_500<E: std::fmt::Display>(body: Result<Vec<u8>, E>, content_type: &'static str) -> Response<Full<Bytes>> {
    match body {
        Ok(body) => page(StatusCode::OK, content_type, body),
        Err(error) => {
            warn!(event = "admin_page_failed", reason = %error, "a page could not be made");
            page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "this page could not be made\n")
        }
    }
}

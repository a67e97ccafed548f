//! The probes and the metrics: `/livez` answers while the process can answer at all, `/readyz` once
//! it does its work, `/metrics` with its metrics.
//!
//! Without an enforced NetworkPolicy any pod of the cluster may reach the port, so [`Limits`] bound what a client can cost.

mod admission;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::metrics::{Format, Metrics};
use admission::Admission;

/// Whether a role does its work: set by the role, read by `/readyz`.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Sets whether the role does its work.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// Returns whether the role does its work.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a role serves.
#[derive(Clone)]
pub struct Endpoint {
    /// Whether the role does its work.
    pub ready: Ready,
    /// Its metrics.
    pub metrics: Metrics,
}

impl Endpoint {
    /// Creates the endpoint of a controller, not ready.
    #[must_use]
    pub fn of_controller() -> Self {
        Self {
            ready: Ready::default(),
            metrics: Metrics::of_controller(),
        }
    }

    /// Creates the endpoint of the agent on this node, not ready.
    #[must_use]
    pub fn of_agent(node: &str) -> Self {
        Self {
            ready: Ready::default(),
            metrics: Metrics::of_agent(node),
        }
    }
}

/// What clients may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of open connections. A further one is closed at once.
    pub connections: usize,
    /// The same of one address. The kubelet probes from its node's address, so other clients do not
    /// keep it out.
    pub connections_per_address: usize,
    /// Maximum size of a request's line and headers, in bytes; at least 8192.
    pub request_bytes: usize,
    /// Maximum duration of a connection, which serves one request.
    pub duration: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_address: 8,
            request_bytes: 8192,
            duration: Duration::from_secs(5),
        }
    }
}

/// Delay after a connection could not be accepted, as without free file descriptors.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Serves probes and metrics at an address; never returns.
///
/// # Errors
/// If the address can't be bound.
pub async fn serve(address: SocketAddr, endpoint: Endpoint) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    serve_connections(listener, endpoint, Limits::default()).await;
    Ok(())
}

/// Serves probes and metrics within limits; never returns.
pub async fn serve_connections(listener: TcpListener, endpoint: Endpoint, limits: Limits) {
    let routes = routes(endpoint);
    let admission = Admission::new(limits.connections, limits.connections_per_address);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(AFTER_FAILURE).await;
            continue;
        };
        if let Some(admitted) = admission.admit(peer.ip()) {
            let routes = routes.clone();
            tokio::spawn(async move {
                serve_connection(stream, routes, limits).await;
                drop(admitted);
            });
        }
    }
}

fn routes(endpoint: Endpoint) -> Router {
    let Endpoint { ready, metrics } = endpoint;
    let readyz = async move || {
        if ready.get() {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready")
        }
    };
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
        .route(
            "/metrics",
            get(async move |headers: HeaderMap| respond(&metrics, &headers)),
        )
}

/// Returns the metrics in the format that the client accepts.
fn respond(metrics: &Metrics, headers: &HeaderMap) -> Response {
    let accepted = headers
        .get(ACCEPT)
        .and_then(|accepted| accepted.to_str().ok());
    let format = match accepted {
        Some(accepted) if accepted.contains("application/openmetrics-text") => Format::OpenMetrics,
        _ => Format::Prometheus,
    };
    match metrics.text(format) {
        Ok(text) => ([(CONTENT_TYPE, format.media_type())], text.to_string()).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn serve_connection(stream: TcpStream, routes: Router, limits: Limits) {
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(limits.request_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // Errors are the client's: it closed the connection, or sent something else than a request.
    let _ = timeout(limits.duration, served).await;
}

#[cfg(test)]
mod tests;

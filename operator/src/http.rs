//! The probes: `/livez` answers while the process can answer at all, `/readyz` once it does its
//! work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use axum::routing::get;

/// Whether a role does its work: set by the role, read by `/readyz`.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Says that the work has begun, or has stopped.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// True once the work has begun.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves the probes; never returns.
///
/// # Errors
/// When the address can't be listened at.
pub async fn serve(address: SocketAddr, ready: Ready) -> std::io::Result<()> {
    let readyz = move || async move {
        if ready.get() {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready")
        }
    };
    let router = axum::Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz));
    axum::serve(tokio::net::TcpListener::bind(address).await?, router).await
}

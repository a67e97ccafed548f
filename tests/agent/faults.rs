//! A client with injected faults: a request is dropped, or carried out while its response is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use tower::Service;

/// Faults of the next modifying requests.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    /// Number of requests to drop before they reach the server.
    pub(crate) lost: Arc<AtomicU32>,
    /// Number of requests to carry out while their responses are lost.
    pub(crate) unanswered: Arc<AtomicU32>,
}

/// Wraps a client with fault injection.
pub(crate) fn faulty(client: Client, faults: Faults) -> Client {
    Client::new(Faulty { client, faults }, "default")
}

#[derive(Clone)]
struct Faulty {
    client: Client,
    faults: Faults,
}

impl Service<Request<Body>> for Faulty {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_report = request.uri().path().contains("logicalvolumes")
            && request.uri().path().ends_with("/status");
        let lost = is_report && takes_one(&self.faults.lost);
        let unanswered = is_report && takes_one(&self.faults.unanswered);
        let client = self.client.clone();
        Box::pin(async move {
            if lost {
                return Ok(broken());
            }
            let answer = client.send(request).await?;
            Ok(if unanswered { broken() } else { answer })
        })
    }
}

/// Reduces a count of faults; false if none is left.
fn takes_one(count: &AtomicU32) -> bool {
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        })
        .is_ok()
}

fn broken() -> Response<Body> {
    let status = r#"{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "injected fault", "code": 500}"#;
    let mut response = Response::new(Body::from(status.as_bytes().to_vec()));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

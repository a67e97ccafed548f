//! What slow, large and many clients can do.

use std::net::{IpAddr, Ipv4Addr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::Instant;

use super::*;

const KUBELET: [u8; 4] = [127, 0, 0, 1];
const ATTACKER: [u8; 4] = [127, 0, 0, 2];

/// Connects from an address.
async fn connect(server: SocketAddr, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from = IpAddr::V4(Ipv4Addr::from(from));
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    socket.connect(server).await.unwrap()
}

/// Starts a server, ready, with the default limits but for the duration of a connection.
async fn start(duration: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endpoint = Endpoint::of_agent("node1");
    endpoint.ready.set(true);
    let limits = Limits {
        duration,
        ..Limits::default()
    };
    tokio::spawn(serve_connections(listener, endpoint, limits));
    address
}

/// Sends a request, and returns the whole response.
async fn request(server: SocketAddr, path: &str, header: &str) -> String {
    let mut stream = connect(server, KUBELET).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: probe\r\nX-Header: {header}\r\n\r\n");
    // The server may refuse and close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    String::from_utf8(response).unwrap()
}

/// Returns true once the server has closed the connection.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    let read = timeout(Duration::from_mins(1), stream.read(&mut byte)).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn probes_answer_on_a_connection_each() {
    let server = start(Duration::from_mins(1)).await;
    for path in ["/livez", "/readyz"] {
        let response = request(server, path, "small").await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert!(response.ends_with("ok"), "{response}");
    }
    let response = request(server, "/other", "small").await;
    assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
}

#[tokio::test]
async fn metrics_are_served_in_the_format_that_the_client_accepts() {
    let server = start(Duration::from_mins(1)).await;
    let response = request(server, "/metrics", "small").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(
        response.contains("content-type: text/plain; version=0.0.4"),
        "{response}"
    );
    assert!(
        response.contains("\nflexlvm_build_info{node=\"node1\","),
        "{response}"
    );
    assert!(!response.contains("# EOF"), "{response}");
    let accept = "x\r\nAccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let response = request(server, "/metrics", accept).await;
    assert!(
        response.contains("content-type: application/openmetrics-text"),
        "{response}"
    );
    assert!(response.ends_with("# EOF\n"), "{response}");
}

#[tokio::test]
async fn large_header_is_refused() {
    let server = start(Duration::from_mins(1)).await;
    let response = request(server, "/livez", &"x".repeat(1 << 20)).await;
    assert!(!response.contains("200 OK"), "{response}");
}

#[tokio::test]
async fn slow_client_is_disconnected() {
    let server = start(Duration::from_millis(200)).await;
    let mut stream = connect(server, ATTACKER).await;
    stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn many_slow_clients_of_one_address_keep_no_other_out() {
    let server = start(Duration::from_mins(10)).await;
    let mut open = Vec::new();
    for _ in 0..500 {
        let mut stream = connect(server, ATTACKER).await;
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\n").await;
        open.push(stream);
    }
    let response = request(server, "/livez", "small").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    let limit = Limits::default().connections_per_address;
    let (first, others) = open.split_at_mut(limit);
    for stream in others {
        assert!(is_closed(stream).await, "more than {limit} stay open");
    }
    let start = Instant::now();
    for stream in first {
        let mut byte = [0];
        let read = timeout(Duration::from_millis(10), stream.read(&mut byte)).await;
        assert!(read.is_err(), "closed after {:?}", start.elapsed());
    }
}

#[test]
fn closed_connection_makes_room() {
    let admission = Admission::new(2, 1);
    let [one, two, three] = [1, 2, 3].map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
    let first = admission.admit(one).unwrap();
    assert!(admission.admit(one).is_none(), "the address has its share");
    let second = admission.admit(two).unwrap();
    assert!(admission.admit(three).is_none(), "all are open");
    drop(first);
    assert!(admission.admit(three).is_some());
    drop(second);
}

//! Scrapes the metrics of a role over HTTP, as Prometheus does, and checks them with promtool.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use operator::http::{self, Endpoint, Limits};

use crate::wait;

/// Time limit for a scrape.
const LIMIT: Duration = Duration::from_secs(10);

/// A port of this host for the endpoint of a role.
pub struct Port {
    listener: TcpListener,
    /// Where the endpoint can be reached.
    pub address: SocketAddr,
}

impl Port {
    /// Reserves a free port.
    pub fn reserve() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Serves an endpoint here; never returns.
    pub async fn serve(self, endpoint: Endpoint) -> Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        http::serve_connections(listener, endpoint, Limits::default()).await;
        Ok(())
    }
}

/// Returns the metrics in Prometheus' older text format.
pub fn scrape(address: SocketAddr) -> Result<String> {
    let answer = get(address, "/metrics")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
    ensure!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    Ok(body.to_owned())
}

/// Returns whether the role answers that it is ready.
pub fn is_ready(address: SocketAddr) -> Result<bool> {
    Ok(get(address, "/readyz")?.starts_with("HTTP/1.1 200 OK\r\n"))
}

/// Requests a path, and returns head and body of the answer.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nAccept: text/plain\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Returns the value of a sample: a series with its labels, in the order of the text.
#[must_use]
pub fn value(text: &str, sample: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(sample)?.strip_prefix(' ')?;
        value.parse().ok()
    })
}

/// Scrapes until a sample has a value that `is` accepts; returns all samples.
pub async fn wait_for_sample(
    address: SocketAddr,
    sample: &str,
    is: impl Fn(f64) -> bool,
) -> Result<String> {
    let mut last = String::new();
    let found = wait::until(sample, wait::LIMIT, async || {
        last = scrape(address)?;
        let is_found = value(&last, sample).is_some_and(&is);
        Ok(is_found.then_some(()))
    });
    let found = found.await;
    found.with_context(|| format!("the last scrape: {last}"))?;
    Ok(last)
}

/// Checks metrics with `promtool check metrics`, which must find nothing.
pub fn check_with_promtool(text: &str) -> Result<()> {
    let output = promtool(&["check", "metrics"], text)?;
    ensure!(output.is_empty(), "promtool: {output} in {text}");
    Ok(())
}

/// Runs promtool with this standard input, and returns what it printed.
pub fn promtool(arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting promtool, which `tests/cluster/prepare api` installs")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(output.status.success(), "promtool {arguments:?}: {text}");
    Ok(text)
}

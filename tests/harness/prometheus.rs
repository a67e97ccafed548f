//! A real Prometheus as a process on a free port, and its HTTP API.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::scrape::Port;
use crate::wait::until;
use crate::workplace::{Program, Workplace};

/// Time limit for a request.
const LIMIT: Duration = Duration::from_secs(30);

/// What to scrape: a name, which becomes the label `job`, and addresses.
pub type Job = (&'static str, Vec<SocketAddr>);

/// A running Prometheus. Dropping it stops it and removes its files.
pub struct Prometheus {
    address: SocketAddr,
    // Dropped in this order.
    program: Program,
    _workplace: Workplace,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes these jobs and evaluates these rules, the content of a
    /// rule file.
    pub async fn start(jobs: &[Job], rules: &str) -> Result<Self> {
        let mut last = None;
        // Another process may take a free port before Prometheus does.
        for _ in 0..3 {
            match Self::launch(jobs, rules).await {
                Ok(prometheus) => return Ok(prometheus),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("three attempts were made"))
    }

    async fn launch(jobs: &[Job], rules: &str) -> Result<Self> {
        let workplace = Workplace::on_host()?;
        workplace.write("rules.yaml", rules)?;
        // JSON is YAML, too.
        let configuration = workplace.write("prometheus.yaml", configuration(jobs).to_string())?;
        let address = Port::reserve()?.address;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                workplace.path("data").display()
            ))
            .arg(format!("--web.listen-address={address}"));
        let program = workplace
            .start("prometheus", &mut command)
            .context("`tests/cluster/prepare api` installs prometheus")?;
        let mut prometheus = Self {
            address,
            program,
            _workplace: workplace,
        };
        until("Prometheus answers", Duration::from_secs(60), async || {
            prometheus.program.check()?;
            Ok(prometheus.query("vector(1)").ok().map(drop))
        })
        .await?;
        Ok(prometheus)
    }

    /// Returns the samples of an instant query, each with `metric` and `value`. Fails if Prometheus
    /// rejects the expression or warns about it.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let answer = self.get("query", &[("query", expression)])?;
        let samples = answer["result"].as_array();
        let samples = samples.filter(|_| answer["resultType"] == "vector");
        let samples = samples.with_context(|| format!("{expression}: {answer}"))?;
        Ok(samples.clone())
    }

    /// Returns the series of a range query, each with `metric` and `values`: of the time from
    /// `start` until now, with a value every two seconds.
    pub fn query_range(&self, expression: &str, start: SystemTime) -> Result<Vec<Value>> {
        let seconds = |time: SystemTime| -> Result<String> {
            let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH)?;
            Ok(since_epoch.as_secs().to_string())
        };
        let (start, end) = (seconds(start)?, seconds(SystemTime::now())?);
        let parameters = [
            ("query", expression),
            ("start", start.as_str()),
            ("end", end.as_str()),
            ("step", "2"),
        ];
        let answer = self.get("query_range", &parameters)?;
        let series = answer["result"].as_array();
        series.cloned().context("no list of series")
    }

    /// Returns the pending and firing alerts, each with `labels`, `annotations` and `state`.
    pub fn alerts(&self) -> Result<Vec<Value>> {
        let answer = self.get("alerts", &[])?;
        let alerts = answer["alerts"].as_array();
        alerts.cloned().context("no list of alerts")
    }

    /// Returns the rules, each with `name`, `health`, `lastError` and `lastEvaluation`.
    pub fn rules(&self) -> Result<Vec<Value>> {
        let answer = self.get("rules", &[])?;
        let groups = answer["groups"].as_array().context("no groups of rules")?;
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        Ok(rules.flatten().cloned().collect())
    }

    /// Returns the targets, each with `labels`, `health` and `lastError`.
    pub fn targets(&self) -> Result<Vec<Value>> {
        let answer = self.get("targets", &[("state", "active")])?;
        let targets = answer["activeTargets"].as_array();
        targets.cloned().context("no list of targets")
    }

    /// Returns what the targets of a job expose: each metric family with `metric`, `type` and
    /// `help`, also those without a sample.
    pub fn families(&self, job: &str) -> Result<Vec<Value>> {
        let selector = format!("{{job=\"{job}\"}}");
        let answer = self.get("targets/metadata", &[("match_target", &selector)])?;
        answer.as_array().cloned().context("no list of families")
    }

    /// Returns the lines of Prometheus' log that are warnings or errors.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.program.last_lines(usize::MAX);
        let lines = log.lines();
        let complaints =
            lines.filter(|line| line.contains("level=warn") || line.contains("level=error"));
        complaints.map(str::to_owned).collect()
    }

    /// Calls the API; returns the field `data` of its answer.
    fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let pairs: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", percent_encoded(value)))
            .collect();
        let path = format!("/api/v1/{path}?{}", pairs.join("&"));
        let mut stream = TcpStream::connect_timeout(&self.address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        // A server closes the connection after its answer to HTTP/1.0, and sends no chunks.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
        let mut body: Value = serde_json::from_str(body).with_context(|| head.to_owned())?;
        ensure!(
            body["status"] == "success" && body["warnings"].is_null(),
            "{path}: {body}"
        );
        Ok(body["data"].take())
    }
}

/// Returns the settings of a Prometheus that scrapes often.
fn configuration(jobs: &[Job]) -> Value {
    let jobs = jobs.iter().map(|(name, addresses)| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        json!({"job_name": name, "static_configs": [{"targets": addresses}]})
    });
    json!({
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": jobs.collect::<Vec<_>>(),
    })
}

/// Encodes a value for the query of a URL.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

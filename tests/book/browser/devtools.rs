//! Chromium without a window, controlled by the DevTools protocol over pipes.
//!
//! `--remote-debugging-pipe` reads file descriptor 3 and writes 4: JSON, each message ended by a zero
//! byte. So neither a port nor a WebSocket is needed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// A running browser with one page. Dropping it ends it.
pub(super) struct Browser {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// The page's session.
    session: String,
    /// The number of the last command.
    last: u64,
    /// Events that arrived while an answer was awaited.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser with an empty profile.
    pub(super) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The shell gives the pipes the numbers that Chromium expects; it ends when they are closed,
        // and with the time limit if it hangs. Its messages about the machine's graphics and D-Bus
        // are no faults of pages.
        let mut process = Command::new("sh")
            .args([
                "-c",
                r#"exec timeout 300 chromium "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#,
                "sh",
            ])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-extensions",
                "--disable-background-networking",
            ])
            .args(["--hide-scrollbars", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut browser = Self {
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()),
            process,
            session: String::new(),
            last: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach);
        session["sessionId"]
            .as_str()
            .unwrap()
            .clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Sets the width of the window in pixels.
    pub(super) fn set_width(&mut self, width: u32) {
        let metrics =
            json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Loads a page, and returns the errors on its console.
    pub(super) fn open(&mut self, url: &str) -> Vec<String> {
        self.events.clear();
        let result = self.call("Page.navigate", json!({"url": url}));
        assert!(result["errorText"].is_null(), "{url}: {result}");
        while !self
            .events
            .iter()
            .any(|event| event["method"] == "Page.loadEventFired")
        {
            let event = self.receive();
            self.events.push(event);
        }
        // Two frames later all scripts of the page have run.
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))");
        self.events.iter().filter_map(error).collect()
    }

    /// Evaluates an expression in the page, and returns its value; of a promise, its result.
    pub(super) fn evaluate(&mut self, expression: &str) -> Value {
        let call = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", call);
        assert!(result["exceptionDetails"].is_null(), "{result}");
        result["result"]["value"].clone()
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.input
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        self.input.flush().unwrap();
        loop {
            let answer = self.receive();
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn receive(&mut self) -> Value {
        let mut message = Vec::new();
        self.output.read_until(0, &mut message).unwrap();
        assert_eq!(
            message.pop(),
            Some(0),
            "Chromium has ended: is it installed?"
        );
        serde_json::from_slice(&message).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the text of an event that reports an error of the page.
fn error(event: &Value) -> Option<String> {
    let parameters = &event["params"];
    let text = match event["method"].as_str()? {
        "Runtime.exceptionThrown" => &parameters["exceptionDetails"]["exception"]["description"],
        "Runtime.consoleAPICalled" if parameters["type"] == "error" => {
            &parameters["args"][0]["value"]
        }
        "Log.entryAdded" if parameters["entry"]["level"] == "error" => &parameters["entry"]["text"],
        _ => return None,
    };
    Some(
        text.as_str()
            .map_or_else(|| parameters.to_string(), str::to_owned),
    )
}

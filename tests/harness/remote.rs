//! Runs programs as root in a guest, without a kubelet: the harness sends a call over TCP, `server`
//! in the guest executes it.
//!
//! Works like ssh: arguments arrive unchanged, output streams back, the exit status is the
//! program's own.

pub(crate) mod server;

use std::collections::BTreeMap;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::network;

/// The first argument that makes this program the server in a guest.
pub(crate) const SERVER: &str = "--guest-server";

const PORT: u16 = 2222;

/// Maximum interval between two frames of a living server; a guest without power sends none.
const HEARTBEAT: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_secs(60);

/// Interval between two signs of life on a connection of [`Pulses`].
const PULSE: Duration = Duration::from_millis(250);

/// Time limit for a guest to accept a call: it shares its one CPU, and the host's.
const PATIENCE: Duration = Duration::from_secs(20);

const ALIVE: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const EXIT: u8 = 3;

/// A program to run in a guest.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Call {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// Environment variables, in addition to the server's own.
    pub environment: BTreeMap<String, String>,
    /// Working directory. Defaults to `/`.
    pub folder: Option<String>,
    /// Time limit in seconds, after which the program and its process group are killed.
    pub limit_s: Option<u64>,
    /// True for a call of the server's own service, see [`serves`], in place of a program.
    #[serde(default)]
    pub by_server: bool,
    /// True for signs of life until the caller closes the connection, see [`Pulses`], in place of a
    /// program.
    #[serde(default)]
    pub pulses: bool,
}

/// A service that the server in a guest executes in its own process: from arguments to printed
/// text.
///
/// Starting a program takes a guest a hundred times as long.
pub type Service = fn(&[String]) -> Result<String>;

static SERVICE: OnceLock<Service> = OnceLock::new();

/// Registers the service of the servers in this program's guests. Call it before [`crate::main`].
pub fn serves(service: Service) {
    SERVICE.get_or_init(|| service);
}

impl Call {
    /// Calls a program with arguments.
    pub fn new<S: Into<String>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self {
            arguments: arguments.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Calls the service that the program registered with [`serves`].
    pub fn service<S: Into<String>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self {
            by_server: true,
            ..Self::new(arguments)
        }
    }
}

/// Output and exit status of a program.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The exit status; 128 plus the signal's number if a signal ended the program.
    pub status: i32,
    /// The program's stdout.
    pub stdout: String,
    /// The program's stderr.
    pub stderr: String,
}

/// A client of a guest's server.
#[derive(Clone, Copy, Debug)]
pub struct Remote {
    address: SocketAddr,
}

impl Remote {
    /// Creates the client of the server at this address.
    #[must_use]
    pub fn new(address: Ipv4Addr) -> Self {
        Self {
            address: (address, PORT).into(),
        }
    }

    /// Returns true if the server answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        // A short timeout: a booting guest is polled.
        let connected = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok();
        connected && self.output(&Call::new(["true"])).is_ok()
    }

    fn name(&self) -> String {
        match self.address {
            SocketAddr::V4(address) => network::node_name(*address.ip()),
            SocketAddr::V6(address) => address.to_string(),
        }
    }

    /// Converts the error of a call that gets no answer.
    fn lost(&self, error: std::io::Error) -> anyhow::Error {
        let name = self.name();
        let silence = SILENCE.as_secs();
        if is_timeout(&error) {
            anyhow::anyhow!("{name} stands still: no sign of life for {silence} s")
        } else {
            anyhow::Error::new(error).context(format!("{name} broke the connection"))
        }
    }

    /// Opens a connection on which the server sends signs of life.
    pub(crate) fn pulses(&self) -> std::io::Result<Pulses> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let call = Call {
            pulses: true,
            ..Call::default()
        };
        let line = serde_json::to_string(&call).map_err(std::io::Error::other)?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        Ok(Pulses { stream })
    }

    /// Runs a program to its end and returns its output and exit status.
    pub fn output(&self, call: &Call) -> Result<Output> {
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        let status = self.stream(call, std::io::empty(), &mut stdout, &mut stderr)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output {
            status,
            stdout: text(stdout),
            stderr: text(stderr),
        })
    }

    /// Runs a program to its end and passes its output on while it runs. Returns its exit status.
    pub fn stream(
        &self,
        call: &Call,
        mut input: impl Read + Send + 'static,
        stdout: &mut impl Write,
        stderr: &mut impl Write,
    ) -> Result<i32> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)
            .with_context(|| format!("{} does not answer", self.name()))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.write_all(format!("{}\n", serde_json::to_string(call)?).as_bytes())?;
        let mut sender = stream.try_clone()?;
        std::thread::spawn(move || {
            // The program may end without having read all of its input.
            let _ = std::io::copy(&mut input, &mut sender);
            let _ = sender.shutdown(Shutdown::Write);
        });
        let mut reader = BufReader::new(stream);
        loop {
            let (kind, content) = read_frame(&mut reader).map_err(|error| self.lost(error))?;
            match kind {
                STDOUT => stdout.write_all(&content).and_then(|()| stdout.flush())?,
                STDERR => stderr.write_all(&content).and_then(|()| stderr.flush())?,
                EXIT => return Ok(i32::from_be_bytes(content.as_slice().try_into()?)),
                _ => {}
            }
        }
    }
}

/// A connection on which a guest sends a sign of life every [`PULSE`].
#[derive(Debug)]
pub(crate) struct Pulses {
    stream: TcpStream,
}

impl Pulses {
    /// Waits up to one second for the next sign of life; returns false if none arrives.
    ///
    /// Fails if the connection breaks.
    pub(crate) fn next(&mut self) -> std::io::Result<bool> {
        match read_frame(&mut self.stream) {
            Ok(_) => Ok(true),
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn read_frame(reader: &mut impl Read) -> std::io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    reader.read_exact(&mut header)?;
    let [kind, length @ ..] = header;
    let mut content = vec![0; u32::from_be_bytes(length) as usize];
    reader.read_exact(&mut content)?;
    Ok((kind, content))
}

fn write_frame(writer: &mut impl Write, kind: u8, content: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(content.len()).map_err(std::io::Error::other)?;
    let mut frame = vec![kind];
    frame.extend(length.to_be_bytes());
    frame.extend(content);
    writer.write_all(&frame)
}

//! Writes one line per call-out: to the journal, else to syslog, else to the kernel's log.
//!
//! Never to stdout or stderr, where it would corrupt the reply. A failure to log is ignored.

use std::ffi::OsString;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::callouts::reply::Reply;
use crate::note::Note;

/// The result of one call-out.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// Verb of the call-out.
    pub call: &'a str,
    /// Name of the volume, if known.
    pub volume: Option<String>,
    /// The reply. Its message holds no secret.
    pub reply: &'a Reply,
    /// Note about a deviation that is not a failure.
    pub note: Option<&'a Note>,
    /// Duration of the call-out.
    pub time: Duration,
}

impl<'a> Line<'a> {
    /// Returns the line for a call with these arguments; only plain names of them are logged.
    #[must_use]
    pub fn new(
        args: &'a [OsString],
        reply: &'a Reply,
        note: Option<&'a Note>,
        time: Duration,
    ) -> Self {
        let call = args
            .first()
            .and_then(|verb| verb.to_str())
            .unwrap_or_default();
        let plain = (1..=20).contains(&call.len()) && call.bytes().all(|b| b.is_ascii_lowercase());
        Self {
            call: if plain { call } else { "-" },
            volume: super::volume_of(args),
            reply,
            note,
            time,
        }
    }

    /// Returns the priority of syslog(3): 6 is informational, 4 a warning.
    fn priority(&self) -> u8 {
        if matches!(self.reply, Reply::Failure(_)) || self.note.is_some() {
            4
        } else {
            6
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let volume = self.volume.as_deref().unwrap_or("-");
        let outcome = self.reply.outcome();
        let ms = self.time.as_millis();
        write!(
            f,
            "call={} volume={volume} outcome={outcome:?} ms={ms}",
            self.call
        )?;
        let message = match (self.reply, self.note) {
            (Reply::Failure(message), _) => message.clone(),
            (_, Some(note)) => note.to_string(),
            (_, None) => return Ok(()),
        };
        write!(f, " message={message:?}")
    }
}

/// Writes the line to the first log that accepts it.
pub fn write(line: &Line<'_>) {
    let text = line.to_string();
    let priority = line.priority();
    // The journal's native protocol (JOURNAL_NATIVE_PROTOCOL). No value contains a line break.
    let fields = format!(
        "MESSAGE={text}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=flexlvm-driver\nFLEXLVM_CALL={}\nFLEXLVM_VOLUME={}\n\
         FLEXLVM_OUTCOME={}\nFLEXLVM_MS={}\n",
        line.call,
        line.volume.as_deref().unwrap_or("-"),
        line.reply.outcome(),
        line.time.as_millis()
    );
    // 24 is the facility "daemon".
    let tagged = format!(
        "<{}>flexlvm-driver[{}]: {text}",
        24 + priority,
        std::process::id()
    );
    let _ = send(&[
        ("/run/systemd/journal/socket", &fields),
        ("/dev/log", &tagged),
    ])
    .or_else(|_| {
        OpenOptions::new()
            .write(true)
            .open("/dev/kmsg")?
            .write_all(tagged.as_bytes())
    });
}

/// Sends the text of the first socket that accepts it. Does not block: a log daemon that does not
/// read must not stop the driver.
fn send(sockets: &[(&str, &str)]) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    let mut sent = Err(io::ErrorKind::NotFound.into());
    for (socket, text) in sockets {
        sent = sender.send_to(text.as_bytes(), socket).map(drop);
        if sent.is_ok() {
            break;
        }
    }
    sent
}

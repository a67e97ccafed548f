//! One line per call-out, for an admin who wants to see what happened: in the journal, else in the
//! syslog, else in the kernel's log. Never on stdout or stderr, where it would break the reply; and
//! never worth a failure.

use std::ffi::OsString;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::callouts::reply::Reply;

/// What happened.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// The call-out.
    pub call: &'a str,
    /// The volume, if it is known.
    pub volume: Option<String>,
    /// The answer. Its sentence holds nothing secret.
    pub reply: &'a Reply,
    /// What else there is to say.
    pub note: Option<&'a str>,
    /// How long it took.
    pub time: Duration,
}

impl<'a> Line<'a> {
    /// The line for a call with these arguments, of which nothing but plain names gets into it.
    #[must_use]
    pub fn new(
        args: &'a [OsString],
        reply: &'a Reply,
        note: Option<&'a str>,
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

    /// 6 is an information, 4 a warning: syslog(3).
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
        let (volume, outcome, ms) = (
            self.volume.as_deref().unwrap_or("-"),
            self.reply.outcome(),
            self.time.as_millis(),
        );
        write!(
            f,
            "call={} volume={volume} outcome={outcome:?} ms={ms}",
            self.call
        )?;
        let message = if let Reply::Failure(message) = self.reply {
            Some(message.as_str())
        } else {
            self.note
        };
        message.map_or(Ok(()), |message| write!(f, " message={message:?}"))
    }
}

/// Writes the line to the first of the logs that takes it.
pub fn write(line: &Line<'_>) {
    let (text, priority) = (line.to_string(), line.priority());
    // The journal's own protocol: systemd's JOURNAL_NATIVE_PROTOCOL. No value holds a line break.
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
    let _ = send("/run/systemd/journal/socket", &fields)
        .or_else(|_| send("/dev/log", &tagged))
        .or_else(|_| {
            OpenOptions::new()
                .write(true)
                .open("/dev/kmsg")?
                .write_all(tagged.as_bytes())
        });
}

/// Never waits for whoever should read it.
fn send(socket: &str, text: &str) -> std::io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to(text.as_bytes(), socket).map(drop)
}

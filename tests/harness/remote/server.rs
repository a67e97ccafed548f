//! The guest's side of `remote`: executes calls, one thread per call. Started by the guest's init.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process_group};

use super::{ALIVE, Call, EXIT, HEARTBEAT, PORT, PULSE, SERVICE, STDERR, STDOUT, write_frame};

/// Serves calls until the power is cut.
pub(crate) fn serve() -> Result<ExitCode> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    for stream in listener.incoming() {
        let stream = stream?;
        // The only possible error is a caller that closed the connection, so there is no receiver
        // for a report.
        thread::spawn(move || answer(&stream));
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(stream: &TcpStream) -> Result<()> {
    let writer = Mutex::new(stream.try_clone()?);
    let send = |kind, content: &[u8]| {
        let mut writer = writer.lock().expect("no panic while the lock is held");
        write_frame(&mut *writer, kind, content)
    };
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let call: Call = serde_json::from_str(&line)?;
    if call.pulses {
        loop {
            send(ALIVE, &[])?;
            thread::sleep(PULSE);
        }
    }
    if call.by_server {
        let (status, kind, text) = match SERVICE.get().map(|service| service(&call.arguments)) {
            Some(Ok(text)) => (0, STDOUT, text),
            Some(Err(error)) => (1, STDERR, format!("{error:#}")),
            None => (
                127,
                STDERR,
                "this program has registered no service".to_owned(),
            ),
        };
        send(kind, text.as_bytes())?;
        send(EXIT, &i32::to_be_bytes(status))?;
        return Ok(());
    }
    let status = match start(&call) {
        Ok(child) => follow(child, call.limit_s.map(Duration::from_secs), reader, &send)?,
        Err(error) => {
            send(
                STDERR,
                format!("cannot start {:?}: {error}\n", call.arguments).as_bytes(),
            )?;
            127
        }
    };
    send(EXIT, &status.to_be_bytes())?;
    Ok(())
}

fn start(call: &Call) -> Result<Child> {
    let (program, arguments) = call
        .arguments
        .split_first()
        .ok_or_else(|| anyhow::anyhow!("no program"))?;
    let child = Command::new(program)
        .args(arguments)
        .envs(&call.environment)
        .current_dir(call.folder.as_deref().unwrap_or("/"))
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok(child)
}

/// Passes input and output on until the program ends or the time limit expires.
fn follow(
    mut child: Child,
    limit: Option<Duration>,
    mut input: impl Read + Send + 'static,
    send: &(impl Fn(u8, &[u8]) -> std::io::Result<()> + Sync),
) -> Result<i32> {
    let mut stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    // Not joined: this thread ends when the caller closes the connection.
    thread::spawn(move || stdin.as_mut().map(|stdin| std::io::copy(&mut input, stdin)));
    let group = Pid::from_child(&child);
    let (ended, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let start = Instant::now();
            while end.recv_timeout(HEARTBEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
                let gone = send(ALIVE, &[]).is_err();
                if gone || limit.is_some_and(|limit| start.elapsed() > limit) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
            }
        });
        let outputs = [
            scope.spawn(|| stdout.map(|pipe| pass_on(pipe, STDOUT, send))),
            scope.spawn(|| stderr.map(|pipe| pass_on(pipe, STDERR, send))),
        ];
        for output in outputs {
            let _ = output.join();
        }
        let status = child.wait()?;
        drop(ended);
        Ok(status
            .code()
            .or(status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1))
    })
}

fn pass_on(
    mut pipe: impl Read,
    kind: u8,
    send: impl Fn(u8, &[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match pipe.read(&mut buffer)? {
            0 => return Ok(()),
            length => send(kind, &buffer[..length])?,
        }
    }
}

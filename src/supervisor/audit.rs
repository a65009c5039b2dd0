//! One line of JSON to syslog when a job starts and when it ends, when a call is refused, and when something dead was
//! taken back. journald listens at the same socket.
//!
//! Nothing secret is in a line, it is bounded, and a log that is full or stuck costs a second at most [46]-[49], [95].

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use super::journal::Record;
use super::paths;
use super::report::escaped;

/// Facility authpriv (10), severity informational (6): RFC 3164, section 4.1.1.
const PRIORITY: u8 = 10 * 8 + 6;
/// Longest line in bytes; syslog daemons take 8 KiB.
const MAX_LINE: usize = 6 * 1024;
/// Longest command line in it.
const MAX_COMMAND: usize = 3 * 1024;
/// How long a full log may make us wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the log did not take a line in time.
static STUCK: AtomicBool = AtomicBool::new(false);

/// What a line is about.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A job is about to be made.
    Started,
    /// A job has ended.
    Ended,
    /// A dead job was taken back, by `reap` or `kill`.
    Reaped,
}

/// A line about a job.
///
/// # Errors
/// Why it could not be sent.
pub fn job(event: Event, record: &Record) -> std::io::Result<()> {
    let word = match event {
        Event::Started => "job-started",
        Event::Ended => "job-ended",
        Event::Reaped => "job-reaped",
    };
    let mut line = json!({
        "event": word,
        "job": record.job.as_str(),
        "caller": record.caller,
        "login": record.login.as_str(),
        "account": record.account.as_str(),
        "profile": record.profile,
        "project": record.project,
        "rule": record.rule,
        "cluster": record.cluster,
        "namespace": record.namespace.as_str(),
        "tags": record.tags,
    });
    let more = match event {
        Event::Started => json!({"command": shortened(&record.command)}),
        Event::Ended | Event::Reaped => json!({
            "exit": record.exit,
            "times": record.times,
            "clean": record.cleanup.complete,
            "failures": record.cleanup.failures.len(),
        }),
    };
    if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
    send(&line)
}

/// A line about a call that was refused, by whom and why [17].
pub fn refused(caller: Option<u32>, code: crate::exit::ExitCode, message: &str) {
    let line = json!({
        "event": "refused",
        "caller_uid": caller,
        "code": code.number(),
        "name": code.name(),
        "message": escaped(message),
    });
    // The refusal stands, logged or not.
    let _ = send(&line);
}

/// A line about a namespace that an administrator has adopted or deleted.
pub fn namespace(event: &str, cluster: &str, namespace: &str, owner: &str) {
    let line = json!({"event": event, "cluster": cluster, "namespace": namespace, "owner": escaped(owner)});
    // What it tells has happened.
    let _ = send(&line);
}

fn shortened(command: &[String]) -> Vec<&str> {
    let mut left = MAX_COMMAND;
    command
        .iter()
        .map(String::as_str)
        .take_while(|word| {
            let fits = word.len() <= left;
            left = left.saturating_sub(word.len() + 3);
            fits
        })
        .collect()
}

fn send(line: &Value) -> std::io::Result<()> {
    let mut text = format!("<{PRIORITY}>spark-submit-as[{}]: {line}", std::process::id());
    if text.len() > MAX_LINE {
        // Tags of the largest size, say: half a line of JSON is none, so the event and the job alone are told.
        let short = json!({"event": line.get("event"), "job": line.get("job"), "caller": line.get("caller"),
            "login": line.get("login"), "account": line.get("account"), "namespace": line.get("namespace"),
            "shortened": true});
        text = format!("<{PRIORITY}>spark-submit-as[{}]: {short}", std::process::id());
    }
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(paths::log_socket())?;
    // A log that is stuck is waited for once, and not for each of ten thousand records.
    let patience = if STUCK.load(Ordering::Relaxed) { Duration::ZERO } else { PATIENCE };
    let deadline = Instant::now() + patience;
    loop {
        match socket.send(text.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                let left = deadline.saturating_duration_since(Instant::now());
                let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            }
            Err(error) => {
                STUCK.fetch_or(error.kind() == std::io::ErrorKind::WouldBlock, Ordering::Relaxed);
                return Err(error);
            }
        }
    }
}

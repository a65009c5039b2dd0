//! A terminal with somebody before it: a real pseudo-terminal, on which a call is started as its session's own.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{posix_openpt, unlockpt};
use nix::sys::termios::{Termios, tcgetattr};
use spark_submit_as::sys::terminal::{self, Size};

/// Longest wait for a text; Spark on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(240);

/// The terminal.
pub struct Screen {
    /// Its path, such as `/dev/pts/7`.
    pub path: String,
    /// Its settings before the call.
    pub before: Termios,
    master: Option<File>,
    slave: OwnedFd,
    text: Arc<Mutex<Vec<u8>>>,
    seen: usize,
    reader: Option<JoinHandle<()>>,
    closed: Arc<AtomicBool>,
    call: Child,
}

/// A call's program and arguments.
pub fn words(command: &Command) -> Vec<String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_str().expect("text").to_owned()).collect()
}

impl Screen {
    /// Starts `words` with this terminal as standard input, output and error, in a session that it controls.
    pub fn start(words: &[String]) -> Self {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("ptmx");
        unlockpt(&master).expect("unlockpt");
        let path = nix::pty::ptsname_r(&master).expect("ptsname");
        let master = File::from(OwnedFd::from(master));
        let slave = terminal::open_peer(&master).expect("slave");
        terminal::set_size(&master, Size::new(24, 80)).expect("size");
        let before = tcgetattr(&slave).expect("settings");
        let side = || Stdio::from(slave.try_clone().expect("dup"));
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).args(words).current_dir("/").env("TERM", "xterm");
        for name in ["SUDO_UID", "SUDO_USER", "SUDO_GID", "SUDO_COMMAND"] {
            command.env_remove(name);
        }
        let call = command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("setsid");
        let text = Arc::new(Mutex::new(Vec::new()));
        let closed = Arc::new(AtomicBool::new(false));
        let reader = {
            let (text, closed) = (text.clone(), closed.clone());
            let mut master = master.try_clone().expect("dup");
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while !closed.load(Ordering::Relaxed) {
                    let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut fds, PollTimeout::from(50_u8)) != Ok(1) {
                        continue;
                    }
                    // The test holds the other side as well, so there is no end.
                    let Ok(read) = master.read(&mut bytes) else { return };
                    text.lock().expect("text").extend_from_slice(&bytes[..read]);
                }
            })
        };
        Self { path, before, master: Some(master), slave, text, seen: 0, reader: Some(reader), closed, call }
    }

    /// Types.
    pub fn send(&mut self, keys: &str) {
        self.master.as_mut().expect("hung up").write_all(keys.as_bytes()).expect("write");
    }

    /// Waits until `text` is shown, behind what was waited for before. All that came since then.
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.shown();
            if let Some(at) = shown[self.seen..].windows(text.len()).position(|part| part == text.as_bytes())
            {
                let end = self.seen + at + text.len();
                let part = String::from_utf8_lossy(&shown[self.seen..end]).into_owned();
                self.seen = end;
                return part;
            }
            assert!(
                Instant::now() < deadline,
                "{text:?} is not shown: {}",
                String::from_utf8_lossy(&shown[self.seen..])
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything that was shown.
    pub fn shown(&self) -> Vec<u8> {
        self.text.lock().expect("text").clone()
    }

    /// The job that the wrapper tells about, and the process that it calls the job's.
    pub fn job(&mut self) -> (String, i32) {
        self.expect("spark-submit-as: job ");
        let job = self.expect(":").trim_end_matches(':').to_owned();
        self.expect(", pid ");
        let pid = self.expect("\n").trim().parse().expect("pid");
        (job, pid)
    }

    /// Changes the size, as a window does.
    pub fn resize(&self, rows: u16, columns: u16) {
        terminal::set_size(self.master.as_ref().expect("hung up"), Size::new(rows, columns)).expect("size");
    }

    /// Its settings now.
    pub fn settings(&self) -> Termios {
        tcgetattr(&self.slave).expect("settings")
    }

    /// The window is closed.
    pub fn hang_up(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        self.reader.take().expect("reader").join().expect("reader");
        self.master = None;
    }

    /// Waits for the call's end.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.call.try_wait().expect("wait") {
                return status;
            }
            let shown = self.shown();
            assert!(
                Instant::now() < deadline,
                "the call does not end: {}",
                String::from_utf8_lossy(&shown[self.seen..])
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end, which must be this status, and looks whether the terminal is as it was before.
    pub fn ends_with(&mut self, code: i32) {
        let status = self.end();
        assert_eq!(status.code(), Some(code), "{}", String::from_utf8_lossy(&self.shown()));
        assert_eq!(self.settings(), self.before, "the terminal's settings");
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        // With the master goes the session: the kernel hangs it up.
        self.master = None;
        let _ = self.call.kill();
        let _ = self.call.wait();
    }
}

/// Descriptors of a process: number and what it stands for.
pub fn descriptors(pid: i32) -> Vec<(String, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), target.to_string_lossy().into_owned()))
        })
        .collect()
}

/// State (field 3) and controlling terminal (field 7, a device number) of a process.
pub fn state_and_terminal(pid: i32) -> (String, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields: Vec<&str> = text.rsplit_once(')').expect("stat").1.split_whitespace().collect();
    (fields[0].to_owned(), fields[4].parse().expect("tty_nr"))
}

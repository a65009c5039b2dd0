//! From a credential to a running Spark program: the job's files, its scratch directory, fork, and the first words of the
//! child.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{getpid, pipe2};

use super::{KUBECONFIG, Life};
use crate::exit::ExitCode;
use crate::job::{self, Job, Scratch, Staged, Trouble};
use crate::supervisor::Failure;
use crate::supervisor::cgroup::Cgroup;
use crate::supervisor::limits::Entry;
use crate::supervisor::rundir::ScratchDirectory;
use crate::supervisor::startup::Given;
use crate::supervisor::steps::Step;
use crate::supervisor::terminal::Terminal;
use crate::sys::process;

impl Life<'_> {
    /// Writes the job's files, forks it, and waits until it has become the Spark program.
    pub(super) fn start(&mut self, staged: Vec<Staged>) -> Result<(), Failure> {
        let plan = self.plan;
        let missing = || Failure::new(ExitCode::Internal, "no credential to start with");
        let access = self.access.as_ref().ok_or_else(missing)?;
        let account = self.made.account_uid.as_deref().ok_or_else(missing)?;
        let directory = self.directory()?;
        for (name, content) in plan.files(account)? {
            directory.write(name, &content)?;
        }
        self.reached(Step::FilesWritten);
        let mut made = None;
        let names = if staged.is_empty() {
            None
        } else {
            let scratch = ScratchDirectory::create(&plan.job, plan.user.uid, plan.user.gid)?;
            let opened = scratch.directory.try_clone().map_err(Failure::doing(ExitCode::Internal, "dup"))?;
            let prepared = Scratch {
                path: scratch.path.clone(),
                directory: opened,
                files: staged,
                max_bytes: plan.staging.max_bytes,
            };
            made = Some(scratch);
            Some(prepared)
        };
        let command = plan.command(
            access.server(),
            access.driver_host(),
            self.ports.as_ref().map(|reserved| reserved.ports),
            |name| directory.path_of(name),
            names.as_ref(),
        )?;
        let kubeconfig = directory.path_of(KUBECONFIG);
        self.scratch = made;
        self.reached(Step::ScratchMade);
        self.limits.prepare()?;
        self.cgroup = self.record.cgroup.as_ref().and_then(|path| Cgroup::create(&plan.job, path));
        let entry = self.limited()?;
        self.reached(Step::CgroupMade);
        let (terminal, theirs) = Terminal::open(&plan.user)?.unzip();
        let mut environment = plan.environment(self.given, &kubeconfig);
        if terminal.is_some() && !environment.iter().any(|(name, _)| name == "TERM") {
            environment.extend(terminal_type(self.given));
        }
        let job = Job {
            user: plan.user.clone(),
            program: plan.program.clone(),
            arguments: command,
            environment,
            scratch: names,
            groups: entry.groups,
            limits: self.given.limits.iter().copied().chain(entry.limits).collect(),
            terminal: theirs,
        };
        let (ours, theirs) =
            pipe2(OFlag::O_CLOEXEC).map_err(Failure::doing(ExitCode::ProcessSetup, "pipe"))?;
        let supervisor = getpid();
        let cgroup = self.cgroup.as_ref().map(Cgroup::directory);
        let child = process::fork_into(cgroup, || job::start(job, supervisor, theirs))
            .map_err(Failure::doing(ExitCode::ProcessSetup, "fork"))?;
        let pid = child.pid();
        self.job = Some(child);
        self.reached(Step::Forked);
        heard(ours, plan.timeouts.staging)?;
        self.reached(Step::Started);
        self.record_running();
        self.report.say(format!("{} runs as {}, pid {pid}", plan.program_name, plan.user_name));
        terminal.map_or(Ok(()), |terminal| self.events.attach(terminal))
    }
}

/// The kind of terminal that the caller sits at, which is then the job's. A name of terminfo(5) and nothing else.
fn terminal_type(given: &Given) -> Option<(OsString, OsString)> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    let value = given.variable("TERM")?;
    let named = (1..=64).contains(&value.len()) && value.as_bytes().iter().copied().all(legal);
    named.then(|| ("TERM".into(), value.clone()))
}

impl Life<'_> {
    /// Sets the driver's limits, and tells which.
    fn limited(&self) -> Result<Entry, Failure> {
        if self.limits.is_none() {
            return Ok(Entry::default());
        }
        if self.limits.cgroup.is_some() && self.cgroup.is_none() {
            return Err(Failure::new(
                ExitCode::ProcessSetup,
                "the cgroup for the driver's limits (configuration key driver of the profile) cannot be made",
            ));
        }
        let entry = self.limits.limit()?;
        self.report.say(format!("driver limited by {}", self.limits.means()));
        if !entry.missing.is_empty() {
            self.report.warn(format!(
                "this host has no cgroup controllers for it: not limited: {} (configuration key driver of the profile)",
                entry.missing.join(", ")
            ));
        }
        Ok(entry)
    }
}

/// Waits until the job's child has become the Spark program (end-of-file) or has told why not.
fn heard(pipe: OwnedFd, timeout: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    let mut file = std::fs::File::from(pipe).take(4096);
    let mut text = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(file.get_ref().as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => {
                return Err(Failure::new(
                    ExitCode::InputRefused,
                    "copying the caller's files took too long (configuration key timeouts.staging)",
                ));
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(Failure::doing(ExitCode::Internal, "poll")(error)),
        }
        let mut chunk = [0; 512];
        match file.read(&mut chunk) {
            Ok(0) if text.is_empty() => return Ok(()),
            Ok(0) => break,
            Ok(read) => text.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) => return Err(Failure::doing(ExitCode::ProcessSetup, "the job's pipe")(error)),
        }
    }
    let trouble: Trouble = serde_json::from_slice(&text)
        .map_err(Failure::doing(ExitCode::ProcessSetup, "the job's first words"))?;
    Err(Failure::new(trouble.code, trouble.message))
}

//! The one place where the supervisor waits: signals, the caller's death, the provisioner's socket, the terminals, a
//! deadline.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getppid};

use super::Failure;
use super::terminal::Terminal;
use crate::exit::ExitCode;
use crate::sys::process::pidfd_open;

/// Signals that tell the job to stop; relayed to it once, then a grace, then KILL [78].
pub const STOPPING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];
/// Signals that are the job's own business.
const PASSED_ON: [Signal; 2] = [Signal::SIGUSR1, Signal::SIGUSR2];

/// Signals about the terminal. The last two are only kept from stopping this process, which stops when it decides so.
const TERMINAL: [Signal; 4] = [Signal::SIGWINCH, Signal::SIGCONT, Signal::SIGTTIN, Signal::SIGTTOU];

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Told to stop.
    Stop(Signal),
    /// A signal for the job.
    PassOn(Signal),
    /// The process that called us is gone: nobody waits for the job any more [82].
    CallerGone,
    /// Children have ended.
    Children,
    /// The provisioner's socket can be read.
    Provisioner,
    /// The deadline has come.
    Deadline,
}

/// What the supervisor waits for.
pub struct Events {
    signals: SignalFd,
    caller: Option<OwnedFd>,
    told_to_stop: bool,
    /// Has happened and was not told yet.
    queue: VecDeque<Event>,
    continued: bool,
    terminal: Option<Terminal>,
}

impl Events {
    /// Blocks the signals and watches the caller. From here on no signal interrupts anything.
    ///
    /// # Errors
    /// [`ExitCode::Internal`]; [`ExitCode::Interrupted`] when the caller is gone already.
    pub fn new() -> Result<Self, Failure> {
        let mut set = SigSet::empty();
        STOPPING
            .into_iter()
            .chain(PASSED_ON)
            .chain(TERMINAL)
            .chain([Signal::SIGCHLD])
            .for_each(|signal| set.add(signal));
        set.thread_block().map_err(Failure::doing(ExitCode::Internal, "blocking signals"))?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(Failure::doing(ExitCode::Internal, "signalfd"))?;
        Ok(Self {
            signals,
            caller: caller()?,
            told_to_stop: false,
            queue: VecDeque::new(),
            continued: false,
            terminal: None,
        })
    }

    /// Waits for the next event. `provisioner` is its socket while there is one.
    ///
    /// # Errors
    /// [`ExitCode::Internal`] when poll(2) fails.
    pub fn next(
        &mut self,
        provisioner: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> Result<Event, Failure> {
        loop {
            if let Some(event) = self.signal()? {
                return Ok(event);
            }
            let timeout = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => PollTimeout::NONE,
                Some(left) if left.is_zero() => return Ok(Event::Deadline),
                // Rounded up, or the last millisecond would be spun through.
                Some(left) => PollTimeout::try_from(left + std::time::Duration::from_millis(1))
                    .unwrap_or(PollTimeout::MAX),
            };
            let input = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut fds = vec![input(self.signals.as_fd())];
            let caller = self.caller.as_ref().map(|fd| {
                fds.push(input(fd.as_fd()));
                fds.len() - 1
            });
            let worker = provisioner.map(|fd| {
                fds.push(input(fd));
                fds.len() - 1
            });
            let terminals = self.terminal.as_ref().map(Terminal::interests).unwrap_or_default().map(|side| {
                side.map(|side| {
                    fds.push(side);
                    fds.len() - 1
                })
            });
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(Failure::doing(ExitCode::Internal, "poll")(error)),
            }
            let ready = |index: Option<usize>| {
                index.and_then(|index| fds.get(index)).and_then(PollFd::any).unwrap_or(false)
            };
            let (caller, worker) = (ready(caller), ready(worker));
            let told = |index: Option<usize>| {
                index.and_then(|index| fds.get(index)).and_then(PollFd::revents).unwrap_or(PollFlags::empty())
            };
            let [ours, theirs] = terminals.map(told);
            if let Some(terminal) = &mut self.terminal {
                let had = !terminal.is_lost();
                terminal.relay(ours, theirs);
                if had && terminal.is_lost() {
                    self.hung_up();
                }
            }
            if caller {
                self.caller = None; // tell it once
                return Ok(Event::CallerGone);
            }
            if worker {
                return Ok(Event::Provisioner);
            }
        }
    }

    /// Whether this process was told to stop, now or before, without waiting.
    ///
    /// # Errors
    /// [`ExitCode::Interrupted`] when it was.
    pub fn stopped(&mut self) -> Result<(), Failure> {
        while self.signal()?.is_some() {}
        if self.told_to_stop { Err(Failure::new(ExitCode::Interrupted, "told to stop")) } else { Ok(()) }
    }

    /// From here on the job's terminal and the caller's are one, for whoever sits before it.
    ///
    /// # Errors
    /// [`ExitCode::Internal`].
    pub fn attach(&mut self, terminal: Terminal) -> Result<(), Failure> {
        self.terminal = Some(terminal);
        self.take_terminal()
    }

    /// Whether the job has a terminal.
    #[must_use]
    pub fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Shows what the job wrote last, and gives the caller's terminal back.
    pub fn detach(&mut self) {
        if let Some(mut terminal) = self.terminal.take() {
            terminal.show_the_rest();
        }
    }

    /// The job was stopped: so is this process with all of its group, as if the job were the caller's own, until somebody
    /// continues it.
    ///
    /// # Errors
    /// [`ExitCode::Internal`].
    pub fn suspend(&mut self) -> Result<(), Failure> {
        let Some(terminal) = &mut self.terminal else { return Ok(()) };
        if self.told_to_stop {
            return Ok(());
        }
        terminal.show_the_rest();
        terminal.give_back();
        stop_group(Signal::SIGTSTP);
        self.take_terminal()
    }

    /// Makes the caller's terminal ours, when it is our turn; until then this process is stopped, like any that wants a
    /// terminal in the background.
    fn take_terminal(&mut self) -> Result<(), Failure> {
        loop {
            self.read_signals()?;
            self.continued = false;
            let Some(terminal) = &mut self.terminal else { return Ok(()) };
            if self.told_to_stop || terminal.is_lost() {
                return Ok(());
            }
            match terminal.in_foreground() {
                Some(true) => {
                    terminal.take();
                    return Ok(());
                }
                Some(false) => stop_group(Signal::SIGTTIN),
                None => {}
            }
            self.read_signals()?;
            if !self.continued {
                // It was not stopped: nobody is there who could continue it, or give it the terminal.
                self.hung_up();
            }
        }
    }

    /// The caller's terminal is gone. The kernel tells it to a shell or to the foreground only.
    fn hung_up(&mut self) {
        if !self.told_to_stop {
            self.told_to_stop = true;
            self.queue.push_back(Event::Stop(Signal::SIGHUP));
        }
    }

    fn signal(&mut self) -> Result<Option<Event>, Failure> {
        self.read_signals()?;
        if std::mem::take(&mut self.continued) {
            self.take_terminal()?;
        }
        Ok(self.queue.pop_front())
    }

    /// Takes all signals that wait.
    fn read_signals(&mut self) -> Result<(), Failure> {
        loop {
            let read = self.signals.read_signal().map_err(Failure::doing(ExitCode::Internal, "signalfd"))?;
            let Some(info) = read else { return Ok(()) };
            let number = i32::try_from(info.ssi_signo).ok();
            match number.and_then(|number| Signal::try_from(number).ok()) {
                None | Some(Signal::SIGTTIN | Signal::SIGTTOU) => {}
                Some(Signal::SIGCHLD) => self.queue.push_back(Event::Children),
                Some(Signal::SIGCONT) => self.continued = true,
                Some(Signal::SIGWINCH) => {
                    if let Some(terminal) = &self.terminal {
                        terminal.resize();
                    }
                }
                Some(signal) if PASSED_ON.contains(&signal) => self.queue.push_back(Event::PassOn(signal)),
                Some(signal) => {
                    // Whoever waits for something else may take the event; it holds for what comes after all the same.
                    self.told_to_stop = true;
                    self.queue.push_back(Event::Stop(signal));
                }
            }
        }
    }
}

/// Stops this process and its group, sudo included, as a terminal does it: `SIGTSTP` at its stop key, `SIGTTIN` when it
/// is somebody else's turn. Without anybody who could continue them the kernel does not stop them.
fn stop_group(signal: Signal) {
    let mut only = SigSet::empty();
    only.add(signal);
    let _ = only.thread_unblock();
    let _ = kill(Pid::from_raw(0), signal);
    if TERMINAL.contains(&signal) {
        let _ = only.thread_block();
    }
}

/// Our parent: sudo, or the shell that root called us from. KILL on sudo cannot be relayed and orphans us, so its end
/// is watched; getppid(2) before and after shows that the descriptor is really the parent's.
fn caller() -> Result<Option<OwnedFd>, Failure> {
    let parent = getppid();
    if parent == Pid::from_raw(1) || parent == Pid::from_raw(0) {
        return Ok(None); // started by init, or from another pid namespace: there is nobody to lose
    }
    let gone = || Failure::new(ExitCode::Interrupted, "the calling process is gone; nothing was started");
    let fd = pidfd_open(parent).map_err(|_| gone())?;
    if getppid() == parent { Ok(Some(fd)) } else { Err(gone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checklist_78_a_stop_holds_although_somebody_else_took_the_event() {
        let mut events = Events::new().expect("events");
        assert!(events.stopped().is_ok());
        // To this thread alone, which blocks it by now.
        nix::sys::signal::raise(Signal::SIGTERM).expect("raise");
        let deadline = Instant::now() + std::time::Duration::from_secs(5);
        assert!(matches!(events.next(None, Some(deadline)), Ok(Event::Stop(Signal::SIGTERM))));
        for _ in 0..2 {
            assert_eq!(events.stopped().map_err(|failure| failure.code), Err(ExitCode::Interrupted));
        }
    }
}

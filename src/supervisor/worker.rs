//! The supervisor's end of the provisioner: starts it with nothing but a socket and one kubeconfig, knows which reply
//! may come in which state, and kills it when another one comes (OpenSSH `monitor.c`; checklist [100]).

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::wait::WaitStatus;
use zeroize::Zeroizing;

use super::lookup::Record;
use super::{Failure, paths};
use crate::exit::ExitCode;
use crate::protocol::namespaces::MAX_NAMESPACES;
use crate::protocol::{self, ClusterAccess, FrameError, KUBECONFIG_FD, MAX_FRAME, Reply, Request, SOCKET_FD};
use crate::sys::process::{self, Child, become_user};
use crate::sys::trusted::{self, Links};

/// How long a provisioner may take to read a request, or to end when its socket is closed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most replies on the way to the last one, where a few are expected, and a few may be left of an earlier request:
const MAX_ON_THE_WAY: u32 = 16;
/// and where there is one for each overdue job; an honest provisioner stops there by itself. Without a bound, one that
/// never stops talking would keep root from its deadline and its signals [100].
const MAX_OVERDUE: u32 = 10_000;

/// Which reply is awaited. A reply that is not is a breach of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Nothing,
    Provisioned,
    Renewed,
    TornDown,
    OverdueDone,
    Checked,
    NamespacesDone,
    Inside,
    Adopted,
    PoliciesApplied,
    Pruned,
    Explained,
    Failures,
}

/// A running provisioner.
pub struct Worker {
    child: Child,
    socket: UnixStream,
    buffer: Vec<u8>,
    awaits: Awaits,
    /// Replies that may still come before the last one.
    on_the_way: u32,
}

impl Worker {
    /// Starts one as `account`, with `kubeconfig`, for one cluster. It makes nothing before it is asked.
    ///
    /// # Errors
    /// [`ExitCode::Provisioner`].
    pub fn start(account: &Record, kubeconfig: OwnedFd, cluster: ClusterAccess) -> Result<Self, Failure> {
        let program = paths::provisioner();
        // Nobody but root can change it, so its path may be used after the look.
        trusted::open_file(program, Links::FollowRoots).map_err(Failure::of(ExitCode::Provisioner))?;
        let (ours, theirs) =
            UnixStream::pair().map_err(Failure::doing(ExitCode::Provisioner, "socketpair"))?;
        let child = process::fork(|| become_provisioner(account, &theirs.into(), &kubeconfig))
            .map_err(Failure::doing(ExitCode::Provisioner, "fork"))?;
        ours.set_nonblocking(true).map_err(Failure::doing(ExitCode::Provisioner, "socket"))?;
        let mut worker =
            Self { child, socket: ours, buffer: Vec::new(), awaits: Awaits::Nothing, on_the_way: 0 };
        worker.send(&Request::Open(cluster))?;
        Ok(worker)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> nix::unistd::Pid {
        self.child.pid()
    }

    /// Its socket, for [`super::events::Events::next`].
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether no answer is awaited.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.awaits == Awaits::Nothing
    }

    /// Whether it looks at the job's executors, which any other request ends.
    #[must_use]
    pub fn is_explaining(&self) -> bool {
        self.awaits == Awaits::Explained
    }

    /// Takes note of a status that was reaped elsewhere.
    pub fn note(&mut self, status: WaitStatus) {
        self.child.note(status);
    }

    /// Sends a request; its answer is then awaited.
    ///
    /// # Errors
    /// [`ExitCode::Provisioner`] when it does not read.
    pub fn send(&mut self, request: &Request) -> Result<(), Failure> {
        self.awaits = match request {
            Request::Open(_) => Awaits::Nothing,
            Request::Provision(_) => Awaits::Provisioned,
            Request::Renew(_) => Awaits::Renewed,
            Request::TearDown(_) => Awaits::TornDown,
            Request::ReapOverdue(_) => Awaits::OverdueDone,
            Request::Check(_) => Awaits::Checked,
            Request::ListNamespaces => Awaits::NamespacesDone,
            Request::LookInto(_) => Awaits::Inside,
            Request::Adopt(_) => Awaits::Adopted,
            Request::ApplyPolicies(_) => Awaits::PoliciesApplied,
            Request::Prune(_) => Awaits::Pruned,
            Request::Explain(_) => Awaits::Explained,
            Request::Failures => Awaits::Failures,
        };
        self.on_the_way = match self.awaits {
            Awaits::OverdueDone => MAX_OVERDUE,
            Awaits::NamespacesDone => MAX_NAMESPACES,
            _ => MAX_ON_THE_WAY,
        };
        let frame = protocol::encode(request).map_err(Failure::of(ExitCode::Internal))?;
        let frame = Zeroizing::new(frame); // a token may be in it
        let deadline = Instant::now() + PATIENCE;
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            match self.socket.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
                    let ready = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
                    if !matches!(ready, Ok(1)) {
                        return Err(self.breach("does not read"));
                    }
                }
                Err(_) => return Err(self.breach("has ended")),
            }
        }
        Ok(())
    }

    /// Takes the next reply, if one has come whole. Call it when the socket is readable, until it gives none.
    ///
    /// # Errors
    /// [`ExitCode::Provisioner`] when it ended or broke the protocol; it is dead then.
    pub fn receive(&mut self) -> Result<Option<Reply>, Failure> {
        loop {
            if let Some(reply) = self.whole_frame()? {
                return self.permitted(reply).map(Some);
            }
            let mut chunk = [0; 8192];
            match self.socket.read(&mut chunk) {
                Ok(0) => return Err(self.breach("has ended")),
                Ok(read) => self.buffer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(self.breach("has ended")),
            }
        }
    }

    fn whole_frame(&mut self) -> Result<Option<Reply>, Failure> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let framed = |error: FrameError| error.to_string();
        let length = match protocol::announced(*prefix).map_err(framed) {
            Ok(length) => length,
            Err(rule) => return Err(self.breach(&rule)),
        };
        debug_assert!(length <= MAX_FRAME);
        let Some(body) = self.buffer.get(4..4 + length) else { return Ok(None) };
        let reply = protocol::decode(body).map_err(framed);
        self.buffer.drain(..4 + length);
        self.buffer.shrink_to(0);
        reply.map(Some).map_err(|rule| self.breach(&rule))
    }

    fn permitted(&mut self, reply: Reply) -> Result<Reply, Failure> {
        let on_the_way = match (&reply, self.awaits) {
            // On the way; the request stays open.
            (Reply::Created { .. }, Awaits::Provisioned | Awaits::PoliciesApplied) => true,
            (Reply::Overdue(_), Awaits::OverdueDone) => true,
            (Reply::Namespace(_), Awaits::NamespacesDone) => true,
            // The last words about a request that tearing down has overtaken.
            (
                Reply::Created { .. }
                | Reply::Provisioned { .. }
                | Reply::Renewed { .. }
                | Reply::AccountGone
                | Reply::Explained(_)
                | Reply::Failures { .. },
                Awaits::TornDown,
            ) => true,
            (Reply::Explained(_), Awaits::Renewed | Awaits::Failures) => true,
            _ => false,
        };
        if on_the_way {
            let Some(left) = self.on_the_way.checked_sub(1) else {
                return Err(self.breach("does not stop answering"));
            };
            self.on_the_way = left;
            return Ok(reply);
        }
        let allowed = match (&reply, self.awaits) {
            (Reply::Provisioned { .. }, Awaits::Provisioned)
            | (Reply::Renewed { .. } | Reply::AccountGone, Awaits::Renewed)
            | (Reply::OverdueDone { .. }, Awaits::OverdueDone)
            | (Reply::TornDown { .. }, Awaits::TornDown)
            | (Reply::Checked { .. }, Awaits::Checked)
            | (Reply::NamespacesDone { .. }, Awaits::NamespacesDone)
            | (Reply::Inside { .. }, Awaits::Inside)
            | (Reply::Adopted, Awaits::Adopted)
            | (Reply::PoliciesApplied { .. }, Awaits::PoliciesApplied)
            | (Reply::Pruned(_), Awaits::Pruned)
            | (Reply::Explained(_), Awaits::Explained)
            | (Reply::Failures { .. }, Awaits::Failures) => true,
            (Reply::Failed { .. }, awaits) => awaits != Awaits::Nothing,
            _ => false,
        };
        self.awaits = Awaits::Nothing;
        if allowed { Ok(reply) } else { Err(self.breach("sent a message that may not come now")) }
    }

    /// Kills one that does not answer. It gets no time to take anything back: that is for the next one.
    pub fn kill(mut self, what: &str) -> Failure {
        self.breach(what)
    }

    fn breach(&mut self, what: &str) -> Failure {
        self.child.signal(Signal::SIGKILL);
        let status = self.child.wait();
        let how = match status {
            Ok(WaitStatus::Exited(_, code)) => format!(" (exit status {code})"),
            Ok(WaitStatus::Signaled(_, signal, _)) if signal != Signal::SIGKILL => format!(" (by {signal})"),
            _ => String::new(),
        };
        Failure::new(ExitCode::Provisioner, format!("the provisioner {what}{how}"))
    }

    /// Ends it: end-of-file first, then a kill.
    pub fn end(mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let mut fds = [PollFd::new(self.child.pidfd().as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        if !matches!(poll(&mut fds, patience), Ok(1)) {
            self.child.signal(Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// In the child: becomes `account` and the provisioner. Returns only on failure.
fn become_provisioner(account: &Record, socket: &OwnedFd, kubeconfig: &OwnedFd) -> i32 {
    let prepared = || -> Result<(), Box<dyn std::error::Error>> {
        nix::unistd::setsid()?;
        become_user(account.uid, account.gid, &account.groups)?;
        process::new_session_keyring()?;
        process::reset_signals();
        // First out of the way of the numbers that they are to get.
        let [socket, kubeconfig] = [above(socket)?, above(kubeconfig)?];
        let null = above(&open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?)?;
        for standard in 0..3 {
            process::place_fd(null, standard)?;
        }
        process::place_fd(socket, SOCKET_FD)?;
        process::place_fd(kubeconfig, KUBECONFIG_FD)?;
        process::cloexec_from(KUBECONFIG_FD + 1)?;
        Ok(())
    };
    if prepared().is_err() {
        return 1;
    }
    let text = |text: &str| OsString::from(text);
    let environment = vec![
        (text("PATH"), text("/usr/local/bin:/usr/bin:/bin")),
        (text("HOME"), account.home.clone().into_os_string()),
        (text("LANG"), text("C.UTF-8")),
    ];
    let program = paths::provisioner().as_os_str().to_owned();
    let _ = process::execve(program.clone(), vec![program], environment);
    127
}

/// A copy of a descriptor with a number above those that are given out.
fn above(fd: &OwnedFd) -> nix::Result<RawFd> {
    fcntl(fd.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Kind;

    /// A provisioner that says what the test says, and the test's end.
    fn worker() -> (Worker, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("socketpair");
        ours.set_nonblocking(true).expect("socket");
        let child = process::fork(|| {
            loop {
                nix::unistd::pause();
            }
        });
        let child = child.expect("fork");
        (Worker { child, socket: ours, buffer: Vec::new(), awaits: Awaits::Nothing, on_the_way: 0 }, theirs)
    }

    #[test]
    fn checklist_100_a_provisioner_that_does_not_stop_answering_is_killed() {
        let (mut worker, mut provisioner) = worker();
        worker.awaits = Awaits::TornDown;
        worker.on_the_way = 2;
        assert!(!worker.is_idle());
        let created = Reply::Created { kind: Kind::Account, name: "x".into(), uid: "y".into() };
        let frame = protocol::encode(&created).expect("frame");
        for _ in 0..3 {
            provisioner.write_all(&frame).expect("write");
        }
        assert!(matches!(worker.receive(), Ok(Some(Reply::Created { .. }))));
        assert!(matches!(worker.receive(), Ok(Some(Reply::Created { .. }))));
        let refused = worker.receive().map(|_| ()).map_err(|failure| failure.code);
        assert_eq!(refused, Err(ExitCode::Provisioner));
        assert!(matches!(worker.child.wait(), Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _))));
    }

    #[test]
    fn checklist_100_each_answer_about_namespaces_may_come_to_its_own_question_alone() {
        let name = crate::policy::names::NamespaceName::new("team").expect("name");
        let seen = || crate::protocol::namespaces::SeenNamespace {
            name: name.clone(),
            uid: "u".into(),
            resource_version: "1".into(),
            created: 0,
            terminating: false,
            managed: true,
            owner: None,
            pod_security: None,
        };
        let inside = || Reply::Inside {
            namespace: seen(),
            contents: Vec::new(),
            problems: Vec::new(),
            server: String::new(),
        };
        let done = || Reply::NamespacesDone { date: 0, server: String::new(), problems: Vec::new() };
        let created = || Reply::Created { kind: Kind::ExecutorAccount, name: "x".into(), uid: "y".into() };
        let pruned = || Reply::Pruned(crate::protocol::namespaces::Pruned::Gone);
        let applied = || Reply::PoliciesApplied { changed: Vec::new() };
        // Each reply, and what may be awaited when it comes.
        let table: [(&dyn Fn() -> Reply, &[Awaits]); 7] = [
            (&|| Reply::Namespace(seen()), &[Awaits::NamespacesDone]),
            (&done, &[Awaits::NamespacesDone]),
            (&inside, &[Awaits::Inside]),
            (&|| Reply::Adopted, &[Awaits::Adopted]),
            (&created, &[Awaits::Provisioned, Awaits::TornDown, Awaits::PoliciesApplied]),
            (&applied, &[Awaits::PoliciesApplied]),
            (&pruned, &[Awaits::Pruned]),
        ];
        for (row, (reply, allowed)) in table.iter().enumerate() {
            for awaits in [
                Awaits::Nothing,
                Awaits::Provisioned,
                Awaits::Renewed,
                Awaits::TornDown,
                Awaits::OverdueDone,
                Awaits::Checked,
                Awaits::NamespacesDone,
                Awaits::Inside,
                Awaits::Adopted,
                Awaits::PoliciesApplied,
                Awaits::Pruned,
            ] {
                let (mut worker, mut provisioner) = worker();
                (worker.awaits, worker.on_the_way) = (awaits, 1);
                provisioner.write_all(&protocol::encode(&reply()).expect("frame")).expect("write");
                let taken = worker.receive().is_ok();
                assert_eq!(taken, allowed.contains(&awaits), "row {row}, {awaits:?}");
                worker.child.signal(Signal::SIGKILL);
                let _ = worker.child.wait();
            }
        }
    }

    #[test]
    fn checklist_100_a_look_at_executors_may_be_overtaken_and_answers_nothing_else() {
        let explained = || {
            Reply::Explained(protocol::Explained {
                executors: protocol::Executors::Unknown,
                findings: vec![],
            })
        };
        for (awaits, still) in [
            (Awaits::Explained, Awaits::Nothing),
            (Awaits::Renewed, Awaits::Renewed),
            (Awaits::Failures, Awaits::Failures),
            (Awaits::TornDown, Awaits::TornDown),
        ] {
            let (mut worker, _provisioner) = worker();
            (worker.awaits, worker.on_the_way) = (awaits, MAX_ON_THE_WAY);
            assert!(worker.permitted(explained()).is_ok(), "{awaits:?}");
            assert_eq!(worker.awaits, still);
            worker.kill("is not needed any more");
        }
        for awaits in [Awaits::Nothing, Awaits::Provisioned, Awaits::OverdueDone, Awaits::Checked] {
            let (mut worker, _provisioner) = worker();
            worker.awaits = awaits;
            assert!(worker.permitted(explained()).is_err(), "{awaits:?}");
        }
    }
}

//! The account database (NSS), asked once per call by a short-lived child with a deadline: a directory service that
//! hangs must not hang root's process [23], and one record is used throughout [22].

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Gid, User, getgrouplist, pipe2};
use serde::{Deserialize, Serialize};
use users::os::unix::UserExt;

use super::Failure;
use crate::exit::ExitCode;
use crate::sys::process;
use crate::sys::shadow::{Shadow, shadow};

/// Most bytes of an answer: 65,536 groups in decimal fit.
const MAX_ANSWER: u64 = 4 << 20;
/// How long a child may take to die from KILL.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Seconds of a day, the unit of shadow(5).
const DAY: u64 = 86_400;

/// What is asked, all at once.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Accounts by uid.
    pub uids: Vec<u32>,
    /// Accounts by name.
    pub names: Vec<String>,
    /// Groups by name.
    pub groups: Vec<String>,
    /// Groups by gid.
    pub gids: Vec<u32>,
    /// Names of accounts of which only is asked whether they exist.
    pub existing: Vec<String>,
}

/// Whether an account exists. For every other question an error of the database is as good as "no": the job is refused.
/// Where a "no" would delete something, it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Existence {
    /// The database has it.
    Yes,
    /// The database says that there is no such account.
    No,
    /// The database answered with an error.
    Unknown,
}

/// One account as the database has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: u32,
    /// Its primary gid.
    pub gid: u32,
    /// Every gid, the primary one included (getgrouplist(3), what initgroups(3) would set) [24].
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
    /// `usermod -L`.
    pub locked: bool,
    /// `chage -E`.
    pub expired: bool,
}

/// The answer. What the database does not know is absent.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// By uid.
    pub uids: BTreeMap<u32, Record>,
    /// By name.
    pub names: BTreeMap<String, Record>,
    /// Gids by name.
    pub groups: BTreeMap<String, u32>,
    /// Names by gid.
    pub gids: BTreeMap<u32, String>,
    /// Of each name of [`Question::existing`].
    pub existing: BTreeMap<String, Existence>,
}

/// Asks.
///
/// # Errors
/// [`ExitCode::LookupFailed`] when no answer came in time.
pub fn ask(question: &Question, timeout: Duration) -> Result<Answer, Failure> {
    let failed = |what: &str| {
        Failure::new(
            ExitCode::LookupFailed,
            format!("{what}; look at the name services of this host (getent passwd NAME), then try again"),
        )
    };
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(Failure::doing(ExitCode::Internal, "pipe"))?;
    let mut child = process::fork(|| {
        let written = serde_json::to_vec(&answer(question))
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::File::from(theirs).write_all(&bytes));
        i32::from(written.is_err())
    })
    .map_err(Failure::doing(ExitCode::Internal, "fork"))?;
    let bytes = read_until(ours, Instant::now() + timeout);
    if bytes.is_none() {
        let _ = child.end(LAST_WORDS);
    } else {
        let _ = child.wait();
    }
    let bytes = bytes.ok_or_else(|| failed("the account database did not answer in time"))?;
    serde_json::from_slice(&bytes).map_err(|_| failed("the account database's answer could not be taken"))
}

/// Everything up to end-of-file, or nothing when the deadline comes first.
fn read_until(pipe: OwnedFd, deadline: Instant) -> Option<Vec<u8>> {
    let mut file = std::fs::File::from(pipe);
    let mut bytes = Vec::new();
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return None,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
        let mut chunk = [0; 8192];
        match file.read(&mut chunk) {
            Ok(0) => return Some(bytes),
            Ok(read) => bytes.extend_from_slice(chunk.get(..read)?),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
        if bytes.len() as u64 > MAX_ANSWER {
            return None;
        }
    }
}

/// Runs in the child.
fn answer(question: &Question) -> Answer {
    let mut answer = Answer::default();
    for uid in &question.uids {
        if let Some(record) = users::get_user_by_uid(*uid).and_then(|user| record(&user)) {
            answer.uids.insert(*uid, record);
        }
    }
    for name in &question.names {
        // A NUL would make the crate panic; policy refuses such names before they come here.
        let user = (!name.contains('\0')).then(|| users::get_user_by_name(name)).flatten();
        if let Some(record) = user.and_then(|user| record(&user)) {
            answer.names.insert(name.clone(), record);
        }
    }
    for name in &question.groups {
        let group = (!name.contains('\0')).then(|| users::get_group_by_name(name)).flatten();
        if let Some(group) = group {
            answer.groups.insert(name.clone(), group.gid());
        }
    }
    for gid in &question.gids {
        if let Some(name) =
            users::get_group_by_gid(*gid).and_then(|group| group.name().to_str().map(String::from))
        {
            answer.gids.insert(*gid, name);
        }
    }
    for name in &question.existing {
        // The crate `users` makes no difference between an error and no account; getpwnam_r(3) does.
        let existence = match User::from_name(name) {
            Ok(Some(_)) => Existence::Yes,
            Ok(None) => Existence::No,
            Err(_) => Existence::Unknown,
        };
        answer.existing.insert(name.clone(), existence);
    }
    answer
}

fn record(user: &users::User) -> Option<Record> {
    let name = user.name().to_str()?.to_owned();
    let gid = user.primary_group_id();
    let groups = getgrouplist(&CString::new(name.clone()).ok()?, Gid::from_raw(gid)).ok()?;
    let days = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs() / DAY;
    let shadow = shadow(&name, i64::try_from(days).ok()?);
    Some(Record {
        uid: user.uid(),
        gid,
        groups: groups.into_iter().map(Gid::as_raw).collect(),
        home: user.home_dir().to_owned(),
        shell: user.shell().to_owned(),
        locked: shadow == Shadow::Locked,
        expired: shadow == Shadow::Expired,
        name,
    })
}

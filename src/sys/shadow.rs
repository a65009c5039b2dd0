//! Whether an account is locked, from the shadow database (getspnam(3)).

use std::ffi::CString;

/// What the shadow database says of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shadow {
    /// Nothing that forbids its use, or no entry (accounts of a directory service have none).
    Usable,
    /// Its password was locked (`usermod -L` puts `!` before the hash). An account that never had a password
    /// (`!`, `!!`, `*`) is not locked: such accounts log in by other means.
    Locked,
    /// Its expiry date (`chage -E`) has passed.
    Expired,
}

/// Asks the shadow database.
#[must_use]
pub fn shadow(name: &str, today: i64) -> Shadow {
    let Ok(name) = CString::new(name) else { return Shadow::Usable };
    // SAFETY: the name is a live C string; the answer points to static storage that is read before any other call.
    let entry = unsafe { libc::getspnam(name.as_ptr()) };
    if entry.is_null() {
        return Shadow::Usable;
    }
    // SAFETY: not null, and filled by the C library.
    let (password, expires) = unsafe { ((*entry).sp_pwdp, (*entry).sp_expire) };
    if expires > 0 && expires <= today {
        return Shadow::Expired;
    }
    if password.is_null() {
        return Shadow::Usable;
    }
    // SAFETY: a C string in the same static storage.
    let password = unsafe { std::ffi::CStr::from_ptr(password) }.to_bytes();
    let locked = password.starts_with(b"!") && password.contains(&b'$');
    if locked { Shadow::Locked } else { Shadow::Usable }
}

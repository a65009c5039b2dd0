//! What the host is: kernel and C library versions.

use std::ffi::CStr;

/// `major.minor` of a version string such as `5.14.0-362.el9`.
#[must_use]
pub fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Version of the C library that is loaded (gnu_get_libc_version(3)).
#[must_use]
pub fn libc_version() -> String {
    // SAFETY: glibc returns a pointer to a static string.
    let text = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_are_read_from_the_forms_that_distributions_use() {
        assert_eq!(super::version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(super::version("5.14.0-362.el9"), Some((5, 14)));
        assert_eq!(super::version("2.36"), Some((2, 36)));
        assert_eq!(super::version("linux"), None);
    }
}

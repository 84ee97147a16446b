//! What the kernel says of its clock.

use std::io;

/// Whether something keeps the clock right, as the kernel has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelClock {
    /// Whether a time service has said so lately.
    pub synchronised: bool,
    /// How far it may be off at most, in microseconds, by that service's account.
    pub error_us: u64,
}

/// Asks the kernel; changes nothing, and needs no right.
///
/// # Errors
/// Where the call is forbidden, as some containers do.
pub fn kernel_clock() -> io::Result<KernelClock> {
    // SAFETY: an all-zero timex is a valid value; its `modes` of 0 asks and sets nothing.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `asked` lives until the call returns.
    let state = unsafe { libc::adjtimex(&raw mut asked) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let synchronised = state != libc::TIME_ERROR && asked.status & libc::STA_UNSYNC == 0;
    Ok(KernelClock { synchronised, error_us: u64::try_from(asked.maxerror).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_its_clock_is_or_that_it_may_not() {
        match kernel_clock() {
            Ok(clock) => assert!(!clock.synchronised || clock.error_us < 16_000_000, "{clock:?}"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}

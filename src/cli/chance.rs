//! The one place where a command line draws randomness.

use super::failure::{ExitCode, Failure};

/// Draws bytes from the operating system.
pub(super) fn draw<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(ExitCode::Internal, format!("no randomness from the system: {error}"))
    })?;
    Ok(bytes)
}

/// A source of 32 bytes at a time that cannot fail, for whoever makes several keys. The system is asked
/// for all of the first `times` at once, so that it fails before anything is made with a part of them.
pub(super) fn source(times: usize) -> Result<impl FnMut() -> [u8; 32], Failure> {
    let mut drawn = Vec::with_capacity(times);
    for _ in 0..times {
        drawn.push(draw::<32>()?);
    }
    // Past the number that was announced each draw asks again, as long as it takes.
    Ok(move || {
        loop {
            if let Some(bytes) = drawn.pop().or_else(|| draw::<32>().ok()) {
                return bytes;
            }
        }
    })
}

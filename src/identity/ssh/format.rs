//! The encoding that SSH has for everything (RFC 4251, section 5): numbers of fixed size, and byte
//! strings behind their length.

/// Bytes that end before what they say they hold, or are something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not in the SSH format: {0}")]
pub struct FormatError(pub &'static str);

/// Reads one item after the other; borrows, so that a length never allocates.
#[derive(Clone, Copy, Debug)]
pub struct SshReader<'a>(&'a [u8]);

impl<'a> SshReader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Takes the next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(FormatError("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Takes `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        self.take(N)?.try_into().map_err(|_| FormatError("it ends too early"))
    }

    /// Takes one byte.
    pub fn byte(&mut self) -> Result<u8, FormatError> {
        self.array().map(|[byte]| byte)
    }

    /// Takes a number.
    pub fn number(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes a byte string.
    pub fn string(&mut self) -> Result<&'a [u8], FormatError> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| FormatError("it ends too early"))?)
    }

    /// Takes a byte string that is `N` bytes long.
    pub fn string_of<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        self.string()?.try_into().map_err(|_| FormatError("a string of the wrong length"))
    }

    /// Takes a byte string that must be this one.
    pub fn expect(&mut self, wanted: &[u8]) -> Result<(), FormatError> {
        if self.string()? == wanted { Ok(()) } else { Err(FormatError("another string than is wanted")) }
    }

    /// What was not taken.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), FormatError> {
        if self.0.is_empty() { Ok(()) } else { Err(FormatError("bytes after its end")) }
    }
}

/// Appends a byte string.
pub fn put_string(bytes: &mut Vec<u8>, string: &[u8]) {
    // What is put is a key, a hash or a small message: far from 4 GiB.
    let length = u32::try_from(string.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(string);
}

//! The host's side: its chain, as it is on disk.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use crate::{
    control::{Answer, Reply},
    journal::audit_files,
};

/// How much of it is read and sent at a time, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// Sends the records in `dir`, oldest first. One that is being written may be cut at the end: who reads it leaves
/// it to the next time.
///
/// # Errors
/// When the command line is gone, or does not read.
pub async fn show_chain(dir: &Path, answer: &mut Answer<'_>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    for path in audit_files(dir) {
        let opened = File::open(&path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) => return refuse(answer, &error).await,
        };
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    let bytes = buffer.get(..read).unwrap_or_default().into();
                    answer.send(&Reply::Chunk { bytes }).await?;
                }
                Err(error) => return refuse(answer, &error).await,
            }
        }
    }
    answer.send(&Reply::End {}).await
}

async fn refuse(answer: &mut Answer<'_>, error: &io::Error) -> io::Result<()> {
    let why = format!("the audit chain cannot be read: {error}");
    answer.send(&Reply::Error { why, refused: false }).await
}

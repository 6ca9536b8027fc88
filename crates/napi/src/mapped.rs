//! Files as memory: mapped, so that only what is read is loaded, and the system may drop it again.

use bytes::Bytes;
use cocoop_core::model::weights::Part;
use cocoop_core::{Error, Result};
use memmap2::Mmap;
use std::fs::File;
use std::path::Path;

/// The file at `path`.
/// # Errors
/// [`Error::Io`].
pub fn map(path: &str) -> Result<Bytes> {
    let failed = |error: std::io::Error| Error::Io { path: path.into(), why: error.to_string() };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(Error::Io { path: path.into(), why: "a folder, expected a file".into() });
    }
    // SAFETY: the mapping is read-only and private to us. Whoever writes into or cuts the file while it is in use breaks
    // this promise, as with every program that maps files; ours are written beside and renamed, never changed.
    let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
    Ok(Bytes::from_owner(map))
}

/// A model's files, each with its name.
/// # Errors
/// [`Error::Io`].
pub fn parts(paths: &[String]) -> Result<Vec<Part>> {
    let part = |path: &String| {
        let name = Path::new(path)
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Part { name, bytes: map(path)? })
    };
    paths.iter().map(part).collect()
}

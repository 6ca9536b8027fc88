//! Files as memory: mapped, so that only what is read is loaded, and the system may drop it again. And files written
//! piece by piece, beside and then renamed.

use bytes::Bytes;
use cocoop_core::model::weights::Part;
use cocoop_core::{Error, Result};
use memmap2::Mmap;
use std::fs::{File, create_dir_all, remove_file, rename};
use std::io::{BufWriter, Write};
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

/// Takes the whole pages of a mapped file's bytes out of this process's memory; who reads them again gets them from the file.
fn forget(bytes: &[u8]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 1 << 16; // a multiple of every page size
        let first = bytes.as_ptr().addr().next_multiple_of(PAGE);
        let end = (bytes.as_ptr().addr() + bytes.len()) / PAGE * PAGE;
        if first < end {
            let start = bytes.as_ptr().with_addr(first).cast_mut().cast();
            // SAFETY: the pages lie inside a read-only mapping of a file that `bytes` borrows, so that nothing is lost: the next
            // read finds the file's bytes again. That it fails is no error: the pages stay.
            unsafe { libc::madvise(start, end - first, libc::MADV_DONTNEED) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
}

/// A model's files, each with its name.
/// # Errors
/// [`Error::Io`].
pub fn parts(paths: &[String]) -> Result<Vec<Part>> {
    let part = |path: &String| {
        let name = Path::new(path)
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Part { name, bytes: map(path)?, forget })
    };
    paths.iter().map(part).collect()
}

/// Writes the file `name` in `folder` by `pieces`, beside and then renamed: it is there whole or not at all. Its path.
/// # Errors
/// [`Error::Io`], or of `pieces`.
pub fn write(
    folder: &str,
    name: &str,
    pieces: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
) -> Result<String> {
    let path = Path::new(folder).join(name);
    let beside = Path::new(folder).join(format!("{name}.{}.part", std::process::id()));
    let failed = |error: std::io::Error| Error::Io {
        path: path.to_string_lossy().into_owned(),
        why: error.to_string(),
    };
    create_dir_all(folder).map_err(failed)?;
    let written = || {
        let mut file = BufWriter::new(File::create(&beside).map_err(failed)?);
        pieces(&mut |bytes| file.write_all(bytes).map_err(failed))?;
        file.into_inner()
            .map_err(|error| failed(error.into_error()))?
            .sync_all()
            .map_err(failed)?;
        rename(&beside, &path).map_err(failed)
    };
    match written() {
        Ok(()) => Ok(path.to_string_lossy().into_owned()),
        Err(error) => {
            let _ = remove_file(&beside); // the error that came first is the one to tell
            Err(error)
        }
    }
}

//! The directory of a zip file as `PyTorch` writes it: values are stored, not compressed, so that each entry is a slice
//! of the file (only TorchScript's code may be compressed, which nobody reads here). ZIP64 is read; encryption and several
//! disks are refused.
//! The directory's word is taken only after its entry was found where it says: names equal, inside the file, apart.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;

/// More than any model's archive has.
const MAX_ENTRIES: usize = 1 << 16;

pub(super) const END: &[u8] = b"PK\x05\x06";
const END_LEN: usize = 22;
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const LOCATOR_64_LEN: usize = 20;
pub(super) const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_LEN: usize = 46;
pub(super) const LOCAL: &[u8] = b"PK\x03\x04";
pub(super) const LOCAL_LEN: usize = 30;
/// A field of 16 or 32 bits with this value stands in the ZIP64 record.
const IN_64: (usize, usize) = (0xffff, 0xffff_ffff);
/// The extra field of the ZIP64 sizes.
const EXTRA_64: usize = 1;

/// Whether a file begins as a zip does.
pub fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(LOCAL) || bytes.starts_with(END)
}

/// The entries of `file` by name; nothing for those that are compressed.
/// # Errors
/// Says in words what is wrong with the archive.
pub fn entries(file: &Bytes) -> Result<BTreeMap<String, Option<Bytes>>, String> {
    let (mut at, count, end) = directory(file)?;
    let mut entries = BTreeMap::new();
    let mut taken: Vec<Range<usize>> = Vec::new();
    for _ in 0..count {
        let record = record(file, at, ENTRY, ENTRY_LEN)?;
        let lengths = [28, 30, 32].map(|field| u16_at(record, field));
        let tail = slice(file, at + ENTRY_LEN, lengths.iter().sum())?;
        at += ENTRY_LEN + tail.len();
        let (name, rest) = tail.split_at(lengths[0]);
        let name = str::from_utf8(name).map_err(|_| "an entry's name is not UTF-8")?;
        let [size, packed, offset] = sizes(record, &rest[..lengths[1]], name)?;
        if u16_at(record, 8) & 1 != 0 {
            return Err(format!("the entry {name} is encrypted"));
        }
        let stored = u16_at(record, 10) == 0;
        if stored && size != packed {
            return Err(format!("the entry {name} is stored and has two sizes"));
        }
        let local = self::record(file, offset, LOCAL, LOCAL_LEN)
            .map_err(|why| format!("the entry {name}: {why}"))?;
        let head = LOCAL_LEN + u16_at(local, 26) + u16_at(local, 28);
        if slice(file, offset + LOCAL_LEN, u16_at(local, 26))? != name.as_bytes() {
            return Err(format!("the entry {name} has another name where its data is"));
        }
        let start = offset + head;
        let stop = start.checked_add(packed).filter(|&stop| stop <= end);
        let stop = stop.ok_or_else(|| format!("the entry {name} reaches outside the file"))?;
        taken.push(offset..stop);
        let data = stored.then(|| file.slice(start..stop));
        if entries.insert(name.to_string(), data).is_some() {
            return Err(format!("the entry {name} is there twice"));
        }
    }
    taken.sort_by_key(|range| range.start);
    if taken.windows(2).any(|pair| pair[1].start < pair[0].end) {
        return Err("entries overlap".into());
    }
    Ok(entries)
}

/// Where the directory begins, how many entries it has, and where the entries' data must end.
fn directory(file: &[u8]) -> Result<(usize, usize, usize), String> {
    let last = file.len().checked_sub(END_LEN).ok_or("shorter than a zip's end")?;
    let is_end = |&at: &usize| {
        file[at..].starts_with(END) && u16_at(&file[at..], 20) == file.len() - at - END_LEN
    };
    // A comment of up to 65,535 bytes may follow.
    let end = (last.saturating_sub(0xffff)..=last).rev().find(is_end);
    let end = end.ok_or("no zip directory: the file is truncated or not a zip")?;
    let record_32 = &file[end..];
    let mut disks = [u16_at(record_32, 4), u16_at(record_32, 6)];
    let mut count = u16_at(record_32, 10);
    let mut size = u32_at(record_32, 12);
    let mut offset = u32_at(record_32, 16);
    let mut limit = end;
    if count == IN_64.0 || size == IN_64.1 || offset == IN_64.1 {
        let at = end.checked_sub(LOCATOR_64_LEN).ok_or("no ZIP64 locator")?;
        let at = u64_at(record(file, at, LOCATOR_64, LOCATOR_64_LEN)?, 8)?;
        let record_64 = record(file, at, END_64, 56)?;
        disks = [u32_at(record_64, 16), u32_at(record_64, 20)];
        count = u64_at(record_64, 32)?;
        size = u64_at(record_64, 40)?;
        offset = u64_at(record_64, 48)?;
        limit = at;
    }
    if disks != [0, 0] {
        return Err("one of several parts".into());
    }
    if count > MAX_ENTRIES {
        return Err(format!("{count} entries, the limit is {MAX_ENTRIES}"));
    }
    if offset.checked_add(size).is_none_or(|stop| stop > limit) {
        return Err("the directory reaches outside the file".into());
    }
    Ok((offset, count, offset))
}

/// Size, packed size and offset of a directory entry, from its extra fields where they need 64 bits.
fn sizes(record: &[u8], mut extra: &[u8], name: &str) -> Result<[usize; 3], String> {
    let bad = || format!("the entry {name} has a broken ZIP64 field");
    let mut values = [24, 20, 42].map(|field| u32_at(record, field));
    if !values.contains(&IN_64.1) {
        return Ok(values);
    }
    while extra.len() >= 4 {
        let (id, len) = (u16_at(extra, 0), u16_at(extra, 2));
        let field = extra.get(4..4 + len).ok_or_else(bad)?;
        if id == EXTRA_64 {
            let mut words = field.chunks_exact(8);
            for value in values.iter_mut().filter(|value| **value == IN_64.1) {
                *value = u64_at(words.next().ok_or_else(bad)?, 0)?;
            }
            return Ok(values);
        }
        extra = &extra[4 + len..];
    }
    Err(bad())
}

/// The record of `len` bytes at `at`, which must begin with `signature`.
fn record<'a>(file: &'a [u8], at: usize, signature: &[u8], len: usize) -> Result<&'a [u8], String> {
    let record = slice(file, at, len)?;
    if record.starts_with(signature) { Ok(record) } else { Err("not where the zip says".into()) }
}

fn slice(file: &[u8], at: usize, len: usize) -> Result<&[u8], String> {
    let end = at.checked_add(len);
    end.and_then(|end| file.get(at..end)).ok_or_else(|| "outside the file".into())
}

fn u16_at(record: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([record[at], record[at + 1]]))
}

fn u32_at(record: &[u8], at: usize) -> usize {
    u16_at(record, at) | u16_at(record, at + 2) << 16
}

fn u64_at(record: &[u8], at: usize) -> Result<usize, String> {
    let (bytes, _) = record[at..].split_first_chunk().ok_or("a record is too short")?;
    usize::try_from(u64::from_le_bytes(*bytes)).map_err(|_| "a size that no file has".into())
}

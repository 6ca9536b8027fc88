//! A training checkpoint as `torch.save` writes it: a zip of stored entries, one of them the pickle. `torch.load` reads it
//! with `weights_only=True`, as it names nothing but tensors and containers. The bytes are a function of the content.

use super::zip::{END, ENTRY, LOCAL, LOCAL_LEN};
use crate::{Error, Result};

/// Where PyTorch begins the values of an entry, so that they can be mapped.
const ALIGN: usize = 64;
/// The folder of all entries, as in an archive whose name PyTorch was not told.
const ROOT: &str = "archive";

/// A tensor of f32 values, row-major.
pub struct State<'a> {
    /// By its name in the `state_dict`.
    pub name: &'a str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: &'a [f32],
}

/// `{state_dict, epoch, optimizer: None, scheduler: None, val_result: None}`.
/// # Errors
/// [`Error::Checkpoint`] if it would be longer than a zip's 4 GiB.
pub fn checkpoint(states: &[State<'_>], epoch: u32) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.add("data.pkl", &pickle(states, epoch))?;
    archive.add("byteorder", b"little")?;
    for (key, state) in states.iter().enumerate() {
        let values: Vec<u8> = state.values.iter().flat_map(|x| x.to_le_bytes()).collect();
        archive.add(&format!("data/{key}"), &values)?;
    }
    archive.add("version", b"3\n")?;
    Ok(archive.close())
}

fn pickle(states: &[State<'_>], epoch: u32) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec();
    text(&mut out, "state_dict");
    out.extend(b"ccollections\nOrderedDict\n)R(");
    for (key, State { name, shape, values }) in states.iter().enumerate() {
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(b"ctorch\nFloatStorage\n");
        text(&mut out, &key.to_string());
        text(&mut out, "cpu");
        int(&mut out, values.len());
        out.extend(b"tQ");
        int(&mut out, 0); // the offset
        let strides: Vec<usize> =
            (1..=shape.len()).map(|at| shape[at..].iter().product()).collect();
        for lengths in [shape, &strides] {
            out.push(b'(');
            lengths.iter().for_each(|&length| int(&mut out, length));
            out.push(b't');
        }
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR"); // no gradient, no hooks
    }
    out.push(b'u');
    text(&mut out, "epoch");
    int(&mut out, epoch as usize);
    for nothing in ["optimizer", "scheduler", "val_result"] {
        text(&mut out, nothing);
        out.push(b'N');
    }
    out.extend(b"u.");
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A number below 2³¹: a zip holds no more values.
fn int(out: &mut Vec<u8>, value: usize) {
    out.push(b'J');
    out.extend((value as i32).to_le_bytes());
}

/// A zip under way.
#[derive(Default)]
struct Archive {
    file: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

impl Archive {
    fn add(&mut self, name: &str, data: &[u8]) -> Result<()> {
        let (name, offset) = (format!("{ROOT}/{name}"), self.file.len());
        let room = self.directory.len() + 1024;
        let too_long = || Error::Checkpoint { why: "longer than the 4 GiB of a zip".into() };
        u32::try_from(offset + data.len() + room).map_err(|_| too_long())?;
        let sizes =
            [crc32(data), data.len() as u32, data.len() as u32].map(u32::to_le_bytes).concat();
        // An extra field of zeros, which PyTorch calls "FB", moves the data to its place.
        let filled = offset + LOCAL_LEN + name.len() + 4;
        let pad = filled.next_multiple_of(ALIGN) - filled;
        let fixed = [0; 10]; // versions, flags, stored, and no time: that would be another file each second
        self.file.extend([LOCAL, &fixed, &sizes].concat());
        self.file.extend((name.len() as u16).to_le_bytes());
        self.file.extend((pad as u16 + 4).to_le_bytes());
        self.file.extend(name.as_bytes());
        self.file.extend(b"FB");
        self.file.extend((pad as u16).to_le_bytes());
        self.file.resize(self.file.len() + pad, b'Z');
        self.file.extend(data);
        self.directory.extend([ENTRY, &[0; 2], &fixed, &sizes].concat());
        self.directory.extend((name.len() as u16).to_le_bytes());
        self.directory.extend([0; 12]); // no extra field, no comment, the first disk, no attributes
        self.directory.extend((offset as u32).to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.count += 1;
        Ok(())
    }

    fn close(mut self) -> Vec<u8> {
        let (start, len) = (self.file.len() as u32, self.directory.len() as u32);
        self.file.append(&mut self.directory);
        self.file.extend([END, &[0; 4]].concat());
        self.file.extend([self.count.to_le_bytes(), self.count.to_le_bytes()].concat());
        self.file.extend([len.to_le_bytes(), start.to_le_bytes()].concat());
        self.file.extend([0; 2]);
        self.file
    }
}

/// The checksum of a zip's entries: CRC-32 of polynomial 0x04c11db7, bits reflected.
fn crc32(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let (mut table, mut byte) = ([0; 256], 0);
        while byte < 256 {
            let (mut crc, mut bit) = (byte as u32, 0);
            while bit < 8 {
                crc = (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::torch;
    use bytes::Bytes;

    #[test]
    fn the_checksum_is_that_of_zip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926); // the check value of the polynomial's catalogue
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn what_is_written_is_read_and_lies_where_it_can_be_mapped() {
        let values: Vec<f32> = (0..24).map(|i| i as f32 / 8.0 - 1.0).collect();
        let states = [
            State { name: "ctx", shape: vec![2, 3, 4], values: &values },
            State { name: "meta_net.linear1.bias", shape: vec![5], values: &values[..5] },
        ];
        let file = Bytes::from(checkpoint(&states, 50).unwrap());
        assert_eq!(file, checkpoint(&states, 50).unwrap());
        let read = torch::checkpoint(&file).unwrap();
        assert_eq!(read.epoch, Some(50));
        assert!(!read.script && read.tensors.len() == 2);
        for State { name, shape, values } in states {
            let tensor = &read.tensors[name];
            assert_eq!(tensor.shape, shape);
            assert_eq!(tensor.to_f32(name).unwrap(), values);
        }
        for (name, data) in torch::zip::entries(&file).unwrap() {
            let at = data.unwrap().as_ptr() as usize - file.as_ptr() as usize;
            assert_eq!(at % ALIGN, 0, "{name}");
        }
    }
}

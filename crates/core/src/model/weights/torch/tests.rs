//! Files as they should be (`fixtures/torch`, made by `scripts/make-torch-fixtures.py`) and as an enemy would make them.

use super::*;
use serde_json::Value;
use std::path::Path;

/// `COCOOP_TORCH_DIR` names another folder with `expected.json` and its files, such as those that torch itself wrote.
fn fixture(name: &str) -> Vec<u8> {
    let folder = std::env::var("COCOOP_TORCH_DIR");
    let folder = folder
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/torch").into());
    std::fs::read(Path::new(&folder).join(name)).unwrap()
}

/// A stored zip without ZIP64.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let offset = file.len() as u32;
        let sizes = [0, data.len() as u32, data.len() as u32].map(u32::to_le_bytes).concat();
        let lengths = [name.len() as u16, 0].map(u16::to_le_bytes).concat();
        file.extend(
            [&b"PK\x03\x04"[..], &[0; 10], &sizes, &lengths, name.as_bytes(), data].concat(),
        );
        let at = [&[0; 10][..], &offset.to_le_bytes()].concat();
        directory.extend(
            [&b"PK\x01\x02"[..], &[0; 12], &sizes, &lengths, &at, name.as_bytes()].concat(),
        );
    }
    let count = (entries.len() as u16).to_le_bytes();
    let place = [directory.len() as u32, file.len() as u32].map(u32::to_le_bytes).concat();
    [file, directory, b"PK\x05\x06\0\0\0\0".to_vec(), count.into(), count.into(), place, vec![0; 2]]
        .concat()
}

fn open(pickle: &[u8]) -> Result<Torch> {
    read(&around(pickle).into())
}

fn around(pickle: &[u8]) -> Vec<u8> {
    zip(&[("a/data.pkl", pickle), ("a/data/0", &[0; 16])])
}

/// Why `file` is refused.
fn why(file: Vec<u8>) -> String {
    match read(&file.into()) {
        Ok(_) => panic!("not refused"),
        Err(error) => error.to_string(),
    }
}

/// A pickle of {"x": a tensor of `storage` seen with `shape` and `strides`}.
fn tensor(numel: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let ints = |values: &[i32]| {
        let items: Vec<u8> =
            values.iter().flat_map(|value| [&b"J"[..], &value.to_le_bytes()].concat()).collect();
        [b"(", &items[..], b"t"].concat()
    };
    let text =
        |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    [
        b"\x80\x02}".to_vec(),
        text("x"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        [&b"J"[..], &numel.to_le_bytes()].concat(),
        b"tQK\0".to_vec(),
        ints(shape),
        ints(strides),
        b"\x89}tRs.".to_vec(),
    ]
    .concat()
}

#[test]
fn fixtures_hold_what_is_expected() {
    let expected: Value = serde_json::from_slice(&fixture("expected.json")).unwrap();
    for (file, expected) in expected.as_object().unwrap() {
        let torch = read(&fixture(file).into()).unwrap();
        assert_eq!(torch.script, file == "script.pt");
        let expected = expected.as_object().unwrap();
        assert!(
            torch.tensors.keys().eq(expected.keys().collect::<std::collections::BTreeSet<_>>())
        );
        for (name, tensor) in &torch.tensors {
            let expected = &expected[name];
            assert_eq!(format!("{:?}", tensor.dtype), expected["dtype"], "{file} {name}");
            let shape: Vec<usize> = serde_json::from_value(expected["shape"].clone()).unwrap();
            assert_eq!(tensor.shape, shape, "{file} {name}");
            let values: Vec<f32> = serde_json::from_value(expected["values"].clone()).unwrap();
            match tensor.to_f32(name) {
                Ok(got) => assert_eq!(got, values, "{file} {name}"),
                Err(error) => {
                    assert!(matches!(error, Error::Dtype { .. }));
                    assert!(expected["dtype"] == "I64" || expected["dtype"] == "F64");
                }
            }
        }
    }
}

#[test]
fn files_cut_short_are_refused_at_every_length() {
    for name in ["state_dict.pt", "script.pt"] {
        let file = Bytes::from(fixture(name));
        for length in 0..file.len() {
            assert!(read(&file.slice(..length)).is_err(), "{name} {length}");
        }
    }
    let pickle = tensor(4, &[2, 2], &[2, 1]);
    assert!(open(&pickle).is_ok());
    for length in 0..pickle.len() {
        assert!(open(&pickle[..length]).is_err(), "{length}");
    }
}

#[test]
fn no_byte_changed_makes_it_panic() {
    let file = fixture("checkpoint.pt");
    for at in 0..file.len() {
        for value in [0, 1, 0x7f, 0xff, file[at] ^ 0x10] {
            let mut file = file.clone();
            file[at] = value;
            if let Ok(torch) = read(&file.into()) {
                for (name, tensor) in torch.tensors {
                    let _ = tensor.to_f32(&name);
                }
            }
        }
    }
}

#[test]
fn code_is_never_called_and_is_named() {
    for (pickle, name) in [
        (&b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R."[..], "os.system"),
        (b"\x80\x02cbuiltins\neval\nX\x01\0\0\x001\x85R.", "builtins.eval"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.", "posix.system"),
        (b"\x80\x02ctorch\nload\n)R.", "torch.load"),
        (b"\x80\x02c__torchx__\nA\n)\x81.", "__torchx__.A"),
    ] {
        let got = why(around(pickle));
        assert!(got.contains(&format!("the name {name} is not allowed")), "{got}");
    }
}

#[test]
fn pickles_that_lie_are_refused() {
    for (pickle, expected) in [
        (&b"\x80\x02."[..], "too few values"),
        (b"\x80\x01}.", "protocol 1"),
        (b"\x80\x02i", "opcode 0x69 is not allowed"),
        (b"\x80\x02].", "neither a state_dict nor a module"),
        (b"\x80\x02}.", "no tensors"),
        (b"\x80\x02(0.", "too few values"),
        (b"\x80\x02]t.", "no mark"),
        (b"\x80\x02h\x05.", "no value 5 in the memo"),
        (b"\x80\x02K\x01K\x02a.", "no list"),
        (b"\x80\x02}(K\x01u.", "no dictionary"),
        (b"\x80\x02}K\x01R.", "a call of what is no name"),
        (b"\x80\x02c__torch__\nA\n)R.", "a call that is not allowed"),
        (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "a call that is not allowed"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\0K\0))tR.", "without a storage"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "a call that is not allowed"),
        (b"\x80\x02K\x05Q.", "expected a tuple"),
        (b"\x80\x02)Q.", "no storage"),
        (b"\x80\x02]}b.", "a state for what has none"),
        (b"\x80\x02\x8a\x09", "an integer of 9 bytes"),
        (b"\x80\x02X\xff\xff\xff\xffx", "ends too early"),
        (b"\x80\x02X\x01\0\0\0\xff.", "not UTF-8"),
        (b"\x80\x02c__torch__\nA\n)\x81]b.", "whose state is no dictionary"),
        // A module that is its own part.
        (b"\x80\x02c__torch__\nA\n)\x81q\0}X\x01\0\0\0ah\0sb.", "modules that hold each other"),
    ] {
        let got = why(around(pickle));
        assert!(got.contains(expected), "{got}, expected {expected}");
    }
}

#[test]
fn views_stay_inside_their_storage() {
    assert!(open(&tensor(4, &[2, 2], &[2, 1])).is_ok());
    for (numel, shape, strides) in [
        (5, &[2, 2][..], &[2, 1][..]), // longer than its entry
        (i32::MAX, &[2, 2], &[2, 1]),
        (-1, &[2, 2], &[2, 1]),
        (3, &[2, 2], &[2, 1]), // shorter than its shape
        (4, &[2, -2], &[2, 1]),
        (4, &[i32::MAX, i32::MAX, i32::MAX], &[1, 1, 1]),
        (4, &[i32::MAX], &[0]),
        (4, &[1; 9], &[1; 9]),
    ] {
        assert!(open(&tensor(numel, shape, strides)).is_err(), "{numel} {shape:?} {strides:?}");
    }
    let elsewhere = zip(&[("a/data.pkl", &tensor(4, &[4], &[1])[..]), ("a/data/1", &[0; 16])]);
    assert!(why(elsewhere).contains("there is no entry data/0"));
}

#[test]
fn bombs_are_bounded() {
    // A million lists within each other; a memo doubled thirty times; more steps than any model has.
    let deep =
        [b"\x80\x02".to_vec(), vec![b']'; 500_000], vec![b'a'; 499_999], b".".to_vec()].concat();
    assert!(why(around(&deep)).contains("neither"));
    let mut doubled = b"\x80\x02]q\0".to_vec();
    for _ in 0..30 {
        doubled.extend(b"0](h\0h\0eq\0");
    }
    doubled.push(b'.');
    assert!(why(around(&doubled)).contains("neither"));
    // Each module holds the one before twice: 2^40 paths.
    let mut modules = b"\x80\x02c__torch__\nA\n)\x81q\0".to_vec();
    for _ in 0..40 {
        modules.extend(b"0c__torch__\nA\n)\x81q\x01}(X\x01\0\0\0ah\0X\x01\0\0\0bh\0ubh\x01q\0");
    }
    modules.push(b'.');
    assert!(why(around(&modules)).contains("modules that hold each other"));
    let long = [&b"\x80\x02"[..], &vec![b'N'; 2 << 20]].concat();
    assert!(why(around(&long)).contains("steps"));
    let huge = vec![b'N'; (16 << 20) + 1];
    assert!(why(around(&huge)).contains("the limit is"));
}

#[test]
fn zips_that_lie_are_refused() {
    let pickle = tensor(4, &[4], &[1]);
    let entries = [("a/data.pkl", &pickle[..]), ("a/data/0", &[0; 16])];
    let good = zip(&entries);
    assert!(read(&good.clone().into()).is_ok());
    let end = good.len() - 22;
    let directory = u32::from_le_bytes(*good[end + 16..].first_chunk().unwrap()) as usize;
    let second = directory + 46 + "a/data.pkl".len();
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        why(file)
    };
    for (at, bytes, expected) in [
        (directory + 8, &[1][..], "encrypted"),
        (directory + 10, &[8], "compressed"),
        (directory + 20, &[1], "two sizes"),
        (directory + 42, &[9], "not where the zip says"),
        (directory + 42, &[0xff, 0xff, 0xff, 0x7f], "outside the file"),
        (directory + 46, b"b", "another name"),
        (second + 20, &[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0], "outside the file"),
        (second + 20, &[0xff, 0xff, 0xff, 0xff], "broken ZIP64 field"),
        (end + 4, &[1], "one of several parts"),
        (end + 10, &[3], "outside the file"),
        (end + 10, &[0xff, 0xff], "where the zip says"),
        (end + 16, &[0xf0, 0xff, 0xff, 0x7f], "outside the file"),
    ] {
        let got = changed(at, bytes);
        assert!(got.contains(expected), "{got}, expected {expected}");
    }
    // The second entry's data is the first's header and more.
    let mut overlapping = good.clone();
    let first = good[second + 42..].first_chunk::<4>().copied().unwrap();
    overlapping[directory + 20..directory + 28].copy_from_slice(&[first, first].concat());
    assert!(why(overlapping).contains("overlap"));
    assert!(why(zip(&[entries[0], entries[0]])).contains("twice"));
    assert!(why(zip(&[("a/b/data.pkl", &pickle)])).contains("no data.pkl"));
    assert!(why(zip(&[entries[0], entries[1], ("a/byteorder", b"big")])).contains("big-endian"));
    assert!(why([LEGACY, b"rest"].concat()).contains("before 1.6"));
}

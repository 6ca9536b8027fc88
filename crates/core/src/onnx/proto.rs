//! The few protobuf messages of ONNX that a graph needs (onnx.proto3 of ONNX 1.12, opset 17), and nothing that reads them.
//! A message is its bytes; a field is appended as its number, its wire type and its value.

/// A message under construction.
#[derive(Clone, Debug, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    /// A whole number.
    #[must_use]
    pub fn int(mut self, field: u32, value: i64) -> Self {
        self.key(field, 0);
        varint(&mut self.0, value as u64); // two's complement, as protobuf's int64 and enum
        self
    }

    /// A 32-bit float.
    #[must_use]
    pub fn float(mut self, field: u32, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Text, bytes or a message: what has a length.
    #[must_use]
    pub fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Self {
        self = self.open(field, value.as_ref().len() as u64);
        self.0.extend_from_slice(value.as_ref());
        self
    }

    /// The head of a field of `len` bytes that are written elsewhere, after this.
    #[must_use]
    pub fn open(mut self, field: u32, len: u64) -> Self {
        self.key(field, 2);
        varint(&mut self.0, len);
        self
    }

    fn key(&mut self, field: u32, wire: u32) {
        varint(&mut self.0, u64::from(field << 3 | wire));
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// float
    F32 = 1,
    /// int32
    I32 = 6,
    /// int64
    I64 = 7,
    /// float16
    F16 = 10,
}

impl Type {
    /// Bytes of one value.
    pub fn size(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::I64 => 8,
        }
    }
}

/// One length of a value's shape.
#[derive(Clone, Copy, Debug)]
pub enum Dim {
    /// Any length, by a name.
    Free(&'static str),
    /// This length.
    Fixed(usize),
}

/// `NodeProto.attribute`.
pub enum Attribute<'a> {
    /// INT
    Int(i64),
    /// FLOAT
    Float(f32),
    /// INTS
    Ints(&'a [usize]),
}

/// `NodeProto`.
pub fn node(
    op: &str,
    name: &str,
    inputs: &[&str],
    outputs: &[String],
    attributes: &[(&str, Attribute)],
) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, input| node.bytes(1, input));
    let node = outputs.iter().fold(node, |node, output| node.bytes(2, output));
    let node = node.bytes(3, name).bytes(4, op);
    attributes.iter().fold(node, |node, (name, value)| {
        let attribute = Message::default().bytes(1, name);
        node.bytes(
            5,
            match value {
                Attribute::Float(x) => attribute.float(2, *x).int(20, 1),
                Attribute::Int(x) => attribute.int(3, *x).int(20, 2),
                Attribute::Ints(xs) => {
                    xs.iter().fold(attribute, |a, &x| a.int(8, x as i64)).int(20, 7)
                }
            },
        )
    })
}

/// `ValueInfoProto`: an input or an output of a graph.
pub fn value(name: &str, dtype: Type, shape: &[Dim]) -> Message {
    let shape = shape.iter().fold(Message::default(), |shape, dim| {
        shape.bytes(
            1,
            match dim {
                Dim::Fixed(length) => Message::default().int(1, *length as i64),
                Dim::Free(name) => Message::default().bytes(2, name),
            },
        )
    });
    let tensor = Message::default().int(1, dtype as i64).bytes(2, shape);
    Message::default().bytes(1, name).bytes(2, Message::default().bytes(1, tensor))
}

/// `TensorProto` without its values.
pub fn tensor(name: &str, dtype: Type, dims: &[usize]) -> Message {
    let tensor = dims.iter().fold(Message::default(), |tensor, &dim| tensor.int(1, dim as i64));
    tensor.int(2, dtype as i64).bytes(8, name)
}

/// Completes a [`tensor`] whose `len` bytes stand in the file `location` from `offset` on.
pub fn external(tensor: Message, location: &str, offset: u64, len: u64) -> Message {
    [
        ("location", location.to_string()),
        ("offset", offset.to_string()),
        ("length", len.to_string()),
    ]
    .into_iter()
    .fold(tensor, |tensor, (key, value)| tensor.bytes(13, entry(key, &value)))
    .int(14, 1)
}

/// `StringStringEntryProto`.
pub fn entry(key: &str, value: &str) -> Message {
    Message::default().bytes(1, key).bytes(2, value)
}

#[cfg(test)]
pub mod read {
    //! Reads messages back, for tests: a message is its fields, in order.

    /// A field's value.
    #[derive(Clone, Debug, PartialEq)]
    pub enum Value {
        Int(u64),
        Float(f32),
        Bytes(Vec<u8>),
    }

    /// The fields of a message, or nothing if it is broken.
    pub fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Value)>> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            let value = match key & 7 {
                0 => Value::Int(varint(&mut bytes)?),
                5 => Value::Float(f32::from_le_bytes(take(&mut bytes, 4)?.try_into().ok()?)),
                2 => {
                    let len = varint(&mut bytes)? as usize;
                    Value::Bytes(take(&mut bytes, len)?.to_vec())
                }
                _ => return None,
            };
            fields.push((key >> 3, value));
        }
        Some(fields)
    }

    /// The bytes of every field `number`.
    pub fn all(message: &[u8], number: u64) -> Vec<Vec<u8>> {
        let fields = fields(message).expect("a whole message");
        fields
            .into_iter()
            .filter_map(|field| match field {
                (n, Value::Bytes(bytes)) if n == number => Some(bytes),
                _ => None,
            })
            .collect()
    }

    /// The whole numbers of every field `number`.
    pub fn ints(message: &[u8], number: u64) -> Vec<u64> {
        let fields = fields(message).expect("a whole message");
        fields
            .into_iter()
            .filter_map(|field| match field {
                (n, Value::Int(value)) if n == number => Some(value),
                _ => None,
            })
            .collect()
    }

    /// The texts of every field `number`.
    pub fn texts(message: &[u8], number: u64) -> Vec<String> {
        all(message, number).into_iter().map(|text| String::from_utf8(text).unwrap()).collect()
    }

    fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
        let (head, rest) = bytes.split_at_checked(len)?;
        *bytes = rest;
        Some(head)
    }

    fn varint(bytes: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = take(bytes, 1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use read::{Value, fields};

    #[test]
    fn numbers_of_every_size_are_read_back() {
        for value in [0, 1, 127, 128, 300, i64::from(u32::MAX), i64::MAX, -1, i64::MIN] {
            let read = fields(&Message::default().int(14, value).0);
            assert_eq!(read, Some(vec![(14, Value::Int(value as u64))]));
        }
        let message = Message::default().float(2, -0.5).bytes(4, "Conv");
        let expected = vec![(2, Value::Float(-0.5)), (4, Value::Bytes(b"Conv".to_vec()))];
        assert_eq!(fields(&message.0), Some(expected));
        assert_eq!(fields(&message.0[..message.0.len() - 1]), None);
    }

    #[test]
    fn a_node_is_the_bytes_that_onnx_defines() {
        // onnx.helper.make_node("Gather", ["x", "i"], ["y"], axis=1), its name "n".
        let made = node("Gather", "n", &["x", "i"], &["y".into()], &[("axis", Attribute::Int(1))]);
        let expected = b"\x0a\x01x\x0a\x01i\x12\x01y\x1a\x01n\x22\x06Gather\x2a\x0b\x0a\x04axis\x18\x01\xa0\x01\x02";
        assert_eq!(made.0, expected);
    }
}

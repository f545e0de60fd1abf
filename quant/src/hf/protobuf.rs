//! The part of the protocol buffers wire format that sentencepiece models use.
//!
//! <https://protobuf.dev/programming-guides/encoding/>. Visits fields in order without copying and
//! checks every length against the message; groups (deprecated) are refused.

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

impl Value<'_> {
    pub(super) fn as_bool(self) -> Option<bool> {
        matches!(self, Value::Varint(_)).then(|| self != Value::Varint(0))
    }

    pub(super) fn as_f32(self) -> Option<f32> {
        match self {
            Value::Fixed32(bytes) => Some(f32::from_le_bytes(bytes)),
            _ => None,
        }
    }
}

impl<'a> Value<'a> {
    pub(super) fn as_bytes(self) -> Option<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Visits the fields of a message. An error names the byte offset within the message.
pub(super) fn fields<'a>(
    message: &'a [u8],
    mut visit: impl FnMut(u64, Value<'a>) -> Result<(), String>,
) -> Result<(), String> {
    let mut rest = message;
    while !rest.is_empty() {
        let at = message.len() - rest.len();
        let (number, value) = field(&mut rest).ok_or_else(|| format!("broken protobuf field at byte {at}"))?;
        visit(number, value)?;
    }
    Ok(())
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Value::Varint(varint(rest)?),
        1 => {
            take(rest, 8)?;
            Value::Fixed64
        }
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Value::Bytes(take(rest, length)?)
        }
        5 => Value::Fixed32(take(rest, 4)?.try_into().ok()?),
        _ => return None,
    };
    Some((key >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for index in 0..10 {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(message: &[u8]) -> Result<Vec<(u64, Value<'_>)>, String> {
        let mut found = Vec::new();
        fields(message, |number, value| {
            found.push((number, value));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn fields_of_every_wire_type_are_read() {
        let message = [0x08, 0x96, 0x01, 0x12, 0x01, b'x', 0x1d, 0, 0, 0x80, 0x3f, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let found = collect(&message).unwrap();
        assert_eq!(found[0], (1, Value::Varint(150)));
        assert_eq!(found[1], (2, Value::Bytes(b"x")));
        assert_eq!(found[2].1.as_f32(), Some(1.0));
        assert_eq!(found[3], (4, Value::Fixed64));
    }

    #[test]
    fn truncated_and_overlong_fields_are_refused() {
        for message in
            [&[0x08][..], &[0x12, 5, 1], &[0x1d, 0], &[0x0b], &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]]
        {
            assert!(collect(message).is_err(), "{message:?}");
        }
        assert!(collect(&[0x12, 255, 255, 255, 255, 255, 255, 255, 255, 127]).is_err());
    }
}

//! `TensorBoard` event files: checksummed records of protocol buffers.
//!
//! A record (`TFRecord`) is the length as `u64`, its checksum, the bytes, and their checksum. A checksum is CRC-32C, rotated
//! and offset so that data that contain checksums can be checksummed in turn. The message is `tensorflow.Event` with
//! `wall_time = 1`, `step = 2`, `file_version = 3` and `summary = 5`, whose values have `tag = 1` and `simple_value = 2`.
//!
//! ```
//! use mmprm::train::log::tensorboard::Events;
//! let mut file = Vec::new();
//! Events::start(&mut file).unwrap().scalars(1, &[("loss", 0.5)]).unwrap();
//! assert!(file.windows(13).any(|bytes| bytes == b"brain.Event:2"));
//! assert!(file.windows(4).any(|bytes| bytes == b"loss"));
//! ```

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Polynomial of CRC-32C (Castagnoli), bit-reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Offset that `TFRecord` adds to a rotated checksum.
const MASK: u32 = 0xa282_ead8;

/// An open event file.
#[derive(Debug)]
pub struct Events<W> {
    file: W,
}

impl<W: Write> Events<W> {
    /// Starts a file.
    ///
    /// # Errors
    /// Any error of the writer.
    pub fn start(file: W) -> io::Result<Self> {
        let mut events = Self { file };
        let mut event = time();
        put_bytes(&mut event, 3, b"brain.Event:2");
        events.record(&event)?;
        Ok(events)
    }

    /// Writes named values of a step as one event.
    ///
    /// # Errors
    /// Any error of the writer.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f32)]) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut scalar = Vec::new();
            put_bytes(&mut scalar, 1, tag.as_bytes());
            put_key(&mut scalar, 2, 5);
            scalar.extend(value.to_le_bytes());
            put_bytes(&mut summary, 1, &scalar);
        }
        let mut event = time();
        put_key(&mut event, 2, 0);
        put_varint(&mut event, step);
        put_bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    fn record(&mut self, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let parts = [length.as_slice(), &masked(&length), data, &masked(data)];
        self.file.write_all(&parts.concat())?;
        self.file.flush()
    }
}

/// An event with only its time.
fn time() -> Vec<u8> {
    let mut event = Vec::new();
    put_key(&mut event, 1, 1);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    event.extend(time.as_secs_f64().to_le_bytes());
    event
}

fn put_key(message: &mut Vec<u8>, field: u64, wire: u64) {
    put_varint(message, field << 3 | wire);
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn put_bytes(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(message, field, 2);
    put_varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn masked(data: &[u8]) -> [u8; 4] {
    crc32c(data).rotate_right(15).wrapping_add(MASK).to_le_bytes()
}

fn crc32c(data: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
    !data.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of a file; checks every checksum and length.
    fn records(mut file: &[u8]) -> Vec<&[u8]> {
        let mut records = Vec::new();
        while !file.is_empty() {
            let (head, rest) = file.split_at(12);
            let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
            assert_eq!(head[8..], masked(&head[..8]));
            let (data, rest) = rest.split_at(length);
            assert_eq!(rest[..4], masked(data));
            records.push(data);
            file = &rest[4..];
        }
        records
    }

    /// The fields of a message: number and value bytes.
    fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn varint(message: &mut &[u8]) -> u64 {
            let mut value = 0;
            for shift in (0..).step_by(7) {
                let byte = message[0];
                *message = &message[1..];
                value |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            value
        }
        let mut found = Vec::new();
        while !message.is_empty() {
            let key = varint(&mut message);
            let value = match key & 7 {
                0 => varint(&mut message).to_le_bytes().to_vec(),
                wire => {
                    let length = match wire {
                        1 => 8,
                        5 => 4,
                        _ => varint(&mut message) as usize,
                    };
                    let (value, rest) = message.split_at(length);
                    message = rest;
                    value.to_vec()
                }
            };
            found.push((key >> 3, value));
        }
        found
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of the catalogue of CRC algorithms, and 32 zeros from RFC 3720.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn events_are_read_back_with_step_names_and_values() {
        let mut file = Vec::new();
        let mut events = Events::start(&mut file).unwrap();
        events.scalars(300, &[("loss", 0.25), ("lr", 1e-3)]).unwrap();
        let records = records(&file);
        assert_eq!(records.len(), 2);
        assert_eq!(fields(records[0])[1], (3, b"brain.Event:2".to_vec()));
        let event = fields(records[1]);
        assert_eq!(event[0].0, 1);
        assert!(f64::from_le_bytes(event[0].1.as_slice().try_into().unwrap()) > 1.6e9);
        assert_eq!(event[1], (2, 300_u64.to_le_bytes().to_vec()));
        let values: Vec<_> = fields(&event[2].1).iter().map(|(_, scalar)| fields(scalar)).collect();
        assert_eq!(values[0], [(1, b"loss".to_vec()), (2, 0.25_f32.to_le_bytes().to_vec())]);
        assert_eq!(values[1][0], (1, b"lr".to_vec()));
    }
}

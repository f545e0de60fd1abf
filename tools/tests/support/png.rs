//! PNG files written by hand: tiny ones, and ones whose header states a false size.

/// A grey PNG whose header states `width`×`height`, with the pixels of `rows` rows.
pub fn grey(width: u32, height: u32, rows: u32) -> Vec<u8> {
    let header = [width.to_be_bytes().as_slice(), &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let row = [[0].as_slice(), &vec![128; width as usize]].concat();
    let pixels = row.repeat(rows as usize);
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(*b"IHDR", &header), chunk(*b"IDAT", &stored(&pixels)), chunk(*b"IEND", b"")]
        .concat()
}

fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [kind.as_slice(), data].concat();
    let crc = !body.iter().fold(u32::MAX, |crc, &byte| {
        let step = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        (0..8).fold(crc ^ u32::from(byte), step)
    });
    [(data.len() as u32).to_be_bytes().as_slice(), &body, &crc.to_be_bytes()].concat()
}

/// A zlib stream of one uncompressed block.
fn stored(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("one block holds the data");
    let (low, high) = data.iter().fold((1_u32, 0_u32), |(low, high), &byte| {
        let low = (low + u32::from(byte)) % 65521;
        (low, (high + low) % 65521)
    });
    let checksum = (high << 16) | low;
    let lengths = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    [[0x78, 0x01, 0x01].as_slice(), &lengths, data, &checksum.to_be_bytes()].concat()
}

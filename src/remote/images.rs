//! Images as data URLs.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::image::ImageError;
use crate::util::io;

/// Maximum size in bytes of an image that is sent.
const MAX_BYTES: u64 = 32 << 20;

/// Encodes the file at `path` as a data URL. The media type follows from its first bytes; without a
/// known signature it is MM-PRM's `image`.
pub(crate) fn data_url(path: &Path) -> Result<String, ImageError> {
    let bytes = io::read(path, MAX_BYTES)?;
    Ok(format!("data:{};base64,{}", media_type(&bytes), STANDARD.encode(&bytes)))
}

fn media_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'B', b'M', ..] => "image/bmp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => "image",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_follows_from_the_first_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("misnamed.txt");
        for (bytes, expected) in [
            (&b"\x89PNG\r\n\x1a\n"[..], "data:image/png;base64,iVBORw0KGgo="),
            (b"\xff\xd8\xff\xe0", "data:image/jpeg;base64,/9j/4A=="),
            (b"RIFF\0\0\0\0WEBP", "data:image/webp;base64,UklGRgAAAABXRUJQ"),
            (b"?", "data:image;base64,Pw=="),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(data_url(&path).unwrap(), expected);
        }
    }

    #[test]
    fn images_that_are_missing_or_too_large_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.png");
        assert!(data_url(&path).unwrap_err().to_string().contains("p.png: "));
        std::fs::File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        let error = data_url(&path).unwrap_err().to_string();
        assert!(error.contains("p.png: the file has more than 33554432 bytes"), "{error}");
    }
}

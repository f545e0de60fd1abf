//! Images as data URLs.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The largest image that is sent, in bytes.
const MOST_BYTES: u64 = 32 << 20;

/// The file at `path` as a data URL. Its media type is told by its first bytes; where they say nothing the reference's
/// `image` has to do.
pub(crate) fn data_url(path: &Path) -> Result<String, String> {
    let failed = |cause: String| format!("{}: {cause}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(failed(format!("expected an image of at most {MOST_BYTES} bytes, found a larger one")));
    }
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
    fn a_image_is_sent_with_the_type_that_its_bytes_show() {
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
        assert!(data_url(&path).unwrap_err().contains("p.png: "));
        File::create(&path).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert!(data_url(&path).unwrap_err().contains("p.png: expected an image of at most 33554432 bytes"));
    }
}

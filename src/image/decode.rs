//! Decodes image files to RGB bytes as Pillow does, within limits.
//!
//! All threads together stay within a budget of memory: an image waits until there is room for its
//! file and its pixels. One that needs more than the budget is decoded while no other is.
//!
//! EXIF orientation and colour profiles are not applied, as in MM-PRM.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::budget::{Budget, Share};
use super::{ImageError, Rgb8};
use crate::util::io::{self, FileError};
use crate::util::machine;

/// Maximum sizes of an image file, checked before memory in proportion to them is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum side in pixels.
    pub max_side: u32,
    /// Maximum width × height in pixels.
    pub max_pixels: u64,
    /// Maximum file size in bytes.
    pub max_file_bytes: u64,
}

impl Default for Limits {
    /// 16384 pixels a side, 64 million pixels, 256 MiB.
    fn default() -> Self {
        Self { max_side: 16384, max_pixels: 64_000_000, max_file_bytes: 256 << 20 }
    }
}

/// Reads and decodes the image at `path` (the first frame of an animation) to the bytes of Pillow's
/// `convert("RGB")`: grey is repeated, alpha is dropped, palettes are looked up; 16-bit colour
/// keeps its high byte, and 16-bit grey is clipped to 255.
///
/// # Errors
/// [`ImageError`] for a file that is unreadable, beyond `limits`, of an unknown format, damaged or
/// truncated.
pub fn load(path: &Path, limits: &Limits) -> Result<Rgb8, ImageError> {
    static MEMORY: LazyLock<Memory> = LazyLock::new(Memory::of_this_machine);
    load_within(path, limits, &MEMORY)
}

/// The memory that images being decoded may take together. Files and pixels have their own budgets:
/// who holds a file waits for pixels, and who holds pixels waits for nothing.
#[derive(Debug)]
struct Memory {
    files: Budget,
    pixels: Budget,
}

impl Memory {
    fn new(bytes: u64) -> Self {
        Self { files: Budget::new(bytes / 4), pixels: Budget::new(bytes - bytes / 4) }
    }

    /// An eighth of the machine's memory, at most 1 GiB.
    fn of_this_machine() -> Self {
        const MAX: u64 = 1 << 30;
        Self::new(machine::memory().map_or(MAX, |memory| (memory.total / 8).min(MAX)))
    }
}

fn load_within(path: &Path, limits: &Limits, memory: &Memory) -> Result<Rgb8, ImageError> {
    let (bytes, _file) = read_bounded(path, limits, memory)?;
    let format = image::guess_format(&bytes).ok().and_then(|format| Some((format, name(format)?)));
    let Some((format, format_name)) = format else {
        return Err(ImageError::UnknownFormat { path: path.into() });
    };
    let undecodable = |reason: String| ImageError::Undecodable { path: path.into(), format: format_name, reason };

    if format == ImageFormat::Jpeg && !jpeg_is_complete(&bytes) {
        // The decoder would fill the missing part with grey.
        return Err(undecodable("the file is truncated (no end-of-image marker)".into()));
    }
    let mut decoder = ImageReader::with_format(Cursor::new(&bytes), format)
        .into_decoder()
        .map_err(|error| undecodable(error.to_string()))?;
    let (width, height) = decoder.dimensions();
    check_size(path, width, height, limits)?;
    let mut decoder_limits = image::Limits::default();
    // A pixel of any kind takes at most 16 bytes; decoders keep up to one more copy and fixed-size
    // state.
    decoder_limits.max_alloc = Some(u64::from(width) * u64::from(height) * 32 + (64 << 20));
    decoder.set_limits(decoder_limits).map_err(|error| undecodable(error.to_string()))?;

    // The decoded pixels, as much again in the decoder, and the RGB bytes made of them.
    let pixels = u64::from(width) * u64::from(height);
    let _pixels = memory.pixels.take(pixels * (2 * u64::from(decoder.color_type().bytes_per_pixel()) + 3));
    let decoded = DynamicImage::from_decoder(decoder).map_err(|error| undecodable(error.to_string()))?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    if width == 0 || height == 0 {
        return Err(undecodable("it has no pixels".into()));
    }
    let colour = decoded.color();
    let data = pillow_rgb(decoded, is_grey_png(format, &bytes))
        .ok_or_else(|| undecodable(format!("pixels of type {colour:?} are not supported")))?;
    Ok(Rgb8 { width, height, data })
}

fn read_bounded<'a>(path: &Path, limits: &Limits, memory: &'a Memory) -> Result<(Vec<u8>, Share<'a>), ImageError> {
    // Checked before opening, because opening a pipe waits for its other end.
    let metadata = fs::metadata(path).map_err(FileError::reading(path))?;
    if !metadata.is_file() {
        return Err(ImageError::NotAFile { path: path.into() });
    }
    let share = memory.files.take(metadata.len().min(limits.max_file_bytes));
    Ok((io::read(path, limits.max_file_bytes)?, share))
}

fn check_size(path: &Path, width: u32, height: u32, limits: &Limits) -> Result<(), ImageError> {
    if width.max(height) > limits.max_side {
        return Err(ImageError::SideTooLong { path: path.into(), width, height, limit: limits.max_side });
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(ImageError::TooManyPixels { path: path.into(), width, height, limit: limits.max_pixels });
    }
    Ok(())
}

/// Returns the name of the format that a file with these first bytes has, if it is a known one.
pub(super) fn format_name(head: &[u8]) -> Option<&'static str> {
    image::guess_format(head).ok().and_then(name)
}

fn name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Png => Some("PNG"),
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Bmp => Some("BMP"),
        ImageFormat::Gif => Some("GIF"),
        ImageFormat::Tiff => Some("TIFF"),
        _ => None,
    }
}

/// Returns whether the file is a PNG without colour or an alpha channel. If it has a transparent
/// grey level, the decoder reports grey and alpha, but Pillow treats the image as grey; at 16 bits
/// the result differs.
fn is_grey_png(format: ImageFormat, bytes: &[u8]) -> bool {
    const COLOUR_TYPE_AT: usize = 25;
    format == ImageFormat::Png && bytes.get(COLOUR_TYPE_AT) == Some(&0)
}

/// Returns the RGB bytes that Pillow converts each kind of pixel to; `None` for floating point,
/// which Pillow reads differently.
fn pillow_rgb(decoded: DynamicImage, grey_png: bool) -> Option<Vec<u8>> {
    let clip = |value: u16| value.min(255) as u8;
    let high = |value: u16| (value >> 8) as u8;
    let rgb = match decoded {
        DynamicImage::ImageLuma8(pixels) => pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
        DynamicImage::ImageLumaA8(pixels) => pixels.pixels().flat_map(|pixel| [pixel.0[0]; 3]).collect(),
        DynamicImage::ImageRgb8(pixels) => pixels.into_raw(),
        DynamicImage::ImageRgba8(pixels) => {
            pixels.pixels().flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2]]).collect()
        }
        DynamicImage::ImageLuma16(pixels) => pixels.iter().flat_map(|&grey| [clip(grey); 3]).collect(),
        DynamicImage::ImageLumaA16(pixels) => {
            let convert = |grey| if grey_png { clip(grey) } else { high(grey) };
            pixels.pixels().flat_map(|pixel| [convert(pixel.0[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(pixels) => pixels.iter().map(|&value| high(value)).collect(),
        DynamicImage::ImageRgba16(pixels) => {
            pixels.pixels().flat_map(|pixel| [high(pixel.0[0]), high(pixel.0[1]), high(pixel.0[2])]).collect()
        }
        _ => return None,
    };
    Some(rgb)
}

/// Returns whether a JPEG file has its end-of-image marker. Walks the segments rather than
/// searching for the marker's bytes, because embedded thumbnails have one too.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    let mut at = 2;
    loop {
        // Entropy-coded data after a scan header has 0xff only before 0 or in a restart marker.
        let Some(marker_at) = (at..bytes.len().saturating_sub(1))
            .find(|&i| bytes[i] == 0xff && !matches!(bytes[i + 1], 0 | 0x01 | 0xd0..=0xd8 | 0xff))
        else {
            return false;
        };
        let marker = bytes[marker_at + 1];
        if marker == END_OF_IMAGE {
            return true;
        }
        let Some(&[high, low]) = bytes.get(marker_at + 2..marker_at + 4) else { return false };
        let length = usize::from(u16::from_be_bytes([high, low]));
        at = marker_at + 2 + length;
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayAlphaImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba};

    use super::*;

    /// The error message for a file of these bytes, without the folder.
    fn refusal(name: &str, bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = load(&path, &Limits::default()).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    }

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let image = RgbImage::from_fn(40, 30, |x, y| Rgb([(x * 6) as u8, (y * 8) as u8, (x * y) as u8]));
        let mut file = Cursor::new(Vec::new());
        image.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    /// A PNG file that ends where its pixel data begins.
    fn png_header(width: u32, height: u32) -> Vec<u8> {
        let chunk = [b"IHDR".as_slice(), &width.to_be_bytes(), &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        let crc = !chunk.iter().fold(u32::MAX, |crc, &byte| {
            let step = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            (0..8).fold(crc ^ u32::from(byte), step)
        });
        [b"\x89PNG\r\n\x1a\n\0\0\0\x0d", chunk.as_slice(), &crc.to_be_bytes(), b"\0\0\x01\0IDAT"].concat()
    }

    #[test]
    fn images_beyond_the_limits_are_refused_from_their_header() {
        assert_eq!(
            refusal("huge.png", &png_header(30000, 30000)),
            "huge.png: the image is 30000×30000 pixels, more than the limit of 16384 a side"
        );
        assert_eq!(
            refusal("large.png", &png_header(16000, 16000)),
            "large.png: the image is 16000×16000 pixels, more than the limit of 64000000 pixels"
        );
    }

    #[test]
    fn files_beyond_the_limit_are_refused_before_reading() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        fs::write(&path, encoded(ImageFormat::Png)).unwrap();
        let limits = Limits { max_file_bytes: 100, ..Limits::default() };
        assert!(matches!(load(&path, &limits), Err(ImageError::File(FileError::TooLarge { limit: 100, .. }))));
        assert!(matches!(load(folder.path(), &limits), Err(ImageError::NotAFile { .. })));
    }

    #[test]
    fn truncated_images_are_refused_in_every_format() {
        for (format, name) in [
            (ImageFormat::Png, "PNG"),
            (ImageFormat::Jpeg, "JPEG"),
            (ImageFormat::WebP, "WebP"),
            (ImageFormat::Bmp, "BMP"),
            (ImageFormat::Gif, "GIF"),
            (ImageFormat::Tiff, "TIFF"),
        ] {
            let bytes = encoded(format);
            let message = refusal("cut", &bytes[..bytes.len() * 2 / 3]);
            assert!(message.starts_with(&format!("cut: cannot decode the {name} image: ")), "{message}");
        }
    }

    #[test]
    fn files_that_are_not_images_are_refused() {
        for bytes in [b"".as_slice(), b"<html>", b"%PDF-1.4"] {
            assert_eq!(refusal("x.png", bytes), "x.png: expected a PNG, JPEG, WebP, BMP, GIF or TIFF image");
        }
    }

    #[test]
    fn images_wait_for_a_small_budget_and_a_larger_image_is_decoded_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        fs::write(&path, encoded(ImageFormat::Png)).unwrap();
        let expected = load(&path, &Limits::default()).unwrap().data;
        for bytes in [0, 1000, 40_000] {
            let memory = Memory::new(bytes);
            let image = || load_within(&path, &Limits::default(), &memory).unwrap().data;
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| assert!(image() == expected && image() == expected));
                }
            });
        }
        // While another image has all the memory, this one waits.
        let memory = Memory::new(40_000);
        let other = memory.pixels.take(30_000);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| load_within(&path, &Limits::default(), &memory));
            std::thread::sleep(std::time::Duration::from_millis(30));
            assert!(!waiting.is_finished());
            drop(other);
            assert_eq!(waiting.join().unwrap().unwrap().data, expected);
        });
        // A refused file returns its share.
        let limits = Limits { max_pixels: 1, ..Limits::default() };
        assert!(load_within(&path, &limits, &memory).is_err() && load_within(&path, &limits, &memory).is_err());
        assert!(load_within(&path, &Limits::default(), &memory).is_ok());
    }

    #[test]
    fn the_smallest_images_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dot.png");
        for side in [1, 5] {
            RgbImage::from_pixel(side, side, Rgb([1, 2, 3])).save(&path).unwrap();
            let image = load(&path, &Limits::default()).unwrap();
            assert_eq!(image.data, [1, 2, 3].repeat((side * side) as usize));
        }
    }

    #[test]
    fn sixteen_bit_grey_is_clipped_and_sixteen_bit_colour_keeps_its_high_byte() {
        let grey = DynamicImage::ImageLuma16(ImageBuffer::from_pixel(1, 1, Luma([300])));
        assert_eq!(pillow_rgb(grey, true), Some(vec![255; 3]));
        let grey_alpha = DynamicImage::ImageLumaA16(ImageBuffer::from_pixel(1, 1, LumaA([300, 0])));
        assert_eq!(pillow_rgb(grey_alpha.clone(), false), Some(vec![1; 3]));
        assert_eq!(pillow_rgb(grey_alpha, true), Some(vec![255; 3]));
        let colour = DynamicImage::ImageRgb16(ImageBuffer::from_pixel(1, 1, Rgb([0x1ff, 0x200, 0xffff])));
        assert_eq!(pillow_rgb(colour, false), Some(vec![1, 2, 255]));
    }

    #[test]
    fn alpha_is_dropped_not_blended() {
        let colour = DynamicImage::ImageRgba8(ImageBuffer::from_pixel(1, 1, Rgba([10, 20, 30, 0])));
        assert_eq!(pillow_rgb(colour, false), Some(vec![10, 20, 30]));
        let grey = DynamicImage::ImageLumaA8(GrayAlphaImage::from_pixel(1, 1, LumaA([7, 0])));
        assert_eq!(pillow_rgb(grey, true), Some(vec![7; 3]));
    }

    #[test]
    fn a_jpeg_is_complete_only_with_an_end_marker_outside_its_segments() {
        let thumbnail = [0xff, 0xe1, 0, 6, 0xff, 0xd8, 0xff, 0xd9];
        let scan = [0xff, 0xda, 0, 2, 1, 0xff, 0, 0xff, 0xd0, 2];
        let mut file = [[0xff, 0xd8].as_slice(), &thumbnail, &scan].concat();
        assert!(!jpeg_is_complete(&file));
        file.extend([0xff, 0xd9]);
        assert!(jpeg_is_complete(&file));
        assert!(!jpeg_is_complete(&[0xff, 0xd8, 0xff]));
    }
}

//! Hostile images: of every format, damaged, cut off, mislabelled, huge when decoded, animated, and what is no file at all.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::symlink;
use std::process::Command;

use image::{DynamicImage, ImageBuffer, ImageFormat};
use serde_json::{Value, json};

use crate::mutate::{self, Random, cases, is_wanted};
use crate::support::{POLICY, Sandbox};
use crate::tally::Tally;

/// Mutated images of each format.
const MUTATIONS: usize = 16;
/// Images that one process reads.
const BATCH: usize = 24;
/// Decoding may take this much, of all threads together.
const MEMORY: u64 = 2 << 30;

const FORMATS: [(ImageFormat, &str); 6] = [
    (ImageFormat::Png, "png"),
    (ImageFormat::Jpeg, "jpg"),
    (ImageFormat::WebP, "webp"),
    (ImageFormat::Bmp, "bmp"),
    (ImageFormat::Gif, "gif"),
    (ImageFormat::Tiff, "tiff"),
];

/// A small valid image; its kind of pixels depends on the format's abilities and `number`.
fn valid(format: ImageFormat, number: usize) -> Vec<u8> {
    let (width, height) = [(24, 16), (1, 1), (3, 40), (64, 64)][number % 4];
    let pixels = ImageBuffer::from_fn(width, height, |x, y| image::Rgba([(x * 9) as u8, (y * 5) as u8, 77, 200]));
    let pixels = DynamicImage::ImageRgba8(pixels);
    let kinds: &[DynamicImage] = match format {
        ImageFormat::Png | ImageFormat::Tiff => {
            &[pixels.to_rgb8().into(), pixels.to_rgba16().into(), pixels.to_luma8().into(), pixels.to_luma16().into()]
        }
        ImageFormat::WebP | ImageFormat::Gif => &[pixels.to_rgba8().into(), pixels.to_rgb8().into()],
        _ => &[pixels.to_rgb8().into(), pixels.to_luma8().into()],
    };
    let mut bytes = Cursor::new(Vec::new());
    kinds[number / 4 % kinds.len()].write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A PNG whose header gives other dimensions, with the checksum that belongs to them.
fn png(width: u32, height: u32, depth: u8, colour: u8, data: &[u8]) -> Vec<u8> {
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        [&(data.len() as u32).to_be_bytes(), body.as_slice(), &checksum(&body).to_be_bytes()].concat()
    };
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, colour, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", &header).as_slice(), &chunk(b"IDAT", data), &chunk(b"IEND", b"")].concat()
}

/// CRC-32, as PNG has it.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

/// A black image of this size, well compressed: a few KiB that decode to hundreds of MiB.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::new_luma8(width, height).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// An animation of `frames` frames.
fn animation(frames: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
    let frame = image::Frame::new(ImageBuffer::from_pixel(32, 32, image::Rgba([9, 9, 9, 255])));
    encoder.encode_frames((0..frames).map(|_| frame.clone())).unwrap();
    drop(encoder);
    bytes
}

/// Overwrites bytes of a valid image.
fn patched(format: ImageFormat, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = valid(format, 0);
    image[at..at + bytes.len()].copy_from_slice(bytes);
    image
}

/// Images that claim or have extreme sizes and odd contents.
fn extremes() -> Vec<(String, Vec<u8>)> {
    let mut images = vec![
        ("empty.png".to_owned(), Vec::new()),
        ("text.png".to_owned(), b"<html>404</html>".to_vec()),
        ("svg.png".to_owned(), b"<svg xmlns='http://www.w3.org/2000/svg' width='1e9' height='1e9'/>".to_vec()),
        ("zero-width.png".to_owned(), png(0, 9, 8, 2, b"")),
        ("no-data.png".to_owned(), png(9, 9, 8, 2, b"")),
        ("odd-depth.png".to_owned(), png(9, 9, 7, 9, b"\x78\x9c\x03\0\0\0\0\x01")),
        ("bomb.png".to_owned(), bomb(12_000, 12_000)),
        ("long.png".to_owned(), bomb(200_000, 16)),
        ("tall.png".to_owned(), bomb(1, 100_000)),
        ("animation.gif".to_owned(), animation(300)),
        ("twice.jpg".to_owned(), [valid(ImageFormat::Jpeg, 0), valid(ImageFormat::Jpeg, 0)].concat()),
        ("padded.png".to_owned(), [valid(ImageFormat::Png, 0), vec![0; 1 << 20]].concat()),
        ("huge.bmp".to_owned(), patched(ImageFormat::Bmp, 18, &[0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f])),
        ("negative.bmp".to_owned(), patched(ImageFormat::Bmp, 18, &[0, 0, 0, 0x80, 0, 0, 0, 0x80])),
        ("huge.gif".to_owned(), patched(ImageFormat::Gif, 6, &[0xff; 4])),
        ("unending.tiff".to_owned(), patched(ImageFormat::Tiff, 4, &[4, 0, 0, 0])),
    ];
    for (width, height) in
        [(u32::MAX, u32::MAX), (0x7fff_ffff, 1), (1, 0x7fff_ffff), (65_535, 65_535), (30_000, 30_000)]
    {
        for (depth, colour) in [(1, 0), (8, 2), (16, 6)] {
            images
                .push((format!("{width}x{height}-{depth}.png"), png(width, height, depth, colour, b"\x78\x9c\x03\0")));
        }
    }
    for (format, name) in FORMATS {
        let whole = valid(format, 0);
        for part in 0..8 {
            images.push((format!("part-{part}.{name}"), whole[..whole.len() * part / 8].to_vec()));
        }
        for (_, other) in FORMATS {
            images.push((format!("{name}-as.{other}"), whole.clone()));
        }
    }
    images
}

/// Reads the images, in batches, and names the one that ends a process.
fn read(tally: &mut Tally, sandbox: &Sandbox, images: &[String]) {
    for batch in images.chunks(BATCH) {
        let before = tally.faults();
        tally.inputs(batch.len() - 1);
        tally.run(&format!("images {batch:?}"), &mut generate(sandbox, batch));
        if tally.faults() > before {
            tally.keep(&sandbox.path("in"));
            for image in batch {
                tally.run(&format!("image {image} alone"), &mut generate(sandbox, std::slice::from_ref(image)));
            }
        } else {
            check(tally, sandbox, batch);
        }
    }
}

fn generate(sandbox: &Sandbox, images: &[String]) -> Command {
    let problem = |image: &String| json!({"id": image, "question": "q", "answer": "1", "image_path": image});
    let problems: Vec<Value> = images.iter().map(problem).collect();
    sandbox.write("in/p.json", json!(problems).to_string());
    let _ = fs::remove_file(sandbox.path("c.json"));
    let tokens = POLICY.replace("--max-tokens 150", "--max-tokens 2");
    sandbox.command(&format!("generate {tokens} --problems in/p.json --quiet --max-tiles 1 -n 1 -o c.json --force"))
}

/// Each record has a candidate or the cause why it has none, which names the image.
fn check(tally: &mut Tally, sandbox: &Sandbox, batch: &[String]) {
    let records = sandbox.json("c.json");
    for (image, record) in batch.iter().zip(records.as_array().unwrap()) {
        let error = record["error"].as_str();
        let candidates = record["solutions_splits"].as_array().map_or(0, Vec::len);
        let is_right = match error {
            Some(error) => candidates == 0 && error.contains(image.as_str()),
            None => candidates == 1,
        };
        tally.accept(candidates);
        if !is_right {
            tally.fault(&format!("image {image}"), &format!("{candidates} candidates, cause {error:?}"));
        }
    }
}

#[test]
fn extreme_images() {
    let sandbox = Sandbox::new();
    let mut names = Vec::new();
    for (name, bytes) in extremes() {
        sandbox.write(&format!("in/{name}"), bytes);
        names.push(name);
    }
    fs::create_dir(sandbox.path("in/directory.png")).unwrap();
    assert!(Command::new("mkfifo").arg(sandbox.path("in/pipe.png")).status().unwrap().success());
    for (name, target) in
        [("loop.png", "loop.png"), ("zero.png", "/dev/zero"), ("tty.png", "/dev/tty"), ("out.png", "/etc/hosts")]
    {
        symlink(target, sandbox.path("in").join(name)).unwrap();
        names.push(name.to_owned());
    }
    names.extend(
        ["directory.png", "pipe.png", "missing.png", "../p.png", "/dev/zero", "a\u{0}b.png"].map(str::to_owned),
    );
    names.push("x".repeat(5000));
    let mut tally = Tally::with_memory("images, extreme", MEMORY);
    read(&mut tally, &sandbox, &names);
    tally.finish();
}

#[test]
fn mutated_images() {
    let sandbox = Sandbox::new();
    let mut tally = Tally::with_memory("images, mutated", MEMORY);
    let mut batch = Vec::new();
    for number in 0..cases(MUTATIONS) {
        for (format, extension) in FORMATS {
            let name = format!("image-{number}.{extension}");
            if !is_wanted(&name) {
                continue;
            }
            let mutation = mutate::bytes(&valid(format, number), &mut Random::new(extension, number));
            sandbox.write(&format!("in/{name}"), mutation.bytes);
            batch.push(name);
        }
        if batch.len() >= BATCH {
            read(&mut tally, &sandbox, &std::mem::take(&mut batch));
        }
    }
    read(&mut tally, &sandbox, &batch);
    tally.finish();
}

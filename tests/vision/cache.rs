//! The embedding cache between runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mmprm::vision::EncoderChoice;
use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
use sha2::{Digest, Sha256};

use crate::mini;
use crate::support::golden;

fn encoder(folder: &Path, vision: EncoderChoice) -> PromptEncoder {
    let (model, mmproj) = mini();
    let options =
        PromptEncoderOptions { vision, vision_cache: Some(folder.to_owned()), ..PromptEncoderOptions::default() };
    PromptEncoder::load(model, Some(&mmproj), options).unwrap()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

#[test]
fn an_image_is_encoded_once_however_many_files_contain_it() {
    let (folder, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let copies = ["a.png", "b.png"].map(|name| images.path().join(name));
    for copy in &copies {
        std::fs::copy(golden().join("images/img1.png"), copy).unwrap();
    }
    let encoder = encoder(folder.path(), EncoderChoice::Native);
    let [first, second] = copies.map(|copy| encoder.image(&copy).unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(entries(folder.path()).len(), 1);
}

#[test]
fn a_later_run_reads_valid_entries_and_replaces_damaged_ones() {
    let folder = tempfile::tempdir().unwrap();
    let image = golden().join("images/img0.png");
    let expected = encoder(folder.path(), EncoderChoice::Native).image(&image).unwrap();
    let [entry] = entries(folder.path()).try_into().unwrap();
    // A changed value with a correct hash shows that the entry is read.
    let mut bytes = std::fs::read(&entry).unwrap();
    let end = bytes.len() - 32;
    bytes[40..44].copy_from_slice(&1234.5_f32.to_le_bytes());
    let hash = Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&hash);
    std::fs::write(&entry, &bytes).unwrap();
    let again = encoder(folder.path(), EncoderChoice::Native).image(&image).unwrap();
    assert_eq!((again.values[0], &again.values[1..]), (1234.5, &expected.values[1..]));
    bytes[50] ^= 1;
    std::fs::write(&entry, &bytes).unwrap();
    let anew = encoder(folder.path(), EncoderChoice::Native).image(&image).unwrap();
    assert_eq!(anew.values, expected.values);
    assert_eq!(entries(folder.path()), [entry]);
}

#[test]
fn each_encoder_has_its_own_entries() {
    let folder = tempfile::tempdir().unwrap();
    for vision in [EncoderChoice::Native, EncoderChoice::LlamaCpp] {
        encoder(folder.path(), vision).image(&golden().join("images/img1.png")).unwrap();
    }
    assert_eq!(entries(folder.path()).len(), 2);
}

#[test]
fn an_unusable_directory_is_an_error_before_anything_is_encoded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (model, mmproj) = mini();
    let options = PromptEncoderOptions { vision_cache: Some(file), ..PromptEncoderOptions::default() };
    let error = PromptEncoder::load(model, Some(&mmproj), options).unwrap_err().to_string();
    assert!(error.starts_with("cannot keep embeddings in "), "{error}");
}

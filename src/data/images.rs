//! The image fields of a record: one reading for problems, candidates, trees and training samples.
//!
//! Data sets name them `image`, `images`, `image_path`, `image_paths` or `decoded_image`, also numbered (`image_1`). An
//! image-like field that is not understood is an error that names it, because ignoring it would run a model blind. Opening the
//! files is left to [`image`](crate::image).

use serde_json::{Map, Value};

/// Names of image fields, the more specific first.
const NAMES: [&str; 5] = ["image_paths", "images", "image_path", "image", "decoded_image"];

/// Words that make a field's name that of an image.
const IMAGE_WORDS: &str =
    "image images img imgs picture pictures pic pics photo photos figure figures diagram diagrams";

/// Words that make it something about an image instead.
const ABOUT_WORDS: &str = "alt caption captions category context count description descriptions dir dpi folder format has hash height \
                           id ids index is license md5 mode num number ocr resolution root sha256 shape size source tag tags type width";

/// Maximum characters of a value in a message.
const SHOWN: usize = 80;

/// Why the images of a record are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageFieldError {
    /// A value of another form.
    #[error("the field `{field}` is {found}, expected the path of an image, a list of paths, or null")]
    Value {
        /// The field.
        field: String,
        /// The value, shortened.
        found: String,
    },
    /// The image itself in place of its path.
    #[error(
        "the field `{field}` has an image itself ({found}), expected the path of its file; save it and give the path"
    )]
    Embedded {
        /// The field.
        field: String,
        /// The value, shortened.
        found: String,
    },
    /// A field whose name is that of an image, but none that is read.
    #[error("the field `{field}` seems to name an image, expected one of {names}; rename it, or remove it", names = NAMES.map(|name| format!("`{name}`")).join(", "))]
    Unknown {
        /// The field.
        field: String,
    },
    /// Two fields with different images.
    #[error("the fields `{first}` and `{second}` name different images; remove one of them")]
    Different {
        /// A field.
        first: String,
        /// Another.
        second: String,
    },
    /// A marker without its image.
    #[error("the question has the marker `{marker}`, but the record has no image")]
    Marker {
        /// The marker.
        marker: String,
    },
}

/// Returns the paths of a record's images, as written in it; none for null, `""` and empty lists.
///
/// ```
/// use mmprm::data::images::image_paths;
/// let record = serde_json::json!({"question": "?", "image": "a.png", "image_path": null});
/// assert_eq!(image_paths(record.as_object().unwrap()).unwrap(), ["a.png"]);
/// let record = serde_json::json!({"question": "?", "photo": "a.png"});
/// assert!(image_paths(record.as_object().unwrap()).is_err());
/// ```
///
/// # Errors
/// [`ImageFieldError`].
pub fn image_paths(record: &Map<String, Value>) -> Result<Vec<String>, ImageFieldError> {
    let mut found: Option<(&str, Vec<String>)> = None;
    let (mut embedded, mut has_path) = (None, false);
    let mut add = |field: &str, paths: Vec<String>| -> Result<(), ImageFieldError> {
        let Some((first, known)) = &mut found else {
            found = (!paths.is_empty()).then(|| (name_of(record, field), paths));
            return Ok(());
        };
        // One image beside all of them is usual.
        if paths.starts_with(known) {
            *known = paths;
        } else if !known.starts_with(&paths) {
            return Err(ImageFieldError::Different { first: (*first).to_owned(), second: field.to_owned() });
        }
        Ok(())
    };
    for name in NAMES {
        let value = record.get(name).unwrap_or(&Value::Null);
        match read(name, value) {
            // The decoded image of Hugging Face's sets beside the path; its own path is a bare name.
            Ok(_) if name == "decoded_image" && value.is_object() && has_path => {}
            Ok(paths) => {
                has_path |= !paths.is_empty();
                add(name, paths)?;
            }
            // Hugging Face sets have the path in one field and the decoded image in another.
            Err(error @ ImageFieldError::Embedded { .. }) if name == "decoded_image" => embedded = Some(error),
            Err(error) => return Err(error),
        }
    }
    let numbered = numbered(record);
    if let [first, ..] = numbered[..] {
        let paths: Vec<Vec<String>> =
            numbered.iter().map(|&name| read(name, &record[name])).collect::<Result<_, _>>()?;
        add(first, paths.concat())?;
    }
    let is_known = |name: &str| NAMES.contains(&name) || numbered.contains(&name);
    if let Some((field, _)) = record.iter().find(|(name, value)| !is_known(name) && has_images(value) && is_image(name))
    {
        return Err(ImageFieldError::Unknown { field: field.clone() });
    }
    match (found, embedded) {
        (None, Some(error)) => Err(error),
        (found, _) => Ok(found.map(|(_, paths)| paths).unwrap_or_default()),
    }
}

/// Replaces the paths in the image fields of a record for which `renamed` has another one.
pub(crate) fn rename_images(record: &mut Map<String, Value>, renamed: &impl Fn(&str) -> Option<String>) {
    fn replace(value: &mut Value, renamed: &impl Fn(&str) -> Option<String>) {
        match value {
            Value::String(path) => {
                if let Some(new) = renamed(path) {
                    *path = new;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| replace(value, renamed)),
            Value::Object(fields) => fields.get_mut("path").into_iter().for_each(|path| replace(path, renamed)),
            _ => {}
        }
    }
    let fields: Vec<String> =
        NAMES.into_iter().chain(numbered(record)).map(str::to_owned).filter(|name| record.contains_key(name)).collect();
    for field in fields {
        replace(&mut record[&field], renamed);
    }
}

/// Checks that a question with numbered markers, such as `<image1>`, has an image. It may have fewer
/// images than markers: MATH-Vision puts all images of a problem into one file.
///
/// # Errors
/// [`ImageFieldError::Marker`].
#[doc(hidden)]
pub fn check_markers(question: &str, images: usize) -> Result<(), ImageFieldError> {
    if images > 0 {
        return Ok(());
    }
    for (at, opening) in question.match_indices("<image") {
        let Some((number, _)) = question[at + opening.len()..].split_once('>') else { continue };
        let digits = number.trim_start_matches(['_', ' ', '-']);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ImageFieldError::Marker { marker: format!("<image{number}>") });
        }
    }
    Ok(())
}

/// The key of a record that equals `name`, borrowed from the record.
fn name_of<'a>(record: &'a Map<String, Value>, name: &str) -> &'a str {
    record.get_key_value(name).map_or("image", |(name, _)| name)
}

/// The fields `image_1`, `image_2` and so on, in the order of their numbers.
fn numbered(record: &Map<String, Value>) -> Vec<&str> {
    let number = |name: &str| {
        let digits = name.strip_prefix("image")?.trim_start_matches('_');
        if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse::<u32>().ok() } else { None }
    };
    let mut names: Vec<(u32, &str)> = record.keys().filter_map(|name| Some((number(name)?, name.as_str()))).collect();
    names.sort_unstable();
    names.into_iter().map(|(_, name)| name).collect()
}

fn read(field: &str, value: &Value) -> Result<Vec<String>, ImageFieldError> {
    match value {
        Value::Array(several) => Ok(several
            .iter()
            .map(|one| path(field, one))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect()),
        one => Ok(path(field, one)?.into_iter().collect()),
    }
}

/// The path in a value; `None` for none.
fn path(field: &str, value: &Value) -> Result<Option<String>, ImageFieldError> {
    let embedded = || ImageFieldError::Embedded { field: field.to_owned(), found: shown(value) };
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) if text.starts_with("data:") => Err(embedded()),
        Value::String(text) => Ok(Some(text.clone())),
        // The form of Hugging Face's image feature.
        Value::Object(image) if image.keys().all(|key| key == "path" || key == "bytes") && !image.is_empty() => {
            match (image.get("path"), image.get("bytes")) {
                (Some(Value::String(path)), None | Some(Value::Null)) if !path.is_empty() => Ok(Some(path.clone())),
                (_, None | Some(Value::Null)) => Ok(None),
                _ => Err(embedded()),
            }
        }
        _ => Err(ImageFieldError::Value { field: field.to_owned(), found: shown(value) }),
    }
}

/// Whether a value may be an image: neither a number nor empty.
fn has_images(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(several) => several.iter().any(has_images),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Whether a field's name is that of an image.
fn is_image(name: &str) -> bool {
    let mut words: Vec<String> = Vec::new();
    let mut previous = '_';
    for letter in name.chars() {
        let starts = letter.is_ascii_uppercase() && !previous.is_ascii_uppercase() || !previous.is_alphabetic();
        if letter.is_alphabetic() {
            if starts {
                words.push(String::new());
            }
            words.last_mut().expect("a word was started").extend(letter.to_lowercase());
        }
        previous = letter;
    }
    let has = |list: &str| list.split(' ').any(|known| words.iter().any(|word| word == known));
    has(IMAGE_WORDS) && !has(ABOUT_WORDS)
}

/// A value for a message.
pub(crate) fn shown(value: &Value) -> String {
    shortened(&value.to_string())
}

/// Text for a message, cut to 80 characters.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(record: &Value) -> Result<Vec<String>, String> {
        image_paths(record.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_name_and_form_is_read() {
        for record in [
            json!({"image": "a.png"}),
            json!({"images": ["a.png"]}),
            json!({"images": "a.png"}),
            json!({"image_path": "a.png"}),
            json!({"image_path": ["a.png"]}),
            json!({"image_paths": ["a.png", null, ""]}),
            json!({"image_paths": "a.png"}),
            json!({"decoded_image": "a.png"}),
            json!({"decoded_image": {"path": "a.png", "bytes": null}}),
            json!({"image": {"path": "a.png"}}),
            json!({"image_1": "a.png", "image_2": null}),
            json!({"image": "a.png", "image_path": "a.png", "images": ["a.png"]}),
            json!({"image": "a.png", "decoded_image": {"bytes": "iVBORw0KGgo", "path": null}}),
            json!({"image": "a.png", "decoded_image": "data:image/png;base64,iVBORw0KGgo"}),
        ] {
            assert_eq!(paths(&record).unwrap(), ["a.png"], "{record}");
        }
        let several = json!({"image_2": "b.png", "image_10": "c.png", "image_1": "a.png"});
        assert_eq!(paths(&several).unwrap(), ["a.png", "b.png", "c.png"]);
        let one_and_all = json!({"image": "a.png", "images": ["a.png", "b.png"]});
        assert_eq!(paths(&one_and_all).unwrap(), ["a.png", "b.png"]);
    }

    #[test]
    fn null_empty_text_and_empty_lists_mean_none() {
        for record in [
            json!({}),
            json!({"image": null, "images": [], "image_path": "", "image_paths": [null], "decoded_image": " "}),
            json!({"image": {"path": null, "bytes": null}}),
            json!({"img_height": 100, "image_id": "a", "image_width": 3, "has_image": true, "imageSize": [1, 2]}),
            json!({"image_caption": "a triangle", "photo": null, "figures": [], "imagine": "x", "magic": "x"}),
        ] {
            assert!(paths(&record).unwrap().is_empty(), "{record}");
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error_that_names_the_field() {
        for (record, expected) in [
            (json!({"image": 3}), "the field `image` is 3, expected"),
            (json!({"images": ["a.png", 3]}), "the field `images` is 3, expected"),
            (json!({"images": [["a.png"]]}), "the field `images` is [\"a.png\"], expected"),
            (json!({"image": {"url": "a.png"}}), "the field `image` is {\"url\":\"a.png\"}, expected"),
            (json!({"image": {"bytes": "iVBO", "path": "a.png"}}), "the field `image` has an image itself"),
            (json!({"decoded_image": {"bytes": [137, 80]}}), "the field `decoded_image` has an image itself"),
            (json!({"image": "data:image/png;base64,iVBO"}), "the field `image` has an image itself"),
            (json!({"photo": "a.png"}), "the field `photo` seems to name an image"),
            (json!({"img_path": "a.png"}), "the field `img_path` seems"),
            (json!({"imagePath": "a.png"}), "the field `imagePath` seems"),
            (json!({"image_url": "http://h/a.png"}), "the field `image_url` seems"),
            (json!({"image": "a.png", "photos": ["b.png"]}), "the field `photos` seems"),
            (
                json!({"image": "a.png", "image_path": "b.png"}),
                "the fields `image_path` and `image` name different images",
            ),
            (
                json!({"images": ["a.png"], "image_paths": ["a.png", "b.png"], "image": "b.png"}),
                "the fields `image_paths` and `image`",
            ),
        ] {
            let error = paths(&record).unwrap_err();
            assert!(error.starts_with(expected), "{record}: {error}");
        }
        let long = json!({"image": format!("data:image/png;base64,{}", "A".repeat(1000))});
        assert!(paths(&long).unwrap_err().chars().count() < 250);
    }

    #[test]
    fn paths_are_renamed_in_image_fields_alone() {
        let mut record = json!({"question": "/a.png", "image": "/a.png", "images": ["/a.png", "b.png"], "decoded_image":
            {"path": "/a.png", "bytes": null}, "image_1": "/a.png"});
        rename_images(record.as_object_mut().unwrap(), &|path| (path == "/a.png").then(|| "a.png".to_owned()));
        let expected = json!({"question": "/a.png", "image": "a.png", "images": ["a.png", "b.png"], "decoded_image":
            {"path": "a.png", "bytes": null}, "image_1": "a.png"});
        assert_eq!(record, expected);
    }

    #[test]
    fn numbered_markers_need_an_image() {
        assert!(check_markers("see <image1> and <image2>", 1).is_ok());
        assert!(check_markers("an <image> tag, <imagery>, <image", 0).is_ok());
        for (question, marker) in
            [("see <image1>", "<image1>"), ("<image> <image_3>", "<image_3>"), ("<image 1>", "<image 1>")]
        {
            let error = check_markers(question, 0).unwrap_err().to_string();
            assert_eq!(error, format!("the question has the marker `{marker}`, but the record has no image"));
        }
    }
}

//! Tree files: MM-PRM's JSON, validated on reading and written byte for byte as MM-PRM writes it.
//!
//! Unknown fields are ignored on reading. One field is written beyond MM-PRM's, and only where
//! rollouts continued the assistant's turn, which MM-PRM's never do: `"continue": "assistant"`.
//!
//! ```
//! use mmprm::data::tree::json;
//! let error = json::parse(br#"{"question": "?", "answer": "1", "mc_value": "high"}"#, "odd.json").unwrap_err();
//! assert_eq!(error.to_string(), "odd.json: at mc_value: expected a number from 0 to 1");
//! ```

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{MAX_DEPTH, Node, Tree};
use crate::compat;
use crate::data::images::{ImageFieldError, image_paths};
use crate::data::solution::{Continue, Rollout};
use crate::util::io::{self, FileError};
use crate::util::nesting::Structure;

/// Maximum size of a tree file in bytes. A tree of 1,000 rollouts of 4,096 tokens stays below.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Why a tree file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The file cannot be read, or is too large.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not JSON.
    #[error("{file}: not JSON: {source}")]
    Json {
        /// The file.
        file: String,
        /// The parser's error, with line and column.
        source: serde_json::Error,
    },
    /// The images are not known.
    #[error("{file}: {source}")]
    Images {
        /// The file.
        file: String,
        /// What is wrong with the fields.
        source: ImageFieldError,
    },
    /// The JSON nests deeper than any tree.
    #[error("{file}: expected a tree of at most {MAX_DEPTH} levels, found deeper nesting at byte {at}")]
    TooDeep {
        /// The file.
        file: String,
        /// Offset of the bracket that goes too deep.
        at: usize,
    },
    /// A value is missing or not what a tree has there.
    #[error("{file}: at {path}: expected {expected}")]
    Form {
        /// The file.
        file: String,
        /// Where in the file, as a path of keys and indices.
        path: String,
        /// What should be there.
        expected: &'static str,
    },
}

/// Reads the tree file at `path`.
///
/// # Errors
/// [`TreeError`], naming the file and the place in it.
pub fn read(path: &Path) -> Result<Tree, TreeError> {
    parse(&io::read_text(path, MAX_FILE_BYTES)?, &path.display().to_string())
}

/// Reads the tree file at `path` as JSON with all its fields, unknown ones included; validated as
/// by [`read`].
///
/// # Errors
/// [`TreeError`], naming the file and the place in it.
pub(crate) fn read_value(path: &Path) -> Result<Value, TreeError> {
    let file = path.display().to_string();
    let value = parse_value(&io::read_text(path, MAX_FILE_BYTES)?, &file)?;
    tree(&value, &Place { file: &file, step: None })?;
    Ok(value)
}

/// Parses a tree from the bytes of its file; `file` names it in errors.
///
/// # Errors
/// [`TreeError`], naming the file and the place in it.
pub fn parse(bytes: &[u8], file: &str) -> Result<Tree, TreeError> {
    tree(&parse_value(bytes, file)?, &Place { file, step: None })
}

fn parse_value(bytes: &[u8], file: &str) -> Result<Value, TreeError> {
    check_depth(bytes, file)?;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    // serde_json's own limit of 128 is less than a deep tree needs; the depth was checked above.
    deserializer.disable_recursion_limit();
    Value::deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|source| TreeError::Json { file: file.to_owned(), source })
}

/// Returns the text of a tree's file: `json.dumps(tree, indent=4, ensure_ascii=False)`, without a
/// final newline.
pub fn to_string(tree: &Tree) -> String {
    let mut object = Map::new();
    object.insert("question".into(), json!(tree.question));
    object.insert("answer".into(), tree.answer.clone());
    object.insert("image_path".into(), tree.image_path.clone());
    write_state(&tree.root, &mut object);
    object.insert("id".into(), tree.id.clone());
    if tree.continues != Continue::default() {
        object.insert("continue".into(), json!(tree.continues.to_string()));
    }
    value_to_string(&Value::Object(object))
}

/// Returns the text of a file with the JSON of a tree, such as [`read_value`] returns, formatted as
/// [`to_string`] does.
pub(crate) fn value_to_string(value: &Value) -> String {
    compat::json::dumps_indent(value, 4, false)
}

fn write_state(node: &Node, object: &mut Map<String, Value>) {
    object.insert("mc_value".into(), json!(node.mc_value));
    object.insert("visit_count".into(), json!(node.visit_count));
    object.insert("correct_rollouts".into(), json!(node.correct_rollouts));
    object.insert("incorrect_rollouts".into(), json!(node.incorrect_rollouts));
    let child = |child: &Node| {
        let mut object = Map::new();
        object.insert("partial_solution".into(), json!(child.partial_solution));
        write_state(child, &mut object);
        Value::Object(object)
    };
    object.insert("children".into(), node.children.iter().map(child).collect());
}

/// Maximum nesting of brackets: a state at level `n` is in `2n + 1` of them (its own and, for each
/// level, an object and its array of children), and its rollouts open two more.
const MAX_BRACKETS: usize = 2 * MAX_DEPTH + 3;

fn check_depth(bytes: &[u8], file: &str) -> Result<(), TreeError> {
    match Structure::levels(MAX_BRACKETS).excess(bytes) {
        Some(excess) => Err(TreeError::TooDeep { file: file.to_owned(), at: excess.at }),
        None => Ok(()),
    }
}

/// Where a value is in its file: a list of keys from the value back to the top. The path is built only for an error.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    step: Option<(&'a Place<'a>, Step<'a>)>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    fn below(&'a self, step: Step<'a>) -> Place<'a> {
        Place { file: self.file, step: Some((self, step)) }
    }

    fn path(&self) -> String {
        match self.step {
            None => String::new(),
            Some((parent, Step::Index(index))) => format!("{}[{index}]", parent.path()),
            Some((parent, Step::Key(key))) if parent.step.is_none() => key.to_owned(),
            Some((parent, Step::Key(key))) => format!("{}.{key}", parent.path()),
        }
    }

    fn expected(&self, expected: &'static str) -> TreeError {
        let path = if self.step.is_none() { "the top".to_owned() } else { self.path() };
        TreeError::Form { file: self.file.to_owned(), path, expected }
    }
}

fn tree(value: &Value, place: &Place<'_>) -> Result<Tree, TreeError> {
    let object = object(value, place)?;
    let or_null = |key: &str| object.get(key).cloned().unwrap_or_default();
    let images = image_paths(object);
    let images = images.map_err(|source| TreeError::Images { file: place.file.to_owned(), source })?;
    Ok(Tree {
        question: field(object, "question", place, string)?,
        answer: field(object, "answer", place, |value, _| Ok(value.clone()))?,
        // Written back as it was read; other names of the field are read too.
        image_path: match object.get("image_path") {
            Some(path) if !path.is_null() || images.is_empty() => path.clone(),
            _ => match &images[..] {
                [] => Value::Null,
                [one] => one.as_str().into(),
                several => several.into(),
            },
        },
        root: state(object, place)?,
        id: or_null("id"),
        continues: match object.get("continue") {
            Some(_) => field(object, "continue", place, continues)?,
            None => Continue::default(),
        },
    })
}

fn child(value: &Value, place: &Place<'_>) -> Result<Node, TreeError> {
    let object = object(value, place)?;
    let partial_solution = field(object, "partial_solution", place, rollout)?;
    Ok(Node { partial_solution, ..state(object, place)? })
}

/// Reads the fields that the root and the other states share.
fn state(object: &Map<String, Value>, place: &Place<'_>) -> Result<Node, TreeError> {
    Ok(Node {
        partial_solution: Rollout::new(),
        mc_value: field(object, "mc_value", place, fraction)?,
        visit_count: field(object, "visit_count", place, count)?,
        correct_rollouts: field(object, "correct_rollouts", place, |value, place| array(value, place, rollout))?,
        incorrect_rollouts: field(object, "incorrect_rollouts", place, |value, place| array(value, place, rollout))?,
        children: field(object, "children", place, |value, place| array(value, place, child))?,
        judged: match object.get("llm_as_a_judge") {
            None | Some(Value::Null) => None,
            Some(_) => Some(field(object, "llm_as_a_judge", place, fraction)?),
        },
    })
}

fn field<T>(
    object: &Map<String, Value>,
    key: &str,
    place: &Place<'_>,
    read: impl FnOnce(&Value, &Place<'_>) -> Result<T, TreeError>,
) -> Result<T, TreeError> {
    let place = place.below(Step::Key(key));
    read(object.get(key).ok_or_else(|| place.expected("this key, found none"))?, &place)
}

fn array<T>(
    value: &Value,
    place: &Place<'_>,
    read: impl Fn(&Value, &Place<'_>) -> Result<T, TreeError>,
) -> Result<Vec<T>, TreeError> {
    let items = value.as_array().ok_or_else(|| place.expected("an array"))?;
    items.iter().enumerate().map(|(index, item)| read(item, &place.below(Step::Index(index)))).collect()
}

fn object<'v>(value: &'v Value, place: &Place<'_>) -> Result<&'v Map<String, Value>, TreeError> {
    value.as_object().ok_or_else(|| place.expected("an object"))
}

fn rollout(value: &Value, place: &Place<'_>) -> Result<Rollout, TreeError> {
    array(value, place, string)
}

fn continues(value: &Value, place: &Place<'_>) -> Result<Continue, TreeError> {
    let known = value.as_str().and_then(|text| text.parse().ok());
    known.ok_or_else(|| place.expected("`user` or `assistant`"))
}

fn string(value: &Value, place: &Place<'_>) -> Result<String, TreeError> {
    value.as_str().map(str::to_owned).ok_or_else(|| place.expected("a string"))
}

fn count(value: &Value, place: &Place<'_>) -> Result<u64, TreeError> {
    value.as_u64().ok_or_else(|| place.expected("a whole number, not negative"))
}

fn fraction(value: &Value, place: &Place<'_>) -> Result<f64, TreeError> {
    let fraction = value.as_f64().filter(|fraction| (0.0..=1.0).contains(fraction));
    fraction.ok_or_else(|| place.expected("a number from 0 to 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(levels: usize) -> Tree {
        let mut root = Node::default();
        for _ in 0..levels {
            root = Node { partial_solution: vec!["a \"step\" \\ [{".into()], children: vec![root], ..Node::default() };
        }
        root.partial_solution.clear();
        root.incorrect_rollouts = vec![vec![], vec!["é".into()]];
        let (question, continues) = ("?".to_owned(), Continue::User);
        Tree { question, answer: json!(2), image_path: Value::Null, id: json!("x"), root, continues }
    }

    #[test]
    fn a_tree_of_maximum_depth_reads_back_as_written() {
        let tree = chain(MAX_DEPTH);
        assert_eq!(parse(to_string(&tree).as_bytes(), "deep.json").unwrap(), tree);
    }

    #[test]
    fn the_continued_turn_is_written_only_where_it_is_not_the_users() {
        let usual = to_string(&chain(1));
        assert!(!usual.contains("continue"));
        let tree = Tree { continues: Continue::Assistant, ..chain(1) };
        let text = to_string(&tree);
        assert!(text.ends_with("\"x\",\n    \"continue\": \"assistant\"\n}"), "{text}");
        assert_eq!(parse(text.as_bytes(), "t.json").unwrap(), tree);
        let error = parse(text.replace("assistant", "both").as_bytes(), "t.json").unwrap_err();
        assert_eq!(error.to_string(), "t.json: at continue: expected `user` or `assistant`");
    }

    #[test]
    fn deeper_nesting_is_refused_before_parsing() {
        let error = parse(to_string(&chain(MAX_DEPTH + 1)).as_bytes(), "deep.json").unwrap_err();
        assert!(matches!(error, TreeError::TooDeep { .. }), "{error}");
        let error = parse(&vec![b'['; 10_000_000], "brackets.json").unwrap_err();
        assert_eq!(
            error.to_string(),
            "brackets.json: expected a tree of at most 256 levels, found deeper nesting at byte 515"
        );
    }

    #[test]
    fn errors_name_the_file_and_the_path_in_it() {
        let good = to_string(&chain(2));
        for (from, to, message) in [
            ("\"mc_value\": 0.0", "\"mc_value\": 1.5", "t.json: at mc_value: expected a number from 0 to 1"),
            ("\"question\"", "\"quest\"", "t.json: at question: expected this key, found none"),
            ("\"é\"", "3", "t.json: at incorrect_rollouts[1][0]: expected a string"),
        ] {
            let error = parse(good.replacen(from, to, 1).as_bytes(), "t.json").unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let nested = good.replace("\"children\": []", "\"children\": {}");
        let error = parse(nested.as_bytes(), "t.json").unwrap_err();
        assert_eq!(error.to_string(), "t.json: at children[0].children[0].children: expected an array");
    }

    #[test]
    fn truncated_and_trailing_text_are_refused() {
        let good = to_string(&chain(1));
        for text in [&good[..good.len() - 5], &format!("{good} x"), ""] {
            assert!(matches!(parse(text.as_bytes(), "t.json"), Err(TreeError::Json { .. })));
        }
        let error = parse(b"[]", "t.json").unwrap_err();
        assert_eq!(error.to_string(), "t.json: at the top: expected an object");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("nowhere/tree.json")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read nowhere/tree.json: "), "{error}");
    }
}

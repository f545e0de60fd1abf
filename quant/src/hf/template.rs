//! The tokens that `tokenizer.json` puts around a text: its template (`TemplateProcessing`).

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::HfError;

const PLACE: &str = "key 'post_processor'";

/// What is put around one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    file: PathBuf,
    before: Vec<u64>,
    after: Vec<u64>,
}

impl Template {
    /// Finds the template of a post-processor; `None` if it has none.
    pub(super) fn read(post_processor: &Value, file: &Path) -> Result<Option<Self>, HfError> {
        let Some(template) = find(post_processor) else { return Ok(None) };
        let invalid = |problem: String| HfError::invalid(file, PLACE, problem);
        let Some(parts) = template["single"].as_array() else {
            return Err(invalid(format!("the template {}, expected a list", template["single"])));
        };
        let mut found = Self { file: file.to_owned(), before: Vec::new(), after: Vec::new() };
        let mut texts = 0;
        for part in parts {
            if part.get("Sequence").is_some() {
                texts += 1;
                continue;
            }
            let name = part["SpecialToken"]["id"].as_str();
            let ids = name.and_then(|name| template["special_tokens"].get(name)?.get("ids")?.as_array());
            let Some(ids) = ids else {
                return Err(invalid(format!("the part {part} of a template, expected a token")));
            };
            let end = if texts == 0 { &mut found.before } else { &mut found.after };
            end.extend(ids.iter().map(|id| id.as_u64().unwrap_or(u64::MAX)));
        }
        if texts == 1 { Ok(Some(found)) } else { Err(invalid(format!("a template with {texts} texts, expected one"))) }
    }

    /// Returns whether a text begins with this token.
    pub(super) fn before(&self, token: Option<u32>) -> Result<bool, HfError> {
        self.only(&self.before, token, "begin with the beginning-of-text token")
    }

    /// Returns whether a text ends with this token.
    pub(super) fn after(&self, token: Option<u32>) -> Result<bool, HfError> {
        self.only(&self.after, token, "end with the end token")
    }

    fn only(&self, found: &[u64], token: Option<u32>, expected: &str) -> Result<bool, HfError> {
        match found {
            [] => Ok(false),
            [id] if token.is_some_and(|token| u64::from(token) == *id) => Ok(true),
            _ => {
                let problem = format!("a template with the tokens {found:?}, expected texts to {expected} or none");
                Err(HfError::invalid(&self.file, PLACE, problem))
            }
        }
    }
}

/// Returns the template in a post-processor or one of its steps.
fn find(post_processor: &Value) -> Option<&Value> {
    if post_processor["type"] == "TemplateProcessing" {
        return Some(post_processor);
    }
    post_processor["processors"].as_array()?.iter().find_map(find)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(single: &Value) -> Value {
        json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing", "single": single,
            "special_tokens": {"<s>": {"id": "<s>", "ids": [7]}, "</s>": {"id": "</s>", "ids": [8]}}}]})
    }

    fn special(name: &str) -> Value {
        json!({"SpecialToken": {"id": name, "type_id": 0}})
    }

    #[test]
    fn tokens_around_a_text_are_found() {
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let read = |single: &Value| Template::read(&template(single), Path::new("t.json")).unwrap().unwrap();
        let both = read(&json!([special("<s>"), text, special("</s>")]));
        assert!(both.before(Some(7)).unwrap() && both.after(Some(8)).unwrap());
        assert!(
            both.before(Some(8)).unwrap_err().to_string().contains("t.json: key 'post_processor': a template with")
        );
        assert!(both.before(None).is_err());
        let bare = read(&json!([text]));
        assert!(!bare.before(Some(7)).unwrap() && !bare.after(None).unwrap());
        assert_eq!(Template::read(&json!({"type": "ByteLevel"}), Path::new("t.json")).unwrap(), None);
        assert_eq!(Template::read(&Value::Null, Path::new("t.json")).unwrap(), None);
    }

    #[test]
    fn templates_that_are_not_understood_are_refused() {
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        for (single, expected) in [
            (json!("$A"), "the template \"$A\", expected a list"),
            (json!([special("<t>"), text]), "expected a token"),
            (json!([text, text]), "a template with 2 texts"),
        ] {
            let error = Template::read(&template(&single), Path::new("t.json")).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

//! The form of a chat completion, independent of its content.

use serde_json::Value;

/// Why a reply cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReplyError {
    /// The model wrote something unexpected, which the same temperature would repeat.
    Content {
        /// What is wrong with it.
        cause: String,
        /// The temperature of the next attempt.
        temperature: f64,
    },
    /// The reply does not have the form of a chat completion.
    Form(String),
    /// The server omits a requested field.
    Missing(&'static str),
}

/// The choices of a chat completion, in the order of their indices; at least one.
pub(crate) fn choices(reply: &Value) -> Result<Vec<&Value>, ReplyError> {
    let choices =
        reply["choices"].as_array().filter(|choices| !choices.is_empty()).ok_or_else(|| {
            let message = reply["error"]["message"].as_str().or(reply["error"].as_str());
            ReplyError::Form(message.map_or("the reply is not a chat completion".to_owned(), |message| {
                format!("it said {:?}", short(message))
            }))
        })?;
    let mut choices: Vec<&Value> = choices.iter().collect();
    choices.sort_by_key(|choice| choice["index"].as_u64());
    Ok(choices)
}

/// The first choice of a chat completion.
pub(crate) fn choice(reply: &Value) -> Result<&Value, ReplyError> {
    choices(reply).map(|choices| choices[0])
}

/// The text of a choice.
pub(crate) fn content(choice: &Value) -> Result<&str, ReplyError> {
    choice["message"]["content"]
        .as_str()
        .ok_or_else(|| ReplyError::Form("the reply has no text (does the model reason first?)".into()))
}

/// The first 200 characters of a text on one line, for messages.
pub(crate) fn short(text: &str) -> String {
    const MAX: usize = 200;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX) {
        None => line,
        Some((at, _)) => format!("{}…", &line[..at]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replies_of_another_form_are_distinguished() {
        for (reply, expected) in [
            (json!({"choices": []}), "not a chat completion"),
            (json!([]), "not a chat completion"),
            (json!({"error": {"message": "out of\nmemory"}}), "it said \"out of memory\""),
            (json!({"choices": [{"message": {"content": null}}]}), "has no text"),
        ] {
            let Err(ReplyError::Form(cause)) = choice(&reply).and_then(content) else { panic!("{reply} was read") };
            assert!(cause.contains(expected), "{cause}");
        }
    }

    #[test]
    fn choices_are_sorted_by_index() {
        let choice = |index: u64| json!({"index": index, "message": {"content": index.to_string()}});
        let reply = json!({"choices": [choice(2), choice(0), choice(1)]});
        assert_eq!(contents(&reply), ["0", "1", "2"]);
        let bare = json!({"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]});
        assert_eq!(contents(&bare), ["a", "b"]);
    }

    fn contents(reply: &Value) -> Vec<&str> {
        choices(reply).unwrap().into_iter().map(|choice| content(choice).unwrap()).collect()
    }
}

//! The form of a chat completion, whatever it says.

use serde_json::Value;

/// Why a reply cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Unread {
    /// The model wrote something else; at the same temperature it would write it again.
    Words {
        /// What it wrote instead.
        cause: String,
        /// The temperature to try next.
        temperature: f64,
    },
    /// The reply is not of the form of a chat completion.
    Form(String),
    /// The endpoint leaves out what was asked for.
    Missing(&'static str),
}

/// The choices of a chat completion, in the order of their indices; at least one.
pub(crate) fn choices(reply: &Value) -> Result<Vec<&Value>, Unread> {
    let choices = reply["choices"].as_array().filter(|choices| !choices.is_empty()).ok_or_else(|| {
        let told = reply["error"]["message"].as_str().or(reply["error"].as_str());
        Unread::Form(
            told.map_or("the reply is no chat completion".to_owned(), |told| format!("it said {:?}", short(told))),
        )
    })?;
    let mut choices: Vec<&Value> = choices.iter().collect();
    choices.sort_by_key(|choice| choice["index"].as_u64());
    Ok(choices)
}

/// The first choice of a chat completion.
pub(crate) fn choice(reply: &Value) -> Result<&Value, Unread> {
    choices(reply).map(|choices| choices[0])
}

/// The words of a choice.
pub(crate) fn words(choice: &Value) -> Result<&str, Unread> {
    choice["message"]["content"]
        .as_str()
        .ok_or_else(|| Unread::Form("the reply has no text (is the model made to think first?)".into()))
}

/// The beginning of a text, for messages.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 200;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        None => line,
        Some((at, _)) => format!("{}…", &line[..at]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replies_of_another_form_are_told_apart() {
        for (reply, expected) in [
            (json!({"choices": []}), "no chat completion"),
            (json!([]), "no chat completion"),
            (json!({"error": {"message": "out of\nmemory"}}), "it said \"out of memory\""),
            (json!({"choices": [{"message": {"content": null}}]}), "has no text"),
        ] {
            let Err(Unread::Form(cause)) = choice(&reply).and_then(words) else { panic!("{reply} was read") };
            assert!(cause.contains(expected), "{cause}");
        }
    }

    #[test]
    fn choices_are_put_in_order() {
        let choice = |index: u64| json!({"index": index, "message": {"content": index.to_string()}});
        let reply = json!({"choices": [choice(2), choice(0), choice(1)]});
        assert_eq!(all_words(&reply), ["0", "1", "2"]);
        let bare = json!({"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]});
        assert_eq!(all_words(&bare), ["a", "b"]);
    }

    fn all_words(reply: &Value) -> Vec<&str> {
        choices(reply).unwrap().into_iter().map(|choice| words(choice).unwrap()).collect()
    }
}

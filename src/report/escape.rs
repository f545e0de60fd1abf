//! Text made safe for the places of a page where it is written.
//!
//! ```
//! use mmprm::report::escape::{html, script_json};
//! assert_eq!(html("a < \"b\" & 'c'"), "a &lt; &quot;b&quot; &amp; &#39;c&#39;");
//! assert_eq!(script_json(&"</script><!--"), r#""\u003c/script\u003e\u003c!--""#);
//! ```

use serde::Serialize;

/// Returns a text for the content of an element or a quoted attribute. Control characters that HTML does not allow become U+FFFD.
pub fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Returns a value as JSON for the content of `<script type="application/json">`, which no text of it can end.
pub fn script_json(value: &impl Serialize) -> String {
    // The values of a report are maps with keys of text, lists, texts and finite numbers.
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    let mut escaped = String::with_capacity(text.len() + text.len() / 16);
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str =
        "</script><script>alert(1)</script><!-- ]]> <img src=x onerror='alert(2)'> \" & \u{2028}\u{2029}\u{0}";

    #[test]
    fn nothing_of_a_text_is_markup() {
        let escaped = html(HOSTILE);
        assert!(!escaped.contains(['<', '>', '"', '\'', '\0']), "{escaped}");
        assert!(escaped.contains("]]&gt;") && escaped.contains('\u{fffd}'));
    }

    #[test]
    fn json_in_a_script_reads_back_and_has_no_markup() {
        let escaped = script_json(&[HOSTILE]);
        assert!(!escaped.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{escaped}");
        let back: Vec<String> = serde_json::from_str(&escaped).unwrap();
        assert_eq!(back, [HOSTILE]);
    }
}

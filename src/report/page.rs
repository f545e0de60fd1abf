//! The page as one HTML file.
//!
//! Scripts and styles run only if they are those of this file: the page's policy names them by their hash. The page loads
//! nothing: images are in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::escape::{html, script_json};
use super::sections::Section;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Puts a page together.
pub fn page(title: &str, lead: &str, before: &[Section], explorer: Option<&Value>, after: &[Section]) -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    let link = |section: &Section| format!("<a href=\"#{}\">{}</a>", html(&section.id), html(&section.short));
    let problems = if explorer.is_some() { "<a href=\"#problems\">Problems</a>" } else { "" };
    let links: String =
        before.iter().map(link).collect::<String>() + problems + &after.iter().map(link).collect::<String>();
    let section = |section: &Section| {
        let (id, heading) = (html(&section.id), html(&section.heading));
        format!(
            "<section id=\"{id}\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{heading}</h2>{}</section>\n",
            section.body
        )
    };
    let sections = |sections: &[Section]| sections.iter().map(section).collect::<String>();
    let (data, shown) = explorer.map_or((String::new(), ""), |value| {
        (format!("<script type=\"application/json\" id=\"data\">{}</script>\n", script_json(value)), EXPLORER)
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to content</a>\n\
         <header><div class=\"bar-top\"><nav aria-label=\"Sections\">{links}</nav>\
         <button type=\"button\" id=\"theme\" aria-label=\"Light or dark\">◐</button></div>\
         <h1>{title}</h1><p class=\"lead\">{lead}</p></header>\n<main id=\"main\">\n{}{shown}{}</main>\n\
         <footer>Made by <code>mmprm report</code> {}. This file loads nothing from elsewhere.</footer>\n{data}\
         <script>{SCRIPT}</script>\n</body>\n</html>\n",
        sections(before),
        sections(after),
        env!("CARGO_PKG_VERSION"),
        title = html(title),
        lead = html(lead),
    )
}

/// The part of the page that its script fills.
const EXPLORER: &str = r#"<section id="problems" aria-labelledby="problems-h"><h2 id="problems-h">Problems</h2>
<form id="filters" role="search" aria-label="Filter problems"></form>
<p id="count" role="status" aria-live="polite"></p>
<div class="explorer"><ul id="list" aria-label="Problems"></ul><article id="detail" tabindex="-1" aria-live="off"></article></div>
<noscript><p class="note">The list of problems needs JavaScript; everything else on this page does not.</p></noscript>
</section>
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_text_ends_its_place() {
        let text = "</script><script>alert(1)</script><!-- ]]> \" '";
        let page = page(text, text, &[], Some(&json!({"t": [text]})), &[]);
        assert_eq!(page.matches("<script").count(), 2, "the data and the script");
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("<!-- ]]>") && page.contains("]]&gt;"));
    }

    #[test]
    fn nothing_is_loaded_and_the_policy_names_the_script() {
        let page = page("t", "l", &[], None, &[]);
        for banned in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(banned), "{banned}");
        }
        for (tag, end) in [("<style>", "</style>"), ("<script>", "</script>")] {
            let text = page.split_once(tag).unwrap().1.split_once(end).unwrap().0;
            assert!(page.contains(&format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))), "{tag}");
        }
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("<!--"));
    }
}

//! The sections of a page that are made of figures; each is plain HTML.
//!
//! Every text from an input is [escaped](super::escape).

pub mod best_of_n;
pub mod configuration;
pub mod evaluations;
pub mod runs;
pub mod steps;

use super::escape::html;

/// A section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its anchor.
    pub id: String,
    /// Its heading, as text.
    pub heading: String,
    /// Its name in the list of sections, as text.
    pub short: String,
    /// What is below the heading, as HTML.
    pub body: String,
}

/// A table with these heads; cells are HTML. Rows have classes.
pub fn table(caption: &str, heads: &[&str], rows: &[(&str, Vec<String>)]) -> String {
    let head = |head: &&str| match *head {
        // A heading without text would be announced.
        "" => "<td></td>".to_owned(),
        head => format!("<th scope=\"col\">{}</th>", html(head)),
    };
    let head: String = heads.iter().map(head).collect();
    let row = |(class, cells): &(&str, Vec<String>)| {
        let cell = |(at, cell): (usize, &String)| {
            if at == 0 { format!("<th scope=\"row\">{cell}</th>") } else { format!("<td>{cell}</td>") }
        };
        let cells: String = cells.iter().enumerate().map(cell).collect();
        format!("<tr class=\"{class}\">{cells}</tr>")
    };
    let body: String = rows.iter().map(row).collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table><caption>{caption}</caption>\
         <thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>",
        caption = html(caption)
    )
}

/// A chart with a caption, which is HTML.
pub fn figure(svg: &str, caption: &str) -> String {
    format!("<figure>{svg}<figcaption>{caption}</figcaption></figure>")
}

/// Figures in a row: what each is, its value, and a remark; all text.
pub fn tiles(tiles: &[(String, String, String)]) -> String {
    let tile = |(name, value, remark): &(String, String, String)| {
        format!(
            "<div class=\"tile\"><dt>{}</dt><dd><b>{}</b><span>{}</span></dd></div>",
            html(name),
            html(value),
            html(remark)
        )
    };
    format!("<dl class=\"tiles\">{}</dl>", tiles.iter().map(tile).collect::<String>())
}

/// A fraction in percent, with one decimal.
pub fn percent(value: f64) -> String {
    format!("{:.1} %", 100.0 * value)
}

/// A count with commas between thousands.
pub fn count(value: usize) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_counts_grouped() {
        assert!(table("<c>", &["<h>"], &[("x", vec!["&lt;".into()])]).contains("&lt;c&gt;"));
        assert!(!tiles(&[("<a>".into(), "<b>".into(), "<i>".into())]).contains("<i>"));
        assert_eq!([count(0), count(999), count(1000), count(1234567)], ["0", "999", "1,000", "1,234,567"]);
    }
}

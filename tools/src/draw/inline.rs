//! Images in terminals that can show them: kitty's graphics protocol and iTerm2's inline images.
//!
//! Which terminal it is, is told by its environment variables; others show the path alone.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mmprm::util::io;

/// Larger files are not sent to a terminal.
const MAX_BYTES: u64 = 4 << 20;
/// Columns of an image.
const COLUMNS: u32 = 24;
/// Maximum length of a part of kitty's protocol.
const PART: usize = 4096;

/// How a terminal shows images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Kitty,
    Iterm,
}

impl Protocol {
    /// The protocol of the terminal with these environment variables.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let is = |name: &str, values: &[&str]| variable(name).is_some_and(|value| values.contains(&value.as_str()));
        if variable("TMUX").is_some() {
            return None;
        }
        if variable("KITTY_WINDOW_ID").is_some() || is("TERM", &["xterm-kitty", "xterm-ghostty"]) {
            return Some(Self::Kitty);
        }
        is("TERM_PROGRAM", &["iTerm.app", "WezTerm", "mintty"]).then_some(Self::Iterm)
    }
}

/// The image as this terminal shows it, on lines of its own; nothing where it shows none, or the file is none that can be sent.
pub fn image(path: &Path) -> String {
    if !console::colors_enabled() {
        return String::new();
    }
    let protocol = Protocol::of(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let bytes = protocol.and_then(|_| io::read(path, MAX_BYTES).ok());
    protocol.zip(bytes).map_or_else(String::new, |(protocol, bytes)| drawn(protocol, &bytes))
}

fn drawn(protocol: Protocol, bytes: &[u8]) -> String {
    let data = STANDARD.encode(bytes);
    match protocol {
        Protocol::Iterm => {
            format!(
                "\u{1b}]1337;File=inline=1;size={};width={COLUMNS};preserveAspectRatio=1:{data}\u{7}\n",
                bytes.len()
            )
        }
        // Its protocol takes PNG files as they are, and others as pixels only.
        Protocol::Kitty if bytes.starts_with(b"\x89PNG") => {
            let parts: Vec<&str> =
                data.as_bytes().chunks(PART).filter_map(|part| std::str::from_utf8(part).ok()).collect();
            let mut text = String::new();
            for (index, part) in parts.iter().enumerate() {
                let first = if index == 0 { format!("a=T,f=100,c={COLUMNS},") } else { String::new() };
                let more = u8::from(index + 1 < parts.len());
                text += &format!("\u{1b}_G{first}m={more};{part}\u{1b}\\");
            }
            text + "\n"
        }
        Protocol::Kitty => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_known_by_their_variables() {
        let of = |own: &[(&str, &str)]| {
            Protocol::of(|name| own.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(of(&[("TERM", "xterm-kitty")]), Some(Protocol::Kitty));
        assert_eq!(of(&[("TERM_PROGRAM", "WezTerm"), ("TERM", "xterm-256color")]), Some(Protocol::Iterm));
        assert_eq!(of(&[("TERM", "xterm-256color")]), None);
        assert_eq!(of(&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/x")]), None);
    }

    #[test]
    fn an_image_is_sent_in_parts_whose_last_one_says_so() {
        let png = [b"\x89PNG".as_slice(), &[7; 5000]].concat();
        let drawn_by_kitty = drawn(Protocol::Kitty, &png);
        let parts: Vec<&str> = drawn_by_kitty.split("\u{1b}\\").collect();
        assert!(
            parts[0].starts_with("\u{1b}_Ga=T,f=100,c=24,m=1;") && parts[1].starts_with("\u{1b}_Gm=0;"),
            "{parts:?}"
        );
        let data: String = parts[..2].iter().map(|part| part.split_once(';').unwrap().1).collect();
        assert_eq!(STANDARD.decode(data).unwrap(), png);
        assert_eq!(drawn(Protocol::Kitty, b"\xff\xd8jpeg"), "");
        assert!(
            drawn(Protocol::Iterm, b"\xff\xd8jpeg").contains(";size=6;")
                && drawn(Protocol::Iterm, b"x").ends_with("eA==\u{7}\n")
        );
    }
}

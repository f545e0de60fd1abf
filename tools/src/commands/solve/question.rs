//! A question and the images that it is about, as given on the command line or in a line of text.

use std::io::{IsTerminal, Read};
use std::path::Path;

use mmprm::data::Problem;

use crate::exit::{BadInput, Usage};

/// Maximum size of a question on standard input in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Ends of the names of images.
const ENDINGS: [&str; 9] = ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "pnm"];

/// A question with its images, absolute paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub text: String,
    pub images: Vec<String>,
}

impl Question {
    /// The question of the command line: every argument that names a file is an image, the other one is the question. Without
    /// one, or with `-`, it is read from standard input.
    pub fn read(inputs: &[String]) -> anyhow::Result<Self> {
        let (mut images, mut questions) = (Vec::new(), Vec::new());
        for input in inputs {
            if Path::new(input).is_file() {
                images.push(absolute(input)?);
            } else if names_image(input) {
                return Err(BadInput(format!("{input}: found no such image")).into());
            } else {
                questions.push(input.as_str());
            }
        }
        let text = match questions[..] {
            [] | ["-"] => standard_input()?,
            [question] => question.to_owned(),
            [first, second, ..] => {
                let message =
                    format!("expected one question, found {first:?} and {second:?}; put quotes around a question");
                return Err(Usage(message).into());
            }
        };
        let text = text.trim().to_owned();
        if text.is_empty() {
            return Err(Usage("expected a question, found an empty one".into()).into());
        }
        Ok(Self { text, images })
    }

    /// The question of a line of a session: the words of it that name image files are its images; without any, `earlier` are.
    pub fn of_line(line: &str, earlier: &[String]) -> anyhow::Result<Self> {
        let (mut images, mut words) = (Vec::new(), Vec::new());
        for word in line.split_whitespace() {
            if !names_image(word) {
                words.push(word);
            } else if Path::new(word).is_file() {
                images.push(absolute(word)?);
            } else {
                return Err(BadInput(format!("{word}: found no such image")).into());
            }
        }
        let images = if images.is_empty() { earlier.to_vec() } else { images };
        Ok(Self { text: words.join(" "), images })
    }

    /// As a problem without a known answer.
    pub fn problem(&self) -> Problem {
        self.images.iter().fold(Problem::new(&*self.text), Problem::image)
    }
}

/// Whether a word looks like the path of an image.
fn names_image(word: &str) -> bool {
    let ending = Path::new(word).extension().and_then(|ending| ending.to_str());
    !word.contains(char::is_whitespace)
        && ending.is_some_and(|own| ENDINGS.iter().any(|known| own.eq_ignore_ascii_case(known)))
}

fn absolute(path: &str) -> anyhow::Result<String> {
    let absolute = std::path::absolute(path).map_err(|error| BadInput(format!("{path}: {error}")))?;
    Ok(absolute.into_os_string().into_string().map_err(|_| BadInput(format!("{path}: expected a path in Unicode")))?)
}

fn standard_input() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        return Err(Usage("expected a question, such as: mmprm solve figure.png \"How long is AB?\"".into()).into());
    }
    let mut text = String::new();
    let read = std::io::stdin().take(MAX_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| BadInput(format!("standard input: {error}")))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(BadInput(format!("standard input: expected a question of at most {MAX_BYTES} bytes")).into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_question_come_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("a b.PNG");
        std::fs::write(&image, "").unwrap();
        let image = image.to_str().unwrap().to_owned();
        for inputs in [[image.clone(), "How long?".to_owned()], ["How long?".to_owned(), image.clone()]] {
            let question = Question::read(&inputs).unwrap();
            assert_eq!(question, Question { text: "How long?".into(), images: vec![image.clone()] });
            assert_eq!(question.problem().images, question.images);
        }
        let error = |inputs: &[&str]| {
            Question::read(&inputs.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()).unwrap_err().to_string()
        };
        assert_eq!(error(&["no.png", "q"]), "no.png: found no such image");
        assert!(error(&["How", "long?"]).contains("put quotes around"));
        assert!(error(&[" "]).contains("an empty one"));
    }

    #[test]
    fn a_line_without_images_is_about_the_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("x.jpeg");
        std::fs::write(&image, "").unwrap();
        let image = image.to_str().unwrap();
        let earlier = ["/old.png".to_owned()];
        assert_eq!(Question::of_line("How long is it?", &earlier).unwrap().images, earlier);
        let question = Question::of_line(&format!("{image} How  long?"), &earlier).unwrap();
        assert_eq!((question.text.as_str(), question.images), ("How long?", vec![image.to_owned()]));
        assert!(Question::of_line("gone.png How long?", &earlier).is_err());
        assert_eq!(Question::of_line("Is 3.5 more than v1.2?", &[]).unwrap().images.len(), 0);
    }
}

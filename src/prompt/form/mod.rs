//! PRM forms: how a process reward model reads solutions, as data.
//!
//! A form is a TOML record: the text that the model reads, the place in it where a step's score is read, and how it is read there.
//! [`PrmForm::BUILT_IN`] lists those of published models, one file each in `src/prompt/form/builtin`, with their source.
//! `docs/prm-forms.md` has a table of them, and how to write another one. A model's GGUF file names its form in its metadata
//! (`mmprm.prm.form`).
//!
//! ```
//! use mmprm::prompt::PrmForm;
//! let form = PrmForm::parse(r#"
//! name = "mine"
//! [text]
//! begin = "Q: {question}\n"
//! step = "{step} <check>{read}\n"
//! [score]
//! by = "tokens"
//! tokens = ["good", "fair", "bad"]
//! positive = ["good", "fair"]
//! "#).unwrap();
//! let steps = ["1 + 1 = 2.".to_owned(), "So it is 2.".to_owned()];
//! let text = form.layout("1 + 1?", &steps, 0, true).unwrap();
//! assert_eq!(text.render(&[]), "Q: 1 + 1?\n1 + 1 = 2. <check>\nSo it is 2. <check>\n");
//! assert_eq!(text.reads().len(), 2);
//! assert!(PrmForm::built_in("visualprm").is_some());
//! ```

mod builtin;
mod error;
mod layout;
mod record;
mod score;
mod template;

#[cfg(test)]
mod tests;

pub(crate) use builtin::built_in;
pub use error::FormError;
pub use layout::Layout;
pub use record::PrmForm;
pub use score::{Activation, ReadOut};

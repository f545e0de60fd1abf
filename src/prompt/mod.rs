//! The exact prompts of MM-PRM: policy rollouts, PRM scoring and training, and [judge]
//! questions.
//!
//! | prompt | function | for |
//! |---|---|---|
//! | rollout | [`rollout`], [`ChatTemplate::rollout`] | MM-Policy (InternVL2.5's chat template), or another policy in its own template |
//! | PRM | [`PrmForm::layout`] | any PRM, by its form |
//! | PRM, [`PrmTemplate::Scoring`] | [`prm`] | the released MM-PRM, from its own text |
//! | PRM, [`PrmTemplate::Training`] | [`prm`] | training samples of `mmprm train` |
//! | judge | [`judge::answer`], [`judge::steps`] | any instruct model that compares answers or checks steps |
//!
//! A prompt is a list of [`Piece`]s: text and image positions. Special tokens are written out in
//! the template's text and recognised there; in a question, a step or an answer they are text, so
//! that none can end a turn or forge a step token ([`Run`]). The tokeniser adds the
//! beginning-of-sequence token where the vocabulary has one. The engine replaces an image by `<img>`, its embeddings and `</img>`;
//! [`render`] writes it with context tokens, as MM-PRM does.
//!
//! Images take the `<image>` placeholders of a text from left to right. MM-PRM shows only as many
//! images as there are placeholders (one where there is none) and drops the others;
//! [`Images::All`], the default, shows every image.
//!
//! # Adding a PRM form
//! A form is data: a TOML record ([`PrmForm`]). `docs/prm-forms.md` says how to write one; a built-in one is a file in
//! `prompt/form/builtin` and a line in `prompt/form/builtin.rs`.
//!
//! ```
//! use mmprm::prompt::{Images, PrmTemplate, prm, prm_text, render};
//! let text = prm_text("1 + 1?", &["1 + 1 = 2", "Answer: 2"], PrmTemplate::Scoring);
//! assert_eq!(text, "Question: 1 + 1?\nProcess: 1 + 1 = 2<prm>Answer: 2<prm>");
//! let prompt = render(&prm(&text, 1, PrmTemplate::Scoring, Images::All), &[2]);
//! assert!(prompt.ends_with(&format!("assistant\n<img><IMG_CONTEXT><IMG_CONTEXT></img>\n{text}<|im_end|>\n")));
//! ```

mod chat;
mod form;
pub mod judge;
mod pieces;
mod places;
mod prm;
mod run;

pub use chat::{ChatTemplate, TemplateError, rollout, rollout_user, tagged_steps};
pub use form::{Activation, FormError, Layout, PrmForm, ReadOut};
pub use pieces::{IMAGE_PLACEHOLDER, Images, Piece, render};
pub(crate) use places::{PlaceError, tokens_before};
pub(crate) use prm::{PROCESS, prm_continuation, prm_with, split_prm_text};
pub use prm::{PrmTemplate, STEP_TOKEN, UnknownTemplate, prm, prm_of, prm_text};
pub use run::{Fragment, Run, Special};

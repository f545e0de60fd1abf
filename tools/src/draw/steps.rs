//! The steps of a solution, each with its score as a number and a bar.

use mmprm::prm::form;

use super::pen::{Grade, Pen};

/// Columns of a bar.
const BAR: usize = 8;
/// Columns before the text of a step: a bar, a number and the space around them.
const TEXT: usize = 2 + BAR + 1 + 5 + 2;

/// What a full and an empty bar stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// 0 to 1.
    #[default]
    Linear,
    /// 0.001 to 1, logarithmically: for an implicit PRM, where a right step that can be worded in five ways has a score of 0.2.
    Logarithmic,
}

impl Scale {
    /// The scale for the scores of a PRM of this [recorded](form::recorded) form.
    pub fn of_form(recorded: &str) -> Self {
        if form::is_logprob(recorded) { Self::Logarithmic } else { Self::Linear }
    }

    /// The filled part of a score's bar, 0 to 1.
    fn filled(self, score: f64) -> f64 {
        let filled = match self {
            Self::Linear => score,
            Self::Logarithmic => 1.0 + score.log10() / 3.0,
        };
        if filled.is_nan() { 0.0 } else { filled.clamp(0.0, 1.0) }
    }

    /// Thirds of the bar.
    pub fn grade(self, score: f64) -> Grade {
        match self.filled(score) {
            filled if filled >= 2.0 / 3.0 => Grade::Good,
            filled if filled >= 1.0 / 3.0 => Grade::Fair,
            _ => Grade::Poor,
        }
    }

    /// A bar of fixed width.
    fn bar(self, score: f64) -> String {
        let eighths = (self.filled(score) * (BAR * 8) as f64).round() as usize;
        let mut bar = "█".repeat(eighths / 8);
        bar.extend(['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8).wrapping_sub(1)));
        let empty = BAR - eighths.div_ceil(8);
        bar + &" ".repeat(empty)
    }
}

/// A score with three digits, more where these would be zeros.
pub fn number(score: f64) -> String {
    if score != 0.0 && score.abs() < 0.0005 { format!("{score:.0e}") } else { format!("{score:.3}") }
}

/// One line a step: bar, score and text, with a mark before the first wrong step where it is known.
pub fn draw(steps: &[String], scores: Option<&[f64]>, first_wrong: Option<usize>, scale: Scale, pen: Pen) -> String {
    let mut lines = String::new();
    for (index, step) in steps.iter().enumerate() {
        let mark = if first_wrong == Some(index) { "✗ " } else { "  " };
        let score = match scores.and_then(|scores| scores.get(index)) {
            Some(&score) => pen.graded(scale.grade(score), &format!("{} {:>5}", scale.bar(score), number(score))),
            None => " ".repeat(BAR) + "     -",
        };
        lines += &format!("{}{score}  {}\n", pen.graded(Grade::Poor, mark), pen.wrapped(step, TEXT));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_one_width_and_end_at_the_ends_of_the_scale() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            for score in [0.0, 1e-300, 0.001, 0.02, 0.5, 0.99, 1.0, f64::NAN] {
                assert_eq!(scale.bar(score).chars().count(), BAR, "{score}");
            }
            assert_eq!((scale.bar(1.0), scale.bar(0.0)), ("█".repeat(BAR), " ".repeat(BAR)));
        }
        assert_eq!(Scale::Linear.bar(0.5), "████    ");
        assert_eq!((Scale::Logarithmic.grade(0.2), Scale::Linear.grade(0.2)), (Grade::Good, Grade::Poor));
        assert_eq!((number(0.25), number(0.000012), number(0.0)), ("0.250".into(), "1e-5".into(), "0.000".into()));
    }

    #[test]
    fn a_step_has_its_score_and_the_first_wrong_one_its_mark() {
        let steps = ["a".to_owned(), "b".to_owned(), "c\u{7}".to_owned()];
        let drawn = draw(&steps, Some(&[1.0, 0.0]), Some(1), Scale::Linear, Pen::plain(None));
        assert_eq!(drawn, "  ████████ 1.000  a\n✗          0.000  b\n               -  c\\u{7}\n");
    }
}

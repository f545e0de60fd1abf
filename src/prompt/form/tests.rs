//! The built-in forms against the texts that their projects make, and refusals.

use proptest::prelude::*;

use super::*;
use crate::prompt::{Images, Piece, PrmTemplate, prm_of, render, rollout};

fn steps(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| (*step).to_owned()).collect()
}

/// The text with `¶` at each place where a score is read, `…` where a critique is written, and `|` at each cut.
fn shown(name: &str, question: &str, candidate: &[&str], images: usize) -> String {
    let form = PrmForm::built_in(name).unwrap();
    let layout = form.layout(question, &steps(candidate), images, true).unwrap();
    let mut text = if layout.bos { "[bos]".to_owned() } else { String::new() };
    for index in 0..=layout.pieces.len() {
        text.push_str(&"…".repeat(layout.critiques.iter().filter(|critique| **critique == index).count()));
        text.push_str(&"¶".repeat(layout.reads.iter().filter(|read| **read == index).count()));
        text.push_str(&"|".repeat(layout.cuts.iter().filter(|cut| **cut == index).count()));
        if let Some(piece) = layout.pieces.get(index) {
            text.push_str(&render(std::slice::from_ref(piece), &[1, 1]));
        }
    }
    text
}

/// A file's literal text, without its system message.
fn after_system<'a>(text: &'a str, end: &str) -> &'a str {
    text.split_once(end).unwrap().1
}

#[test]
fn mm_prms_forms_make_the_bytes_of_mm_prms_own_code() {
    for template in PrmTemplate::ALL {
        for images in [0, 1, 3] {
            for question in ["1 + 1?", "see <image>", "<image> and <image> <prm>"] {
                for candidate in [&["a"][..], &["one <prm>", "", "three <image>"], &[]] {
                    let expected = prm_of(question, &steps(candidate), images, template, Images::All);
                    let layout = template.form().layout(question, &steps(candidate), images, true).unwrap();
                    assert_eq!(layout.render(&[2, 1, 1]), render(&expected, &[2, 1, 1]));
                    let plain = |pieces: &[Piece]| -> String {
                        pieces
                            .iter()
                            .filter_map(|piece| if let Piece::Plain(text) = piece { Some(&text[..]) } else { None })
                            .collect()
                    };
                    assert_eq!(plain(&layout.pieces), plain(&expected));
                    assert_eq!(layout.reads.len(), candidate.len());
                }
            }
        }
    }
    assert_eq!(
        after_system(&shown("internvl2_5-scoring", "q", &["a", "b"], 1), "<|im_end|>\n"),
        "<|im_start|>user\n<|im_start|>assistant\n<img><IMG_CONTEXT></img>\nQuestion: q\nProcess: a<prm>¶b<prm>¶<|im_end|>\n"
    );
}

/// `get_conv_template('internvl2_5').get_prompt()` with a `+` for each answer; the score is read at the last token of
/// `<|im_start|>assistant\n` (`find_placeholder_idx`).
#[test]
fn visualprm_has_one_step_a_turn_and_the_image_in_the_question() {
    let text = shown("visualprm", "How long is AC?", &["AB is 3.", "So 5."], 1);
    assert!(text.starts_with("<|im_start|>system\nYou are an advanced AI assistant, designed to serve as a process"));
    assert!(text.contains("in the given solution process.<|im_end|>\n<|im_start|>user\n### Question:\n"));
    assert_eq!(
        after_system(&text, "solution process.<|im_end|>\n"),
        "<|im_start|>user\n### Question:\n<img><IMG_CONTEXT></img>\nHow long is AC?\n\n### Solution Process:\nAB is 3.<|im_end|>\n\
         <|im_start|>assistant\n¶+<|im_end|>\n<|im_start|>user\nSo 5.<|im_end|>\n<|im_start|>assistant\n¶+<|im_end|>\n"
    );
    let with_places = shown("visualprm", "see <image> and <image>", &["a"], 2);
    assert!(with_places.contains("Question:\nsee <img><IMG_CONTEXT></img> and <img><IMG_CONTEXT></img>\n\n###"));
}

/// Qwen2.5-VL's chat template writes images and texts of a message one after another, without line breaks.
#[test]
fn qwen_vl_prm_has_the_image_in_front_and_a_blank_line_after_each_step() {
    let text = shown("qwen-vl-prm", "q", &["a", "b"], 1);
    assert!(text.contains("first solution step.  \nSubsequent rounds: one new step per round.\n\nAssess"));
    assert_eq!(
        after_system(&text, "all subsequent steps.<|im_end|>\n"),
        "<|im_start|>user\n<img><IMG_CONTEXT></img>### Question:\nq\n\n### Solution Process:\na\n\n<|im_end|>\n\
         <|im_start|>assistant\n¶+<|im_end|>\n<|im_start|>user\nb\n\n<|im_end|>\n<|im_start|>assistant\n¶+<|im_end|>\n"
    );
}

/// The example of Qwen2.5-Math-PRM-7B's model card, shortened.
#[test]
fn qwen_math_prm_ends_each_step_in_its_mark() {
    assert_eq!(
        shown("qwen2.5-math-prm", "How many?", &["To find out, add.", "The answer is \\boxed{5}."], 0),
        "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n\
         <|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\nTo find out, add.<extra_0>¶The answer is \
         \\boxed{5}.<extra_0>¶<|im_end|>\n"
    );
}

/// `prepare_input`: the beginning-of-sequence token, the problem and a line break; each step by itself; a line break.
#[test]
fn skywork_and_trl_tokenise_steps_by_themselves() {
    assert_eq!(shown("skywork-o1-prm", "q", &["a", "b"], 0), "[bos]q\n|a|\n¶|b|\n¶");
    assert_eq!(shown("trl", "q", &["a", "b"], 0), "q|a|\n¶|b|\n¶");
}

/// `f"{question} {output}"` with `output = "… ки\n… ки"`.
#[test]
fn math_shepherd_and_math_psa_have_a_mark_of_plain_text() {
    assert_eq!(shown("math-shepherd", "q", &["Step 1: a", "Step 2: b"], 0), "q Step 1: a ки¶\nStep 2: b ки¶");
    assert_eq!(shown("math-psa", "q", &["Step 1: a", "Step 2: b"], 0), "q Step 1: a \n\n\n\n\n¶ Step 2: b \n\n\n\n\n¶");
}

/// Llama 3.1's chat template with user and assistant messages; the score is read three tokens before the end:
/// `\n\n`, `+`, `<|eot_id|>`.
#[test]
fn rlhflow_has_one_step_a_turn_after_the_question() {
    assert_eq!(
        shown("rlhflow-llama3.1", "q", &[" a\n", "b"], 0),
        "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nq a<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n¶+<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nb<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n¶+<|eot_id|>"
    );
    // The template trims messages, which begin with the question.
    assert_eq!(shown("rlhflow-llama3.1", "\n q\n", &["a "], 0), shown("rlhflow-llama3.1", "q\n", &["a"], 0));
}

#[test]
fn the_implicit_form_is_a_rollout() {
    for (question, images) in [("q", 0), ("q", 2), ("see <image>", 1)] {
        let form = PrmForm::built_in("implicit").unwrap();
        let layout = form.layout(question, &steps(&["a", "b"]), images, true).unwrap();
        let prompt = render(&rollout(question, &[], images, Images::All), &[1, 1]);
        assert_eq!(layout.render(&[1, 1]), format!("{prompt}<step>a</step><answer>b</answer><|im_end|>"));
        let layout = form.layout(question, &steps(&["a", "b"]), images, false).unwrap();
        assert_eq!(layout.render(&[1, 1]), format!("{prompt}<step>a</step><step>b</step>"));
    }
}

#[test]
fn every_built_in_form_names_itself_and_its_source() {
    for name in PrmForm::BUILT_IN {
        let form = PrmForm::built_in(name).unwrap();
        assert_eq!((form.name(), form.to_string().parse::<PrmForm>().unwrap()), (name, form.clone()));
        assert!(form.source().is_some_and(|source| source.contains('/')), "{name}");
        assert_eq!(PrmForm::parse(form.record()).unwrap(), form);
    }
    let error = "nonsense".parse::<PrmForm>().unwrap_err().to_string();
    assert!(error.contains("`nonsense`") && error.contains("visualprm"), "{error}");
}

#[test]
fn another_system_message_is_part_of_the_record() {
    let form = PrmForm::built_in("visualprm").unwrap().with_system("Be {step} strict.");
    assert_eq!(PrmForm::parse(form.record()).unwrap().layout("q", &["a"], 0, true), form.layout("q", &["a"], 0, true));
    assert!(form.layout("q", &["a"], 0, true).unwrap().render(&[]).contains("system\nBe {step} strict.<|im_end|>"));
    let form = PrmForm::built_in("math-shepherd").unwrap();
    assert_eq!(form.with_system("other"), form, "it has no place for one");
}

/// `GenPRM.inference` without `verify`: what its demo prints, in turns of the model's chat template.
#[test]
fn genprm_analyses_each_paragraph_in_a_turn_that_stays() {
    assert_eq!(
        shown("genprm", "How many?", &["Add.", "So 5."], 0),
        "[bos]You are a math teacher. Your task is to review and critique the paragraphs in solution step by step.<｜User｜>Question: \
         How many?\n\nAdd.<｜Assistant｜><analyze>\nLet's analyze the Paragraph 1 step by step: …</analyze>\n<output>\n**Judgement**: \
         $\\boxed{¶}$\n</output>\n<｜end▁of▁sentence｜><｜User｜>So 5.<｜Assistant｜><analyze>\nLet's analyze the Paragraph 2 step by \
         step: …</analyze>\n<output>\n**Judgement**: $\\boxed{¶}$\n</output>\n<｜end▁of▁sentence｜>"
    );
    let form = PrmForm::built_in("genprm").unwrap();
    assert!(form.writes_critiques() && form.repeats_verdict() && !form.reads_at_end());
    assert_eq!(form.stops(2), ["</analyze>"]);
}

/// `format_verification_cot_for_thinkprm`, with steps numbered as `process_example` does for searches.
#[test]
fn thinkprm_verifies_the_steps_up_to_the_scored_one() {
    assert_eq!(
        shown("thinkprm", "How many?", &["Add. ", "So 5."], 0),
        "[bos]<｜User｜>You are given a math problem and a proposed step-by-step solution:\n\n[Math Problem]\n\nHow many?\n\n\
         [Solution]\n\nStep 1: Add.\nStep 2: So 5.\n\nReview and critique each step in the proposed solution to determine whether \
         each step is correct. If the solution is incomplete, only verify the provided steps.<｜Assistant｜><think>\nLet's verify step \
         by step:…\nIs the solution correct?¶"
    );
    let form = PrmForm::built_in("thinkprm").unwrap();
    assert!(form.writes_critiques() && !form.repeats_verdict() && form.reads_at_end());
    assert_eq!(form.stops(2), ["Is the solution correct?", "</think>", "Step 3:"]);
}

#[test]
fn a_judge_is_asked_after_it_has_examined_the_last_step() {
    let text = shown("judge", "see <image>", &["Add.", "So 5."], 2);
    let after = after_system(&text, "step by step.<|im_end|>\n");
    assert!(after.starts_with(
        "<|im_start|>user\n<img><IMG_CONTEXT></img>\nProblem: see <img><IMG_CONTEXT></img>\n\nSolution so far:\nStep 1: Add.\n\
         Step 2: So 5.\n\nExamine step 2: "
    ));
    assert!(after.ends_with(
        "solution.<|im_end|>\n<|im_start|>assistant\n…<|im_end|>\n<|im_start|>user\nIs step 2 correct (Yes/No)?<|im_end|>\n\
         <|im_start|>assistant\n¶"
    ));
    assert!(PrmForm::built_in("judge").unwrap().summary().ends_with("after a critique of at most 512 tokens"));
}

fn record(changes: &[(&str, &str)]) -> String {
    let mut record =
        "name = \"mine\"\n[text]\nbegin = \"{question}\\n\"\nstep = \"{step}<m>{read}\"\n[score]\nby = \"tokens\"\n\
                      tokens = [\"+\", \"-\"]\npositive = [\"+\"]\n"
            .to_owned();
    for (from, to) in changes {
        assert!(record.contains(from), "{from}");
        record = record.replace(from, to);
    }
    record
}

#[test]
fn a_record_with_a_fault_is_refused_by_its_name() {
    assert!(PrmForm::parse(&record(&[])).is_ok());
    for (from, to, parts) in [
        ("name = \"mine\"", "", &["missing field `name`"][..]),
        ("\"mine\"", "\"my form\"", &["`name`", "my form"]),
        ("{step}", "", &["`text.step`", "{step} occurs 0 times", "once"]),
        ("{step}", "{step}{step}", &["{step} occurs 2 times"]),
        ("{step}<m>{read}", "{read}{step}", &["`text.step`", "{read} is before {step}"]),
        ("{read}", "", &["`text.step`", "{read} occurs 0 times", "text.end"]),
        ("{question}", "", &["`text.begin`", "{question} occurs 0 times"]),
        ("{question}", "{question}{read}", &["`text.begin`", "unknown placeholder {read}", "{question}"]),
        ("{step}", "{stpe}", &["unknown placeholder {stpe}", "{step} or {read}"]),
        ("[score]", "between = \"{step}\"\n[score]", &["`text.between`", "{step}", "none"]),
        ("[score]", "end = \"{read}\"\n[score]", &["`text.step`", "{read}", "text.end has it"]),
        ("[score]", "image = \"\"\n[score]", &["`text.image`", "{image} occurs 0 times"]),
        ("[score]", "system = \"s\"\n[score]", &["`text.system`", "{system}"]),
        ("[score]", "marks = [\"<n>\"]\n[score]", &["`text.marks`", "\"<n>\""]),
        ("[score]", "separator = \"x\"\n[score]", &["unknown field `separator`"]),
        ("[\"+\", \"-\"]", "[\"+\"]", &["`score.tokens`", "found 1", "2 to 64"]),
        ("[\"+\", \"-\"]", "[\"+\", \"+\"]", &["`score.tokens`", "\"+\" occurs twice"]),
        ("[\"+\", \"-\"]", "[\"+\", \"\"]", &["`score.tokens`", "empty"]),
        ("positive = [\"+\"]", "positive = [\"yes\"]", &["`score.positive`", "\"yes\""]),
        ("positive = [\"+\"]", "positive = []", &["`score.positive`", "0 of 2"]),
        ("positive = [\"+\"]", "positive = [\"+\", \"-\"]", &["`score.positive`", "2 of 2"]),
        ("positive = [\"+\"]", "", &["`score.positive`", "missing"]),
        ("positive = [\"+\"]", "positive = [\"+\"]\noutput = 1", &["`score.output`", "by = \"head\""]),
        ("\"tokens\"", "\"head\"", &["`score.tokens`", "by = \"tokens\""]),
        ("\"tokens\"", "\"logits\"", &["unknown variant `logits`"]),
    ] {
        let error = PrmForm::parse(&record(&[(from, to)])).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)) && !error.contains('\n'), "{from} → {to}: {error}");
    }
    let head = "by = \"head\"\nactivation = \"sigmoid\"\n";
    let tokens = "by = \"tokens\"\ntokens = [\"+\", \"-\"]\npositive = [\"+\"]\n";
    let error = PrmForm::parse(&record(&[(tokens, head)])).unwrap_err().to_string();
    assert!(error.contains("`score.output`: missing"), "{error}");
    let error = PrmForm::parse(&record(&[(tokens, "by = \"logprob\"\n")])).unwrap_err().to_string();
    assert!(error.contains("{read} occurs 1 times, expected never"), "{error}");
    let apart = [(tokens, "by = \"logprob\"\n"), ("{read}", ""), ("[score]", "apart = true\n[score]")];
    let error = PrmForm::parse(&record(&apart)).unwrap_err().to_string();
    assert!(error.contains("`text.apart`"), "{error}");
    let ratio = |score: &str| PrmForm::parse(&record(&[(tokens, score), ("{read}", "")]));
    let whole = "by = \"logprob-ratio\"\nbeta = 0.05\ncumulative = false\n";
    assert!(ratio(whole).is_ok_and(|form| form.is_implicit() && form.has_reference()));
    for (from, to, parts) in [
        ("beta = 0.05\n", "", &["`score.beta`: missing", "logprob-ratio"][..]),
        ("cumulative = false\n", "", &["`score.cumulative`: missing"]),
        ("0.05", "0.0", &["`score.beta`", "found 0", "more than 0"]),
        ("0.05", "nan", &["`score.beta`", "found NaN"]),
        ("0.05", "-1.0", &["`score.beta`", "found -1"]),
        ("0.05", "101.0", &["`score.beta`", "at most 100"]),
        ("0.05", "\"much\"", &["line"]),
        ("false", "0", &["line"]),
        ("logprob-ratio", "logprob", &["`score.beta`", "by = \"logprob-ratio\""]),
        ("logprob-ratio", "logprob_ratio", &["unknown variant `logprob_ratio`", "`logprob-ratio`"]),
    ] {
        let error = ratio(&whole.replace(from, to)).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)) && !error.contains('\n'), "{from} → {to}: {error}");
    }
    let error = PrmForm::parse(&record(&[(tokens, whole)])).unwrap_err().to_string();
    assert!(error.contains("{read} occurs 1 times, expected never"), "{error}");
    let trained = PrmForm::log_ratio(0.25);
    assert_eq!(*trained.read_out(), ReadOut::LogRatio { beta: 0.25, cumulative: true });
    let text = |form: &PrmForm| form.layout("q", &["a"], 1, true).unwrap().render(&[1]);
    assert_eq!(text(&trained), text(&PrmForm::built_in("implicit").unwrap()));
    let long = format!("{}# {}", record(&[]), "x".repeat(64 << 10));
    assert!(PrmForm::parse(&long).unwrap_err().to_string().contains("at most 65536"));
}

#[test]
fn a_record_with_critiques_has_a_place_for_each_before_its_score() {
    let with = |changes: &[(&str, &str)]| {
        let score =
            ("positive = [\"+\"]\n", "positive = [\"+\"]\nmax_tokens = 9\nstop = [\"\\n\", \"Step {next}:\"]\n");
        let own = [("\"tokens\"", "\"critique\""), ("{step}<m>{read}", "{step}: {critique} so {read}{verdict}"), score];
        PrmForm::parse(&record(&[&own, changes].concat()))
    };
    let form = with(&[]).unwrap();
    assert_eq!((form.stops(1), form.repeats_verdict()), (vec!["\n".to_owned(), "Step 2:".to_owned()], true));
    let layout = form.layout("q", &["a", "b"], 0, true).unwrap();
    assert_eq!(layout.render(&[]), "q\na:  so b:  so ");
    assert_eq!((layout.critiques.len(), layout.reads.len()), (2, 2));
    assert!(layout.critiques.iter().zip(&layout.reads).all(|(critique, read)| critique < read));
    assert!(with(&[("stop = [\"\\n\", \"Step {next}:\"]\n", "")]).unwrap().stops(1).is_empty());
    let at_end = ("{step}: {critique} so {read}{verdict}", "{step} {number}\"\nend = \"{number}: {critique} so {read}");
    assert_eq!(with(&[at_end]).unwrap().layout("q", &["a", "b"], 0, true).unwrap().render(&[]), "q\na 1b 22:  so ");
    let tokens = [("by = \"critique\"", "by = \"tokens\""), ("max_tokens = 9\n", "")];
    let no_stop = ("stop = [\"\\n\", \"Step {next}:\"]\n", "");
    for (changes, parts) in [
        (&[("{critique}", "")][..], &["`text.step`: {critique} occurs 0 times, expected once, before {read}"][..]),
        (&[("{critique}", "{critique} {critique}")], &["`text.step`: {critique} occurs 2 times"]),
        (&[("{step}: {critique}", "{critique}: {step}")], &["`text.step`", "{critique} is before {step}"]),
        (&[("{critique} so {read}{verdict}", "{read}{verdict} so {critique}")], &["{read} is before {critique}"]),
        (&[("{critique} so {read}", "{critique}{read}")], &["{read} is directly after {critique}"]),
        (&[("{read}{verdict}", "{read} {verdict}")], &["{verdict} is not directly after {read}"]),
        (&[("{read}{verdict}", "{verdict}{read}")], &["{verdict} is not directly after {read}"]),
        (&[("{verdict}", "{verdict}{verdict}")], &["{verdict} occurs 2 times", "at most once"]),
        (&[("[score]", "answer = \"{step} {critique}.{read}\"\n[score]")], &["`text.answer`", "only one of"]),
        (
            &[("[score]", "answer = \"{step}{read}{verdict}\"\n[score]")],
            &["`text.answer`", "{critique} occurs 0 times"],
        ),
        (&[("[score]", "end = \"{critique}\"\n[score]")], &["`text.end`", "{read} is elsewhere"]),
        (&[at_end, ("{step} {number}", "{step} {critique}")], &["`text.step`", "{critique}", "{read} is elsewhere"]),
        (&[at_end, ("{step} {number}", "{step} {verdict}")], &["`text.step`", "{verdict}", "{read} is elsewhere"]),
        (&[at_end, ("so {read}", "so {read}{verdict}")], &["`text.end`", "unknown placeholder {verdict}"]),
        (&[("[score]", "between = \"{number}\"\n[score]")], &["`text.between`", "unknown placeholder {number}"]),
        (&[("[score]", "apart = true\n[score]")], &["`text.apart`", "critiques"]),
        (&[("max_tokens = 9\n", "")], &["`score.max_tokens`: missing", "by = \"critique\""]),
        (&[("= 9", "= 0")], &["`score.max_tokens`", "found 0", "1 to 65536"]),
        (&[("= 9", "= 65537")], &["`score.max_tokens`", "found 65537"]),
        (&[("= 9", "= -9")], &["line"]),
        (&[("\"Step {next}:\"", "\"\"")], &["`score.stop`", "empty"]),
        (&[("\"Step {next}:\"", "\"\\n\"")], &["`score.stop`", "occurs twice"]),
        (&[("{next}", "{nxt}")], &["`score.stop`", "unknown placeholder {nxt}", "{number} or {next}"]),
        (&[tokens[0]], &["`score.max_tokens`", "belongs to `by = \"critique\"`"]),
        (&tokens, &["`score.stop`", "belongs to `by = \"critique\"`"]),
        (&[tokens[0], tokens[1], no_stop], &["unknown placeholder {critique}", "{step} or {read}"]),
        (&[("positive = [\"+\"]\n", "")], &["`score.positive`: missing", "by = \"critique\""]),
        (&[("max_tokens = 9\n", "max_tokens = 9\noutput = 1\n")], &["`score.output`", "by = \"head\""]),
        (&[("max_tokens = 9\n", "max_tokens = 9\ntemperature = 1\n")], &["unknown field `temperature`"]),
    ] {
        let error = with(changes).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)) && !error.contains('\n'), "{changes:?}: {error}");
    }
    let many: Vec<String> = (0..17).map(|stop| format!("\"{stop}\"")).collect();
    let error = with(&[("\"\\n\", \"Step {next}:\"", &many.join(", "))]).unwrap_err().to_string();
    assert!(error.contains("`score.stop`: found 17 texts, expected at most 16"), "{error}");
}

#[test]
fn files_may_have_other_words_for_mm_prms() {
    let form = PrmTemplate::Training.form();
    assert_eq!((form.mark_read(), form.tokens()), (Some("<prm>"), &["Yes".to_owned(), "No".to_owned()][..]));
    let form = form.with_words(&[("<prm>", "{step}"), ("Yes", "good")]).unwrap();
    assert_eq!((form.mark_read(), form.tokens()), (Some("{step}"), &["good".to_owned(), "No".to_owned()][..]));
    assert!(form.layout("q", &["a"], 0, true).unwrap().render(&[]).ends_with("Process: a{step}<|im_end|>\n"));
    assert!(form.with_words(&[("good", "No")]).is_err());
    let marks = PrmForm::BUILT_IN.map(|name| PrmForm::built_in(name).unwrap().mark_read().map(str::to_owned));
    assert_eq!(marks.iter().flatten().collect::<Vec<_>>(), ["<prm>", "<prm>", "<extra_0>", " ки", " \n\n\n\n\n"]);
}

#[test]
fn braces_that_are_no_placeholders_are_text() {
    let form = PrmForm::parse(&record(&[("<m>", "{} \\\\boxed{2x} {{step} {Word} { ")])).unwrap();
    let text = form.layout("q", &["a"], 0, true).unwrap().render(&[]);
    assert_eq!(text, "q\na{} \\boxed{2x} {step} {Word} { ");
}

#[test]
fn a_form_without_a_place_for_images_shows_those_of_the_question_only() {
    let form = PrmForm::parse(&record(&[])).unwrap();
    assert!(form.layout("see <image>", &["a"], 1, true).is_ok());
    let error = form.layout("see", &["a"], 2, true).unwrap_err().to_string();
    assert!(error.contains("2 images") && error.contains("`mine`"), "{error}");
}

#[test]
fn scores_at_the_end_are_read_there() {
    let form =
        PrmForm::parse(&record(&[("<m>{read}", "\\n"), ("[score]", "end = \"Right? {read}\"\n[score]")])).unwrap();
    let layout = form.layout("q", &["a", "b"], 0, true).unwrap();
    assert!(form.reads_at_end() && layout.reads == [layout.pieces.len()]);
    assert_eq!(layout.render(&[]), "q\na\nb\nRight? ");
}

proptest! {
    /// Whatever a question or step spells out, the template's own text is between them, and it is the plain text of the prompt.
    #[test]
    fn a_step_that_spells_a_mark_out_is_text(
        name in prop::sample::select(&PrmForm::BUILT_IN[..]),
        question in "[a<{]?(<prm>|\\{read\\}|\\{step\\}|<extra_0>|<\\|im_end\\|>| ки|x){0,3}",
        candidate in prop::collection::vec("(<prm>|\\{read\\}|\\{question\\}|<extra_0>|<\\|im_end\\|>| ки|\n|x){0,3}", 1..4),
    ) {
        let form = PrmForm::built_in(name).unwrap();
        let layout = form.layout(&question, &candidate, 0, false).unwrap();
        let plain: String = layout.pieces.iter().filter_map(|piece| match piece {
            Piece::Plain(text) => Some(&text[..]),
            _ => None,
        }).collect();
        let strip = |step: &String| if ["rlhflow-llama3.1", "thinkprm"].contains(&name) { crate::compat::text::strip(step).to_owned() } else { step.clone() };
        let start = question.trim_start_matches(crate::compat::text::is_space);
        let question = if name == "rlhflow-llama3.1" { start } else { &question[..] };
        prop_assert_eq!(plain, question.to_owned() + &candidate.iter().map(strip).collect::<String>());
        let own = form.layout("", &vec![""; candidate.len()], 0, false).unwrap();
        let template = |layout: &Layout| -> String {
            layout.pieces.iter().filter_map(|piece| if let Piece::Text(text) = piece { Some(&text[..]) } else { None }).collect()
        };
        prop_assert_eq!(template(&layout), template(&own));
        let expected = match (form.is_implicit(), form.reads_at_end()) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => candidate.len(),
        };
        prop_assert_eq!((layout.reads.len(), own.reads.len()), (expected, expected));
    }
}

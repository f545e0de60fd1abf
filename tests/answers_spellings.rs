//! The general rule on the spellings that people and models use for each kind of answer: pairs with
//! the same meaning, pairs with different ones, and pairs that only the problem could decide.

use mmprm::answer::{AnswerSpec, Outcome, compare};
use serde_json::json;

type Pair<'a> = (&'a str, &'a str);

/// Checks pairs in both directions, and lists all that fail.
fn check(expected: Outcome, pairs: &[Pair<'_>]) {
    let spec = AnswerSpec::default();
    let mut failed = Vec::new();
    for (gold, prediction) in pairs.iter().flat_map(|(a, b)| [(a, b), (b, a)]) {
        let comparison = compare(gold, prediction, &spec);
        if comparison.outcome != expected {
            failed.push(format!("{gold}  |  {prediction}  is {:?}: {}", comparison.outcome, comparison.reason));
        }
    }
    assert!(failed.is_empty(), "expected {expected:?}:\n{}", failed.join("\n"));
}

fn same(pairs: &[Pair<'_>]) {
    check(Outcome::Equal, pairs);
}

fn unlike(pairs: &[Pair<'_>]) {
    check(Outcome::Different, pairs);
}

fn open(pairs: &[Pair<'_>]) {
    check(Outcome::Undecided, pairs);
}

/// Pairs each spelling with the first one.
fn spellings(expected: Outcome, all: &[&str]) {
    let pairs: Vec<Pair<'_>> = all[1..].iter().map(|other| (all[0], *other)).collect();
    check(expected, &pairs);
}

#[test]
fn times_are_not_ratios() {
    same(&[
        ("9:30", "09:30"),
        ("9:30", r"9{:}30"),
        ("12:00", "12:00:00"),
        ("9:05", "9:05 "),
        ("8:40 a.m.", "8:40 AM"),
        ("8:40 am", "8:40AM"),
        ("8:40 pm", r"8{:}40\text{ p.m.}"),
        ("3:00 PM", "15:00"),
        ("3 PM", "3:00 PM"),
        ("3 p.m.", "15:00"),
        ("12:00 AM", "0:00"),
        ("12:30 PM", "12:30 pm"),
        ("12 noon", "12:00 PM"),
        ("noon", "12:00 PM"),
        ("8 o'clock", "8:00"),
        ("8:00 o'clock", "8:00"),
        ("9:10, 9:40", "09:10, 09:40"),
        ("1:2:3", "2:4:6"),
        ("4:10", "2:5"),
        ("1:2", "10:20"),
        ("8时40分", "8:40"),
        ("上午8:40", "8:40 AM"),
        ("下午3:05", "15:05"),
    ]);
    unlike(&[
        ("12:00", "1:00"),
        ("1:05", "2:10"),
        ("2:00", "4:00"),
        ("$12:00$", "$11:00$"),
        ("12:00:00", "1:00:00"),
        ("01:30", "02:60"),
        ("9:05", "9:06"),
        ("9:30 AM", "9:30 PM"),
        ("9:30 AM", "9:31 AM"),
        ("3:00 PM", "3:00 AM"),
        ("3:00 PM", "13:00"),
        ("3:15 PM", "4:15 PM"),
        ("1:05, 2:00", "2:10, 2:00"),
        ("noon", "midnight"),
        ("8 o'clock", "9 o'clock"),
    ]);
    open(&[("3:00 PM", "3:00"), ("2:30", "14:30"), ("3:10", "6:20"), ("12:00", "12")]);
}

#[test]
fn roots_of_products_and_quotients_split_where_they_are_real() {
    same(&[
        (r"\sqrt{ab}", r"\sqrt{a}\sqrt{b}"),
        (r"\sqrt{ab}", r"\sqrt{a}\cdot\sqrt{b}"),
        (r"\sqrt{xyz}", r"\sqrt{x}\sqrt{y}\sqrt{z}"),
        (r"\sqrt{1/n}", r"\frac{1}{\sqrt{n}}"),
        (r"\sqrt{\frac{1}{n}}", r"n^{-1/2}"),
        (r"\sqrt{\frac{x}{y}}", r"\frac{\sqrt{x}}{\sqrt{y}}"),
        (r"\sqrt{\frac{2h}{g}}", r"\frac{\sqrt{2gh}}{g}"),
        (r"\sqrt{\frac{2h}{g}}", r"\frac{\sqrt{2h}}{\sqrt{g}}"),
        (r"2\pi\sqrt{\frac{l}{g}}", r"\frac{2\pi\sqrt{l}}{\sqrt{g}}"),
        (r"2\pi\sqrt{\frac{m}{k}}", r"2\pi\frac{\sqrt{mk}}{k}"),
        (r"(xy)^{1/2}", r"x^{1/2}y^{1/2}"),
        (r"(xy)^{0.5}", r"\sqrt{x}\sqrt{y}"),
        (r"(xy)^{\frac{3}{2}}", r"xy\sqrt{xy}"),
        (r"\sqrt{8ab}", r"2\sqrt{2}\sqrt{a}\sqrt{b}"),
        (r"\sqrt[4]{ab}", r"\sqrt[4]{a}\sqrt[4]{b}"),
        (r"\sqrt[3]{ab}", r"\sqrt[3]{a}\sqrt[3]{b}"),
        (r"\sqrt{x}\sqrt{x}", "x"),
        (r"\sqrt{\frac{a+b}{c}}", r"\frac{\sqrt{c(a+b)}}{c}"),
        (r"\sqrt{(x-1)(x+1)}", r"\sqrt{x-1}\sqrt{x+1}"),
        (r"\sqrt{x^2}", "|x|"),
        (r"\sqrt{x^4}", "x^2"),
        (r"\sqrt{GM/r^3}", r"\frac{1}{r}\sqrt{\frac{GM}{r}}"),
        (r"\sqrt{-x}\sqrt{-y}", r"\sqrt{xy}"),
    ]);
    unlike(&[
        (r"\sqrt{x^2}", "x"),
        (r"\sqrt{(x-1)^2}", "x-1"),
        (r"\sqrt{x^2y}", r"x\sqrt{y}"),
        (r"\sqrt{-x}", r"\sqrt{x}"),
        (r"\sqrt{a+b}", r"\sqrt{a}+\sqrt{b}"),
        (r"\sqrt{ab}", r"\sqrt{a}+\sqrt{b}"),
        (r"\sqrt{ab}", r"a\sqrt{b}"),
        (r"\sqrt{\frac{x}{y}}", r"\frac{\sqrt{y}}{\sqrt{x}}"),
        (r"\sqrt{\frac{2h}{g}}", r"\frac{\sqrt{2gh}}{h}"),
        (r"\sqrt[3]{ab}", r"\sqrt{a}\sqrt{b}"),
        (r"\sqrt{4ab}", r"4\sqrt{a}\sqrt{b}"),
    ]);
}

#[test]
fn joined_conditions_are_the_set_that_they_describe() {
    spellings(
        Outcome::Equal,
        &[
            "$[2,5)$",
            r"$x \ge 2$ and $x < 5$",
            r"x\geq2 \text{ and } x<5",
            "x≥2且x<5",
            "x≥2 ∧ x<5",
            r"x < 5 \land x \geqslant 2",
            r"2\le x<5",
            r"5 > x \ge 2",
            r"\{x \mid x\ge 2 \text{ and } x<5\}",
            r"\{x : 2 \le x, x < 5\}",
            "x >= 2 and x < 5",
            "x≥2, x<5",
            r"[2,\infty) \cap (-\infty,5)",
        ],
    );
    spellings(
        Outcome::Equal,
        &[
            r"[1,2)\cup(2,+\infty)",
            r"x \geq 1 \text{ and } x \neq 2",
            "x≥1且x≠2",
            "x >= 1, x != 2",
            r"\{x \mid x \geq 1 \text{ and } x \neq 2\}",
            r"\{x | x \geq 1, x \neq 2\}",
            r"[1,\infty)\setminus\{2\}",
            r"1\le x<2 \text{ or } x>2",
            r"x\ge 1 (x\ne 2)",
        ],
    );
    spellings(
        Outcome::Equal,
        &[
            r"x \neq \pm 1",
            r"(-\infty,-1)\cup(-1,1)\cup(1,\infty)",
            r"x\ne 1 \text{ and } x\ne -1",
            "x≠1且x≠-1",
            r"x \neq 1, x \neq -1",
            r"x\neq 1, -1",
            r"\mathbb{R}\setminus\{-1,1\}",
            r"\{x\in\mathbb{R} \mid x\ne \pm1\}",
            "all real numbers except -1 and 1",
            "|x| ≠ 1",
        ],
    );
    same(&[
        (r"x\neq 3", r"(-\infty,3)\cup(3,\infty)"),
        (r"\mathbb{R}\setminus\{3\}", r"x\ne3"),
        (r"\mathbb{R}-\{3\}", r"x\ne3"),
        (r"x\in\mathbb{R}, x\neq 3", r"(-\infty,3)\cup(3,\infty)"),
        ("all real numbers except 3", r"x \neq 3"),
        ("|x|<3", "(-3,3)"),
        (r"|x|\le 3", r"-3\le x\le 3"),
        (r"|x|>3", r"x<-3 \text{ or } x>3"),
        (r"|x|\ge 3", r"(-\infty,-3]\cup[3,\infty)"),
        (r"|x-1|<2", "(-1,3)"),
        (r"|2x-1|\le 5", "[-2,3]"),
        (r"0<|x-1|<2", r"(-1,1)\cup(1,3)"),
        (r"1<|z|<2", r"(-2,-1)\cup(1,2)"),
        (r"3>|x|", "(-3,3)"),
        ("2x>4", r"(2,\infty)"),
        ("-x<3", r"(-3,\infty)"),
        (r"[1,2]\cup[2,3]", "[1,3]"),
        (r"(1,3)\cup(2,4)", "(1,4)"),
        (r"x>1 \text{ and } x>2", "x>2"),
        (r"x>3 \text{ and } x<1", r"\emptyset"),
        ("m<2且m≠1", r"(-\infty,1)\cup(1,2)"),
        (r"a>0 \text{ and } a\ne1", r"(0,1)\cup(1,+\infty)"),
        (r"k\le 2, k\ne 0", r"(-\infty,0)\cup(0,2]"),
    ]);
    unlike(&[
        ("m<2 且 m≠1", "m<2"),
        (r"x\ge2 \text{ and } x<5", "(2,5)"),
        (r"x\ge2 \text{ and } x<5", "[2,5]"),
        (r"x\ge2 \text{ or } x<5", "[2,5)"),
        (r"x\neq \pm1", r"x\neq 1"),
        (r"x\neq 1", r"(1,\infty)"),
        ("|x|<3", "(0,3)"),
        ("|x|>3", "(-3,3)"),
        (r"|x|\le 3", "(-3,3)"),
        (r"x<1 \text{ or } x>2", "(1,2)"),
        (r"\mathbb{R}\setminus\{3\}", r"x\ne 2"),
        (r"x>1 \text{ and } x\ne2", r"(1,2)\cup(3,\infty)"),
    ]);
    open(&[(r"x\neq 1", r"y\neq 1")]);
}

#[test]
fn an_equation_that_ends_in_a_value_gives_it() {
    same(&[
        ("293", "m+n=293"),
        ("293", "m+n = 256+37 = 293"),
        ("293", "Answer: m+n = 256+37 = 293"),
        ("293", "$m+n=256+37=293$."),
        ("293", r"So $m+n = 256+37 = \boxed{293}$"),
        ("293", "Therefore, the answer is $m + n = 293$."),
        ("12", "a+b=12"),
        ("12", "12=a+b"),
        (r"120^\circ", "∠A+∠B=120°"),
        ("120", r"\angle A+\angle B=120^\circ"),
        ("10", "AB + BC = 4 + 6 = 10"),
        ("3", "AB - BC = 3"),
        ("62", "p+q+r=62"),
        ("17", "a-b+c=17"),
        ("24", "abc = 24"),
        ("25", "a^2+b^2=25"),
        (r"\frac{1}{3}", r"\frac{a}{b}=\frac13"),
        ("5", r"\sqrt{a^2+b^2}=5"),
        ("7", "100m+n = 7"),
        ("31 cm", "AB+BC+CA = 31 cm"),
        ("1/2", r"\sin A \cos B = \frac12"),
        ("14", "x_1+x_2=14"),
    ]);
    unlike(&[
        ("62", "a+b+c = 12+25+25 = 61"),
        ("293", "m+n=294"),
        (r"120^\circ", "∠A+∠B=60°"),
        ("10", "AB + BC = 4 + 7 = 11"),
        ("a+b=12", "a+b=13"),
        ("256", "m+n=256+37=293"),
    ]);
    let spec = AnswerSpec::default();
    for (gold, prediction, expected) in [
        ("12", "x+y=12", Outcome::Equal),
        ("x+y=12", "12", Outcome::Different),
        ("x^2+y^2=25", "25", Outcome::Different),
        ("3", "2x=6", Outcome::Undecided),
        ("6", "2x=6", Outcome::Undecided),
        ("4", "x^2=16", Outcome::Undecided),
        ("5", "x^2=16", Outcome::Different),
    ] {
        assert_eq!(compare(gold, prediction, &spec).outcome, expected, "{gold} and {prediction}");
    }
}

#[test]
fn ordinals_have_their_number() {
    spellings(
        Outcome::Equal,
        &[
            "12",
            "12th",
            r"12^{\text{th}}",
            r"12^{th}",
            r"12^\text{th}",
            r"12\text{th}",
            r"12^{\mathrm{th}}",
            r"12^{\textrm{th}}",
            r"$12$th",
            r"$12^{\text{th}}$",
            "12-th",
            "the 12th",
            "twelfth",
            "the twelfth",
            "12ᵗʰ",
            r"12\textsuperscript{th}",
        ],
    );
    same(&[
        ("2", "2nd"),
        ("2", r"2^{nd}"),
        ("3rd", r"3^{\text{rd}}"),
        ("third", "3rd"),
        ("1", "1st"),
        ("first", "1"),
        ("21", "21st"),
        ("22nd", "22"),
        ("23", r"23^{\text{rd}}"),
        ("111th", "111"),
        ("twenty-first", "21st"),
        ("1,000th", "1000"),
        ("12th day", "12"),
        ("第12", "12"),
        ("3/5", "3/5ths"),
    ]);
    unlike(&[("12th", "13th"), ("2", "3rd"), (r"2^{nd}", "3"), ("third", "4"), ("first", "second"), ("20", "twelfth")]);
}

#[test]
fn a_letter_and_a_value_are_undecided_without_options() {
    open(&[
        ("B", r"$\sqrt{3}$"),
        ("(B)", "18"),
        ("B", "18 cm"),
        ("C", "x+1"),
        ("A", r"\frac{1}{2}"),
        ("D", "(1,2)"),
        ("E", "x > 2"),
        ("B.", "-5"),
        (r"\textbf{(B)}", "7"),
        ("AC", "3"),
        ("B", "2, 3"),
    ]);
    same(&[
        ("18", "(B) 18"),
        ("18", "B. 18"),
        ("18", "B) 18"),
        (r"\frac{1}{2}", r"(C) $\frac12$"),
        ("B", "(B) 18"),
        ("B", "B. 18"),
        ("B", r"\textbf{(B)}\ 18"),
        (r"$\sqrt{3}$", r"\textbf{(A)}~\sqrt{3}"),
    ]);
    unlike(&[("B", "C"), ("(B)", "(C) 18"), ("17", "(B) 18"), ("B", "D. 18"), ("x", "3")]);
}

#[test]
fn a_letter_is_looked_up_in_the_options_of_the_question() {
    for question in [
        "What is it? (A) 12 (B) 18 (C) 24 (D) 30",
        "What is it?\nA. 12\nB. 18\nC. 24\nD. 30",
        "What is it?\nA: 12\nB: 18\nC: 24",
        "What is it? A) 12 B) 18 C) 24",
        "What is it?\nChoices:\n(A) 12\n(B) 18\n(C) 24",
        r"What is it? $\textbf{(A)}\ 12 \qquad \textbf{(B)}\ 18 \qquad \textbf{(C)}\ 24$",
        r"What is it? $\mathrm{(A)}\ 12\qquad\mathrm{(B)}\ 18\qquad\mathrm{(C)}\ 24$",
        "它是多少？（A）12（B）18（C）24",
        "它是多少？A．12 B．18 C．24",
    ] {
        let record = json!({"question": question});
        let spec = AnswerSpec::from_record(record.as_object().unwrap());
        assert_eq!(spec.choices[..3], ["12", "18", "24"], "{question}");
        for (gold, prediction, expected) in [
            ("B", "18", Outcome::Equal),
            ("18", "B", Outcome::Equal),
            ("(B)", "The answer is 18.", Outcome::Equal),
            ("B", "24", Outcome::Different),
            ("18", "(C)", Outcome::Different),
        ] {
            assert_eq!(compare(gold, prediction, &spec).outcome, expected, "{question}: {gold} and {prediction}");
        }
    }
    for question in [
        "In the triangle ABC (A) is right.",
        "(B) 3 (C) 4",
        "A. Smith has 3 apples. B. Jones has 4.",
        "Points A, B, C.",
        "A 5 B 6",
    ] {
        let record = json!({"question": question});
        assert!(AnswerSpec::from_record(record.as_object().unwrap()).choices.is_empty(), "{question}");
    }
}

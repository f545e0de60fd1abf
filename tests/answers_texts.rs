//! The general rule on answers inside texts: announced in many languages, in several boxes, with
//! quotation marks and remarks; and on ranges, equations and huge numbers in any spelling.

use std::time::Instant;

use mmprm::answer::{AnswerSpec, Outcome, compare};

type Pair<'a> = (&'a str, &'a str);

/// Checks pairs (in both directions if `both`), and lists all that fail.
fn check(expected: Outcome, both: bool, pairs: &[Pair<'_>]) {
    let spec = AnswerSpec::default();
    let mut failed = Vec::new();
    for (gold, prediction) in
        pairs.iter().flat_map(|(a, b)| [(a, b, true), (b, a, both)]).filter(|case| case.2).map(|case| (case.0, case.1))
    {
        let comparison = compare(gold, prediction, &spec);
        if comparison.outcome != expected {
            failed.push(format!("{gold}  |  {prediction}  is {:?}: {}", comparison.outcome, comparison.reason));
        }
    }
    assert!(failed.is_empty(), "expected {expected:?}:\n{}", failed.join("\n"));
}

fn same(pairs: &[Pair<'_>]) {
    check(Outcome::Equal, true, pairs);
}

fn unlike(pairs: &[Pair<'_>]) {
    check(Outcome::Different, true, pairs);
}

/// Checks that each prediction gives the expected answer.
fn gives(gold: &str, predictions: &[&str]) {
    let pairs: Vec<Pair<'_>> = predictions.iter().map(|prediction| (gold, *prediction)).collect();
    check(Outcome::Equal, false, &pairs);
}

#[test]
fn a_range_is_the_same_in_any_spelling() {
    for (interval, others) in [
        (
            "[-2,7]",
            &[
                r"-2 \le x \le 7",
                r"x \in [-2,7]",
                r"-2 \leq x \leq 7",
                "-2 ≤ x ≤ 7",
                "-2 <= x <= 7",
                r"7 \ge x \ge -2",
                r"x\ge -2, x\le 7",
                r"x \ge -2 \text{ and } x \le 7",
                r"\left[-2, 7\right]",
                "[-2; 7]",
                r"\{x \in \mathbb{R} \mid -2 \le x \le 7\}",
                r"\{x : -2\le x\le 7\}",
                r"-2\leqslant f(x)\leqslant 7",
                r"f(x) \in [-2,7]",
                r"-2\le y\le 7",
                "x∈[-2,7]",
                r"x\text{ is in }[-2,7]",
                "$-2 \\le x$ and $x \\le 7$",
                "from -2 to 7, inclusive",
                "between -2 and 7 inclusive",
            ][..],
        ),
        (
            "(0,1)",
            &[
                "0<f(x)<1",
                "0 < y < 1",
                "1>x>0",
                "f(x) \\in (0,1)",
                r"0 \lt x \lt 1",
                r"\{y \mid 0<y<1\}",
                "]0,1[",
                r"\left]0,1\right[",
                "0<g(x), g(x)<1",
                "(0;1)",
                r"0<\theta<1",
                r"0<a_1<1",
            ],
        ),
        (
            r"[2,\infty)",
            &[
                r"x\ge 2",
                "x>=2",
                r"2\le x",
                "x ⩾ 2",
                "[2,+∞)",
                "[2, infinity)",
                "[2, inf)",
                "[2, oo)",
                r"x\geqslant 2",
                r"f(x)\ge 2",
                r"2\le x<\infty",
                r"[2,\infty[",
                r"\{x|x\ge 2\}",
                "x 大于等于 2",
                "x is at least 2",
                "x is greater than or equal to 2",
            ],
        ),
        (
            r"(-\infty,-1]\cup[3,\infty)",
            &[
                r"x\le -1 \text{ or } x\ge 3",
                r"x \in (-\infty,-1]\cup[3,\infty)",
                "x≤-1或x≥3",
                r"x\geq 3\text{ or }x\leq -1",
                r"\{x\mid x\le-1 \lor x\ge 3\}",
                "(-inf, -1] U [3, inf)",
                "(-∞,-1]∪[3,+∞)",
                r"x\le -1, x\ge 3",
                r"f(x)\le -1 \text{ or } f(x)\ge 3",
            ],
        ),
    ] {
        let pairs: Vec<Pair<'_>> = others.iter().map(|other| (interval, *other)).collect();
        same(&pairs);
    }
    unlike(&[
        ("[-2,7]", r"-2 < x \le 7"),
        ("[-2,7]", r"x\in[-2,7)"),
        ("(0,1)", r"0\le f(x)<1"),
        ("(0,1)", r"0<f(x)<2"),
        (r"[2,\infty)", "x>2"),
        (r"[2,\infty)", r"x\le 2"),
        ("]0,1[", "[0,1]"),
    ]);
}

#[test]
fn equations_with_different_solutions_differ() {
    unlike(&[
        ("x^2+y^2=4", "x^2+y^2=5"),
        ("x^2+y^2=4", "x^2-y^2=4"),
        ("(x-1)^2+(y-2)^2=9", "(x-1)^2+(y+2)^2=9"),
        ("y^2=4x", "x^2=4y"),
        ("y^2=4x", "y^2=8x"),
        (r"\frac{x^2}{4}+\frac{y^2}{3}=1", r"\frac{x^2}{3}+\frac{y^2}{4}=1"),
        (r"\frac{x^2}{4}-\frac{y^2}{5}=1", r"\frac{y^2}{5}-\frac{x^2}{4}=1"),
        ("xy=2", "xy=3"),
        ("xy=2", "y=2x"),
        ("x^2+y^2+z^2=1", "x^2+y^2-z^2=1"),
        (r"r = 2\cos\theta", r"r=2\sin\theta"),
        ("x^2+3x+2=0", "x^2+3x-2=0"),
        ("a^2+b^2=c^2", "a^2+b^2=2c^2"),
        ("y^2=x^3", "y^3=x^2"),
        ("x^2=4y^2", "x=2y"),
    ]);
    same(&[
        ("y=2/x", "xy=2"),
        ("xy=2", "x=2/y"),
        (r"\frac{y-3}{x-1}=2", "y=2x+1"),
        (r"\frac{x}{2}=\frac{y}{3}", "3x=2y"),
        ("(x-2)^2+(y+1)^2=9", "x^2+y^2-4x+2y-4=0"),
        (r"\sqrt{x^2+y^2}=2", "x^2+y^2=4"),
        (r"\ln y = x", "y=e^x"),
        ("x^2-4y^2=0", "(x-2y)(x+2y)=0"),
        ("y^2=4x", r"x=\frac{y^2}{4}"),
        (r"\frac{1}{x}+\frac{1}{y}=1", "x+y=xy"),
    ]);
}

#[test]
fn huge_numbers_are_compared_exactly_or_by_their_logarithms() {
    let start = Instant::now();
    unlike(&[
        (r"$\frac{1}{2004!}$", r"$\frac{1}{2006!}$"),
        ("200!", "201!"),
        ("2006!", "2004!"),
        ("1000!+1", "1000!"),
        (r"2^{5000}", r"2^{5001}"),
        (r"2^{5000}", r"3^{5000}"),
        (r"\frac{3^{1008}-1}{3^{1009}}", r"\frac13"),
        (r"\frac{3^{1008}-1}{3^{1009}}", r"\frac14"),
        (r"\frac{3^{1008}-1}{3^{1009}}", "0"),
        (r"\binom{2000}{1000}", r"\binom{2000}{999}"),
        (r"\binom{2000}{1000}", r"2^{2000}"),
        ("10^{10^{10}}", "10^{10^{9}}"),
        ("100000000!", "100000001!"),
        (r"\frac{2005!}{2004!}", "2004"),
        (r"7^{7^7}", r"7^{7^6}"),
        (r"2^{-3000}", "0"),
        (r"2^{-3000}", r"2^{-3001}"),
        (r"\sqrt{3000!}", r"\sqrt{3001!}"),
        (r"\frac{2023!}{2^{2023}}", r"\frac{2023!}{2^{2022}}"),
        (r"4^{2015}+2\cdot 3^{2014}", "4"),
    ]);
    same(&[
        (r"\frac{1}{2006!}", r"\frac{1}{2006\cdot 2005\cdot 2004!}"),
        (r"\frac{2006!}{2004!}", r"2006\cdot 2005"),
        (r"\frac{2006!}{2004!}", "4022030"),
        (r"2^{5000}", r"4^{2500}"),
        (r"\frac{3^{1008}-1}{3^{1009}}", r"\frac13-\frac{1}{3^{1009}}"),
        (r"\binom{2000}{1000}", r"\frac{2000!}{1000!\cdot 1000!}"),
        (r"\binom{2000}{1}", "2000"),
        (r"2^{2000}\cdot 5^{2000}", r"10^{2000}"),
        ("201!", r"201\cdot 200!"),
    ]);
    assert!(cfg!(debug_assertions) || start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
}

#[test]
fn words_are_the_same_in_any_typeface_and_in_quotation_marks() {
    gives(
        "odd",
        &[
            r"\text{odd}",
            r"\textbf{odd}",
            r"\mathrm{odd}",
            r"$\text{odd}$",
            r"\text{ odd }",
            r"\text{Odd}",
            r"\textit{odd}",
            r"\operatorname{odd}",
            r"\textsf{odd}",
            r"\emph{odd}",
            "\"odd\"",
            "'odd'",
            "“odd”",
            "‘odd’",
            "`odd`",
            "``odd''",
            "«odd»",
            "„odd“",
            "**odd**",
            "*odd*",
            "_odd_",
            "Odd.",
            "\"odd\".",
            "\"odd\". I hope it is correct.",
            r"\boxed{\text{odd}}",
            r"\boxed{\textbf{odd}}",
        ],
    );
    gives("12", &["\"12\"", "'12'", "“12”", "«12»", "`12`", "\"12\".", r#"The answer is "12"."#, "``12''"]);
    unlike(&[("odd", r"\text{even}"), ("odd", "\"even\""), ("12", "\"13\"")]);
}

#[test]
fn boxes_beside_each_other_are_a_list() {
    gives(
        "3, 4",
        &[
            r"\boxed{3} \boxed{4}",
            r"\boxed{3}\quad\boxed{4}",
            r"\boxed{3}\,\boxed{4}",
            r"\boxed{3}, \boxed{4}",
            r"\boxed{3}; \boxed{4}",
            r"\boxed{3} \text{ and } \boxed{4}",
            r"$\boxed{3}$ $\boxed{4}$",
            r"$\boxed{3}$, $\boxed{4}$",
            r"$\boxed{3}$ and $\boxed{4}$",
            r"$\boxed{3},\quad\boxed{4}$",
            r"$\boxed{3}\;\text{or}\;\boxed{4}$",
            r"\[\boxed{3} \qquad \boxed{4}\]",
            r"\(\boxed{3}\) \(\boxed{4}\)",
            r"\(\boxed{3}\), \(\boxed{4}\)",
            "\\boxed{3}\n\\boxed{4}",
            r"\boxed{3} \\ \boxed{4}",
            r"\boxed{3} ~ \boxed{4}",
            r"\boxed{3} / \boxed{4}",
            r"\boxed{3} & \boxed{4}",
            r"The solutions are $\boxed{3}$ and $\boxed{4}$.",
            r"$\boxed{3}$ und $\boxed{4}$",
            r"$\boxed{3}$ et $\boxed{4}$",
            r"$\boxed{3}$ y $\boxed{4}$",
            r"$\boxed{3}$和$\boxed{4}$",
            r"$\boxed{3}$、$\boxed{4}$",
            r"$\boxed{3}$，$\boxed{4}$",
        ],
    );
    gives("1, 2, 3", &[r"\boxed{1}\boxed{2}\boxed{3}", r"\boxed{1}, \boxed{2} and \boxed{3}"]);
    gives("x=1, y=2", &[r"\boxed{x=1}\quad \boxed{y=2}", r"$x=\boxed{1}$, $y=\boxed{2}$"]);
    gives("5", &[r"\boxed{5} \boxed{5}", r"\boxed{4} is wrong. \boxed{5}", r"\boxed{4} no, \boxed{5}"]);
}

#[test]
fn answers_are_announced_in_many_languages() {
    gives(
        r"\frac{1}{2}",
        &[
            r"La réponse est $\frac{1}{2}$.",
            r"La réponse est \(\frac{1}{2}\).",
            r"Réponse : $\frac12$",
            r"Réponse finale : $\frac12$",
            r"La réponse finale est donc $\frac12$.",
            r"**Réponse :** \frac{1}{2}",
            r"La bonne réponse est $\frac12$.",
            r"Die Antwort ist $\frac{1}{2}$.",
            r"Die Antwort lautet: $\frac{1}{2}$.",
            r"Antwort: $\frac{1}{2}$",
            r"Die endgültige Antwort lautet $\frac12$.",
            r"Ergebnis: $\frac12$",
            r"Das Ergebnis ist $\frac12$.",
            r"Lösung: $\frac12$",
            r"La respuesta es $\frac{1}{2}$.",
            r"Respuesta: $\frac{1}{2}$",
            r"La respuesta final es: $\frac12$",
            r"La respuesta correcta es $\frac12$.",
            r"Por lo tanto, la respuesta es \(\frac12\).",
            r"Resultado: $\frac12$",
            r"Ответ: $\frac{1}{2}$",
            r"Ответ: \(\frac12\).",
            r"Итак, ответ $\frac12$.",
            r"Окончательный ответ: $\frac12$",
            r"ОТВЕТ: $\frac12$",
            r"答案是$\frac{1}{2}$。",
            r"答案：$\frac{1}{2}$",
            r"故答案为：$\frac{1}{2}$．",
            r"最终答案是 \(\frac12\)。",
            r"所以答案为 $\frac12$。",
            r"答案: \frac{1}{2}",
            r"【答案】$\frac12$",
            r"答えは$\frac12$です。",
            r"答え：$\frac12$",
            r"정답은 $\frac12$입니다.",
            r"정답: $\frac12$",
            r"La risposta è $\frac12$.",
            r"A resposta é $\frac12$.",
            r"Resposta final: $\frac12$",
            r"Odpowiedź: $\frac12$",
            r"Het antwoord is $\frac12$.",
            r"Cevap: $\frac12$",
            r"Đáp án: $\frac12$",
            r"Đáp số: $\frac12$",
            r"Відповідь: $\frac12$",
            r"Svar: $\frac12$",
            r"\text{Réponse : } \frac12",
            r"\textbf{Answer:} \frac12",
            r"$\textbf{Answer: } \frac12$",
            r"\text{The answer is } \frac{1}{2}",
            r"$\text{Antwort: } \frac{1}{2}$",
            r"\textbf{Respuesta:} $\frac12$",
            r"\underline{Answer:} $\frac12$",
            r"\mathbf{Answer: } \frac12",
            r"\text{答案是} \frac12",
            r"\text{Ответ: } \frac12",
        ],
    );
    gives(
        "12",
        &[
            "La réponse est 12 car 3 fois 4 font 12.",
            "Antwort: 12, weil 3 mal 4 gleich 12 ist.",
            "Respuesta: 12 porque 3 por 4 es 12.",
        ],
    );
    gives("5 cm", &["La longueur est de 5 cm. Réponse : 5 cm", "答案是5厘米。", "Antwort: 5 cm"]);
    unlike(&[("12", "La réponse est 13."), ("12", "答案：13"), ("12", "Ответ: 13")]);
}

#[test]
fn remarks_after_an_answer_do_not_count() {
    gives(
        "0.5 mol/L",
        &["0.5 mol/L (at 25 °C)", r"0.5\text{ mol/L} (\text{at } 25^\circ\text{C})", r"0.5 mol/L \text{ (at 25 °C)}"],
    );
    gives(
        "12",
        &[
            "12 (at 25 °C)",
            "12 (approximately)",
            "12 (approx.)",
            "12 (rounded to the nearest integer)",
            "12 (to 3 significant figures)",
            "12 (2 d.p.)",
            "12 (3 s.f.)",
            "12 (see above)",
            "12 (exact)",
            "12 (as required)",
            "12, as required.",
            "12 (since n is even)",
            "12 (by symmetry)",
            r"12 \text{ (approximately)}",
            r"12 \quad \text{(at } t=0)",
            "12 I hope it is correct.",
            "12. I hope it is correct.",
            "12, I hope it is correct",
            r"12 \blacksquare",
            r"12 $\square$",
            "12 QED",
            "12 ✓",
            "12 ✅",
            "12!!".trim_end_matches('!'),
            "12.\n\nLet me know if you have any questions!",
            "The answer is 12. Let me know if you need more help.",
            "12 (Answer)",
            "12 (correct to 2 decimal places)",
        ],
    );
    gives("5 cm", &["5 (cm)", "5 cm (approx.)", "5 cm (to the nearest cm)"]);
    unlike(&[("12", "13 (approximately)"), ("12", "13 (at 25 °C)")]);
    check(Outcome::Undecided, true, &[("3", "3 (mod 7)"), ("12", "12 (thousand)"), ("x>2", "x>2 (for all n)")]);
}

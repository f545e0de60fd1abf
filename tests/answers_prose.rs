//! The general rule on answers inside sentences, and on equations that give a value or a curve.

use mmprm::answer::{AnswerSpec, Outcome, compare};

type Pair<'a> = (&'a str, &'a str);

/// Checks that the outcome of each expected answer and prediction is `accepted`, and lists all that
/// fail.
fn check(accepted: impl Fn(Outcome) -> bool, pairs: &[Pair<'_>]) {
    let mut failed = Vec::new();
    for (gold, prediction) in pairs {
        let comparison = compare(gold, prediction, &AnswerSpec::default());
        if !accepted(comparison.outcome) {
            failed.push(format!("{gold}  |  {prediction}  is {:?}: {}", comparison.outcome, comparison.reason));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn same(pairs: &[Pair<'_>]) {
    check(|outcome| outcome == Outcome::Equal, pairs);
}

fn unlike(pairs: &[Pair<'_>]) {
    check(|outcome| outcome == Outcome::Different, pairs);
}

fn open(pairs: &[Pair<'_>]) {
    check(|outcome| outcome == Outcome::Undecided, pairs);
}

fn unequal(pairs: &[Pair<'_>]) {
    check(|outcome| outcome != Outcome::Equal, pairs);
}

#[test]
fn answers_in_prose() {
    same(&[
        ("[2,5)", r"We need $x\ge 2$ and $x<5$. Therefore the solution is $[2,5)$."),
        ("[2,5)", r"So the answer is $x \ge 2$ and $x < 5$."),
        ("[2,5)", r"\boxed{x \ge 2 \text{ and } x < 5}"),
        (r"x \neq \pm 1", r"\boxed{(-\infty,-1)\cup(-1,1)\cup(1,\infty)}"),
        ("293", r"m=256 and n=37, so $m+n=\boxed{293}$."),
        ("293", "Therefore $m + n = 256 + 37 = 293$."),
        ("293", "Final Answer: $m+n = 293$"),
        (r"120^\circ", r"The answer is $\angle A + \angle B = 120^\circ$."),
        ("12th", r"\boxed{12^{\text{th}}}"),
        ("12", "The answer is the 12th."),
        ("3", "It is the $3^{rd}$ term. The answer is $3^{rd}$."),
        ("9:30", "The answer is 9:30."),
        ("9:30", r"\boxed{9:30}"),
        ("9:30 AM", "The answer is 9:30 a.m."),
        ("15:00", "Answer: 3:00 PM"),
        (r"\sqrt{ab}", r"The answer is $\sqrt{a}\sqrt{b}$."),
        (r"\frac{1}{2004!}", r"\boxed{\frac{1}{2004!}}"),
        ("(0,1)", "The range is $0 < f(x) < 1$."),
        ("(0,1)", "Answer: $0<f(x)<1$"),
        ("[-2,7]", r"The domain is $-2 \le x \le 7$."),
        ("odd", r"The answer is \text{odd}."),
        ("odd", r"\boxed{\text{odd}}"),
        ("odd", r"f is \textbf{odd}."),
        ("2, 3", r"So $\boxed{2}$ and $\boxed{3}$ are the solutions."),
        ("2, 3", r"$$\boxed{2}\quad\boxed{3}$$"),
        ("5 cm", "La réponse est 5 cm."),
        ("x=2", "La réponse est $x = 2$."),
        ("x=2", "Die Lösung lautet $x=2$."),
        (r"\frac{\pi}{4}", r"答案：$\dfrac{\pi}{4}$"),
        (r"\frac{\pi}{4}", r"Respuesta: \(\frac{\pi}{4}\)"),
        ("12", r"\[ \text{Answer: } 12 \]"),
        ("12", r"\[\boxed{12}\]"),
        ("12", r"$\therefore$ the answer is $12$."),
        ("12", "**Réponse finale : 12**"),
        ("12", "**Respuesta: 12**"),
        ("12", "**Antwort:** 12"),
        ("12", "### Ответ: 12"),
        ("12", "## Antwort\n\n12"),
        ("12", "Ответ:\n12"),
        ("12", "答案：\n\n12"),
        ("12", "答案是：$12$（厘米）"),
        ("12 cm", "答案是12厘米"),
        ("B", "Réponse : **B**"),
        ("B", "答案：**B**"),
        ("B", "正确选项是 B"),
        ("B", "La opción correcta es B."),
        ("B", "Die richtige Option ist B."),
        ("3.2", "3.2 (correct to 1 decimal place)"),
        ("3.2", "3.2 (1 d.p.)"),
        ("3.2", "3.2 (to 2 s.f.)"),
        ("3.2 m", "3.2 m (2 s.f.)"),
        (r"6.02\times10^{23}", "6.02 x 10^23 (approx.)"),
        ("0.82", "pH = 0.82 (at 25 °C)"),
        ("7", "pH = 7 (at 25°C)"),
        ("7.0", "7.0 (at 25 ℃)"),
        (r"1.8\times 10^{-5}", r"K_a = 1.8\times 10^{-5} \text{ (at 25°C)}"),
    ]);
    unequal(&[
        ("x=2", "La réponse est $x = 3$."),
        ("[2,5)", "x ≥ 2 and x < 6"),
        ("12", "The answer is not 12 but 13."),
        ("B", "La réponse est C."),
        ("12", "第12题的答案是 13"),
        ("12", "Question 12: answer 13"),
    ]);
}

#[test]
fn letters_and_values_in_prose() {
    open(&[
        ("A", "答案是 5"),
        ("(C)", "Réponse : 7"),
        ("C", r"$\frac{3}{4}$"),
        ("D", r"\boxed{12}"),
        ("B", "12 apples"),
        ("A", "-1"),
        ("B", "2:3"),
        ("C", "30°"),
        ("E", "0.5"),
        ("D", r"\{1,2\}"),
    ]);
    unlike(&[("A", "Réponse : B"), ("x", "5"), ("n", "7")]);
}

#[test]
fn values_of_sums_products_and_functions() {
    same(&[
        ("7", "x_1 + x_2 = 7"),
        ("7", "x_1x_2 = 7"),
        ("7", r"\alpha+\beta=7"),
        ("7", "a_1+a_2+a_3=7"),
        ("7", "OP + PQ = 7"),
        ("7", "|AB|+|CD|=7"),
        ("7", "f(2)+g(3)=7"),
        ("7", "m - n = 10 - 3 = 7"),
        ("7", "m+n = 7."),
        ("7", r"\text{The sum is } m+n=7"),
        ("7", "7 = m+n"),
        ("7", "$m+n$ = 7"),
        ("7", r"m+n=\frac{14}{2}=7"),
        ("0.75", r"p+q=\frac34"),
        (r"2\sqrt{3}", r"AB+CD=2\sqrt{3}"),
        (r"\pi", r"\angle A+\angle B+\angle C=\pi"),
        ("180°", "∠A + ∠B + ∠C = 180°"),
        ("a+b=7", "a+b=3+4=7"),
        ("m+n=7", "7"),
        ("12 cm^2", "S_{ABC} + S_{DEF} = 12 cm^2"),
        ("x^2+y^2=25", "x^2+y^2=5^2"),
        ("11", "ab + bc + ca = 11"),
        ("4", "a^b = 4"),
    ]);
    unlike(&[("7", "m+n=8"), ("7", "8=m+n"), ("m+n=7", "m+n=8"), ("7", "m+n=3+4=8")]);
}

#[test]
fn equations_of_curves_and_formulas() {
    same(&[
        ("x^2+y^2-2x-4y+1=0", "(x-1)^2+(y-2)^2=4"),
        (r"\frac{x^2}{16}+\frac{y^2}{12}=1", "3x^2+4y^2=48"),
        (r"y=-\frac{1}{2}x+3", "x+2y-6=0"),
        ("x^2=4y", r"y=\frac{1}{4}x^2"),
        ("y^2=4x", r"y=\pm2\sqrt{x}"),
        ("a^2+b^2=c^2", "c^2=a^2+b^2"),
        ("PV=nRT", r"P=\frac{nRT}{V}"),
        ("F=ma", "a=F/m"),
        ("E=mc^2", "m=E/c^2"),
        ("x+y=1", "y=1-x"),
        ("3x-y-5=0", "y=3x-5"),
        ("(x+1)(x-1)=y", "y=x^2-1"),
        (r"\log_2 y=x", "y=2^x"),
        ("r=2", "r=2"),
    ]);
    unlike(&[
        ("x^2+y^2-2x-4y+1=0", "(x+1)^2+(y-2)^2=4"),
        ("y^2=4x", "y=2x"),
        ("F=ma", "F=m/a"),
        ("x+2y-6=0", "x-2y-6=0"),
        (r"\frac{x^2}{16}-\frac{y^2}{9}=1", r"\frac{x^2}{9}-\frac{y^2}{16}=1"),
        ("y=2^x", "y=x^2"),
        ("x^3+y^3=1", "x^3-y^3=1"),
        ("xy+yz+zx=1", "xy+yz-zx=1"),
        ("x^2+xy+y^2=3", "x^2-xy+y^2=3"),
        (r"\sin x+\sin y=1", r"\cos x+\cos y=1"),
    ]);
}

#[test]
fn times_sets_and_huge_numbers() {
    same(&[
        ("11:20 AM", "The train arrives at 11:20 AM."),
        ("2:15", "The clock shows 2:15."),
        ("3:2", "The ratio is 3:2."),
        ("1:3", "so the ratio of the areas is 1:3"),
        ("4:30 p.m.", "She gets home at 4:30 p.m."),
        ("7:05", "It is 7:05 now."),
        ("12", "12 (square cm)"),
        ("12 cm", "12 (cm)"),
        ("20 m/s", "20 (m/s)"),
        ("12", "twelve"),
        ("1/2", "one half"),
        (r"\{1,2\}", "1 and 2"),
        (r"\{x \mid -1<x<2\}", "(-1,2)"),
        (r"\{x \mid -1<x<2\}", "-1<x<2"),
        ("{x|-1<x<2}", "x∈(-1,2)"),
        (r"\{x\,|\,x>1\}", "x>1"),
        (r"\left\{x\middle| x>1\right\}", r"(1,\infty)"),
        (r"\{x:x>1\text{ or }x<0\}", r"(-\infty,0)\cup(1,\infty)"),
        (r"\{x|x<-1或x>2\}", "(-∞,-1)∪(2,+∞)"),
        (r"\{x|x<-1或x>2\}", "x<-1 or x>2"),
        (r"(-\infty,-1)\cup(2,+\infty)", r"x \in (-\infty,-1) \cup (2,\infty)"),
        (r"[0,2)\cup(2,4]", r"0\le x\le 4, x\neq 2"),
        (r"[0,2)\cup(2,4]", r"0\le x\le 4 \text{ and } x\neq 2"),
        (r"[0,2)\cup(2,4]", r"[0,4]\setminus\{2\}"),
        (r"[0,2)\cup(2,4]", "0 ≤ x ≤ 4 且 x ≠ 2"),
        (r"[0,2)\cup(2,4]", "{x | 0 ≤ x ≤ 4, x ≠ 2}"),
        (r"(-2,-1)\cup(1,2)", "1<|x|<2"),
        (r"x>0, x\ne1", r"(0,1)\cup(1,\infty)"),
        (r"a<0 \text{ or } a>1", "a<0, a>1"),
        (r"a<0 \text{ or } a\ge 1", r"(-\infty,0)\cup[1,\infty)"),
        (r"k>-1 \text{ and } k\neq 0", r"(-1,0)\cup(0,+\infty)"),
        ("k>-1且k≠0", "k>-1, k≠0"),
        ("k>-1且k≠0", "k>-1 and k≠0"),
        ("k≤4且k≠0", r"k \leq 4 \text{ and } k \neq 0"),
        ("x≥-3且x≠2", r"x \geq -3 , x \neq 2"),
        ("x≠-2", r"x \neq -2"),
        ("x≠3且x≠-3", r"x \neq \pm 3"),
        ("x>1/2", r"(\frac12,\infty)"),
        (r"t \le 0 \text{ or } t \ge 4", r"(-\infty,0]\cup[4,\infty)"),
        (r"1 \le a \le 2", "[1,2]"),
        (r"1 \le a \le 2", r"a \in [1, 2]"),
        (r"\frac{1}{2004!}", r"\frac{1}{2004!}"),
        (r"\frac{1}{2004!}", "(2004!)^{-1}"),
        (r"\frac{2005}{2006!}", r"\frac{2006-1}{2006!}"),
        (r"\frac{1}{2005!}-\frac{1}{2006!}", r"\frac{2005}{2006!}"),
        (r"1-\frac{1}{2006!}", r"\frac{2006!-1}{2006!}"),
        ("2^{2005}", r"2\cdot2^{2004}"),
        (r"\frac{2^{2005}-1}{2^{2004}}", "2-2^{-2004}"),
        ("3^{100}", "9^{50}"),
        ("2006!-2005!", r"2005\cdot2005!"),
        (r"\frac{100!}{98!}", "9900"),
        ("10^{1000}-1", r"9\cdot\frac{10^{1000}-1}{9}"),
        (r"\sqrt{10^{2000}}", "10^{1000}"),
        (r"\ln 10^{1000}", r"1000\ln 10"),
        ("0.5", "\"0.5\""),
        ("x=5", "\"x=5\""),
        ("(1,2)", "\"(1,2)\""),
        ("yes", "'yes'"),
        ("no", "“no”"),
        ("5 cm", "\"5 cm\""),
        (r"\frac12", "\"\\frac{1}{2}\""),
        (r"\frac12", r"`\frac{1}{2}`"),
        ("5", "'5'."),
        ("[1,2]", "'[1,2]'"),
        (r"2\sqrt{3}", "2√3"),
        (r"2\sqrt{3}", r"\sqrt{12}"),
        (r"\sqrt{2}/2", r"\frac{1}{\sqrt2}"),
        (r"\frac{\sqrt{6}}{3}", r"\sqrt{\frac23}"),
        (r"x\sqrt{x}", r"\sqrt{x^3}"),
        (r"\frac{a}{\sqrt{a}}", r"\sqrt{a}"),
        (r"\sqrt{4x}", r"2\sqrt{x}"),
        (r"\sqrt{x^2+2x+1}", "|x+1|"),
        (r"\sqrt{\frac{x+1}{x-1}}", r"\frac{\sqrt{x+1}}{\sqrt{x-1}}"),
        (r"\sqrt{(a+b)(a-b)}", r"\sqrt{a^2-b^2}"),
        (r"\sqrt{s(s-a)(s-b)(s-c)}", r"\sqrt{s}\sqrt{s-a}\sqrt{s-b}\sqrt{s-c}"),
        (r"2\sqrt{\frac{ab}{c}}", r"\frac{2\sqrt{abc}}{c}"),
        (r"\sqrt{\frac{P}{4\pi\varepsilon}}", r"\frac{1}{2}\sqrt{\frac{P}{\pi\varepsilon}}"),
        (r"\sqrt{\frac{R}{\pi h}}", r"\frac{\sqrt{R\pi h}}{\pi h}"),
    ]);
    unlike(&[
        ("3:2", "The ratio is 2:3."),
        ("2:15", "The clock shows 2:45."),
        ("k>-1且k≠0", "k>-1"),
        ("k>-1且k≠0", "k≥-1且k≠0"),
        ("x≥-3且x≠2", "x≥-3"),
        ("x≠3且x≠-3", "x≠3"),
        (r"[0,2)\cup(2,4]", "[0,4]"),
        ("{x|x<-1或x>2}", "{x|-1<x<2}"),
        ("a<0 or a>1", "0<a<1"),
        (r"1-\frac{1}{2006!}", r"1-\frac{1}{2005!}"),
        ("2^{2005}", "2^{2004}"),
        (r"\frac{2005}{2006!}", r"\frac{2004}{2005!}"),
        ("2006!-2005!", "2006!"),
        ("3^{100}", "3^{99}"),
        ("2^{2^{10}}", "2^{2^{11}}"),
        ("2^{2^{20}}", "2^{2^{21}}"),
        ("2^{2^{30}}", "2^{2^{31}}"),
        (r"\sqrt{10^{2000}}", "10^{999}"),
        (r"\log_{10} 2^{2000}", "602"),
        (r"\sqrt{(a+b)(a-b)}", r"\sqrt{a^2+b^2}"),
        (r"\sqrt{x^2+2x+1}", "x+1"),
        (r"2\sqrt{\frac{ab}{c}}", r"\frac{2\sqrt{abc}}{b}"),
    ]);
}

#[test]
fn look_alikes_in_brackets_names_and_functions() {
    unequal(&[
        ("5", "5 (at most)"),
        ("5", "5 (at least)"),
        ("x=3", "x=3 (only if y>0)"),
        ("12", "12 (not a solution)"),
        ("12", "-12 (approx)"),
        ("0.5", "50 (approx.)"),
        ("3", "3:4"),
        ("2", "2:15 PM"),
        ("15", "The clock shows 2:15."),
        ("(0,1)", "]0,1]"),
        ("(0,1)", "[0,1["),
        ("x>2", "x≥2 and x≠3"),
        ("x≥2 and x≠3", "x≥2"),
        ("5", "x+5=5"),
        ("12", "12y"),
        ("a+b", "12"),
        ("a+b=12", "a-b=12"),
        ("a+b=12", "b=12"),
        ("m+n=5", "m=5"),
        ("7", "m+n>7"),
        ("7", "m+n≠7"),
        ("7", "m+n≈7.1"),
        ("xy=2", "x/y=2"),
        ("y=x", "y=-x"),
        ("y=x^2", "x=y^2"),
        ("y=1/x", "y=1/x^2"),
        ("x^2+y^2=4", "x^2+y^2=4, y>0"),
        ("x^2+y^2=4", "x+y=2"),
        ("(x-1)^2=0", "x=-1"),
        ("x^2=1", "x=1"),
        ("e^x=1", "x=1"),
        ("|x-1|=2", "x=3"),
        (r"\sqrt{x}=2", "x=2"),
        ("100!", "100"),
        ("NO/BO=2", "BO/NO=2"),
        ("100!", "10^{158}"),
        ("2^{1000}", "10^{301}"),
        ("2^{10}", "10^2"),
        (r"\frac{1}{2^{1000}}", "0"),
        ("e^{-1000}", "0"),
        (r"\ln 2", "0"),
        (r"\sin 1", "0"),
        (r"\cos 90", "0"),
        (r"\tan\frac{\pi}{2}", "0"),
        ("third", "three quarters"),
        ("3rd", "1/3"),
        ("20", "twelfth"),
        ("9:30", "9.5"),
        ("9:30", "930"),
        ("12:30", "30:12"),
        ("1:2", "2:1"),
        ("5:3", "3:5"),
        ("noon", "12:30 PM"),
        ("no", "The answer is yes."),
        ("odd", "The sum is even."),
        ("even", "It is even or odd."),
        ("increasing", "decreasing"),
        ("The function is odd", "even"),
    ]);
}

#[test]
fn remarks_and_zeros() {
    same(&[
        ("odd", "The function is odd"),
        ("(0,1]", "]0,1]"),
        ("[0,1)", "[0,1["),
        ("5", "5 (at x = 2)"),
        ("x=3", "x = 3 (only)"),
        ("12", "12 (as expected)"),
        (r"\cos 90^\circ", "0"),
        (r"\cos 90°", "0"),
        (r"\sin 180^\circ", "0"),
        (r"\tan 45°", "1"),
        (r"\sin\pi", "0"),
        (r"\sqrt{3}-\sqrt{3}", "0"),
        (r"\log_2 1", "0"),
    ]);
}

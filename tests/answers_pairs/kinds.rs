//! The general rule on pairs of an expected answer and a prediction, by kind of answer.

use super::{open, same, unequal, unlike};

#[test]
fn times() {
    same(&[
        ("2:30 PM", "2:30 p.m."),
        ("2:30", "$2:30$"),
        ("7:05", "07:05"),
        ("10:15 AM", "10:15 a.m"),
        ("3:45 pm", "3:45 in the afternoon"),
        ("9:00", "9 o'clock"),
        ("8:05 a.m.", r"8:05\text{ a.m.}"),
        ("6:00 PM", r"\text{6:00 PM}"),
        ("11:20", r"\boxed{11:20}"),
        ("4:05", "4:05 "),
        ("1:30:00", "01:30:00"),
        ("23:59", "11:59 PM"),
        ("0:30", "12:30 AM"),
        ("3:2", "6:4"),
        ("16:9", "16 : 9"),
        ("1:100", "2:200"),
        ("3:4:5", "6:8:10"),
        ("5:12:13", "10:24:26"),
        ("1 : 2", "2 : 4"),
        ("9:40 a.m.", "9:40am"),
        ("5:00 p.m.", "5 p.m."),
        ("5 pm", "17:00"),
    ]);
    unlike(&[
        ("12:00", "2:00"),
        ("3:00", "6:00"),
        ("1:00", "2:00"),
        ("10:00", "5:00"),
        ("10:05", "10:50"),
        ("1:20 PM", "1:20 AM"),
        ("8:00 AM", "8:30 AM"),
        ("12:00 PM", "12:00 AM"),
        ("2:3", "4:5"),
        ("16:9", "9:16"),
        ("7:05", "7:15"),
        ("9:30", "9:31"),
        ("1:00:00", "2:00:00"),
        ("0:45", "0:30"),
    ]);
    unequal(&[("1:10", "2:20"), ("2:15", "4:30"), ("4:20", "2:10"), ("6:30", "18:30")]);
}

#[test]
fn roots() {
    same(&[
        (r"\sqrt{\frac{a}{b}}", r"\frac{\sqrt{ab}}{b}"),
        (r"\sqrt{3x}", r"\sqrt{3}\sqrt{x}"),
        (r"\sqrt{12x}", r"2\sqrt{3x}"),
        (r"\sqrt{\frac{k}{m}}", r"\frac{\sqrt{k}}{\sqrt{m}}"),
        (r"\sqrt{ab^2}", r"|b|\sqrt{a}"),
        (r"\frac{1}{\sqrt{x}}", r"\frac{\sqrt{x}}{x}"),
        ("x^{3/2}", r"x\sqrt{x}"),
        (r"\sqrt{n^3}", r"n\sqrt{n}"),
        ("(ab)^{1/3}", "a^{1/3}b^{1/3}"),
        (r"\sqrt{\frac{E}{\rho}}", r"\frac{\sqrt{E\rho}}{\rho}"),
        (r"v=\sqrt{2gh}", r"\sqrt{2}\sqrt{gh}"),
        (r"\sqrt{x+1}\sqrt{x-1}", r"\sqrt{x^2-1}"),
        (r"\sqrt{\frac{3}{x}}", r"\frac{\sqrt{3x}}{x}"),
        (r"\sqrt{pq}", "p^{0.5}q^{0.5}"),
        (r"\sqrt[3]{\frac{V}{\pi}}", r"\frac{\sqrt[3]{V}}{\sqrt[3]{\pi}}"),
        (r"T=2\pi\sqrt{\frac{L}{g}}", r"T=\frac{2\pi}{\sqrt{g}}\sqrt{L}"),
        (r"\sqrt{\frac{2E}{m}}", r"\sqrt{2E/m}"),
        (r"\frac{\sqrt{a}}{\sqrt{b}}", r"\sqrt{a/b}"),
        (r"\sqrt{\sqrt{x}}", "x^{1/4}"),
        (r"\sqrt{a}\sqrt{a}\sqrt{b}", r"a\sqrt{b}"),
        (r"\ln(xy)", r"\ln x+\ln y"),
        (r"\log_2\frac{x}{y}", r"\log_2 x-\log_2 y"),
    ]);
    unlike(&[
        (r"\sqrt{x^2}", "x"),
        (r"\sqrt{a^2b}", r"a\sqrt{b}"),
        (r"\sqrt{(a-b)^2}", "a-b"),
        (r"\sqrt{a^2+b^2}", "a+b"),
        (r"\sqrt{\frac{a}{b}}", r"\frac{\sqrt{ab}}{a}"),
        (r"\sqrt{xy}", r"\sqrt{x}+\sqrt{y}"),
        (r"\sqrt{2x}", r"2\sqrt{x}"),
        (r"\sqrt{-x}", r"-\sqrt{x}"),
        ("x^{1/2}", "x^{1/3}"),
        (r"\sqrt{9x}", r"9\sqrt{x}"),
    ]);
}

#[test]
fn conditions() {
    same(&[
        ("(1,5]", r"x>1 \text{ and } x\le5"),
        (r"(-\infty,2)\cup(2,3)", r"x<3 \text{ and } x\neq 2"),
        (r"(0,\infty)", r"x>0 \text{ and } x>-1"),
        (r"x\ne0", r"(-\infty,0)\cup(0,+\infty)"),
        (r"\{x|x\ne 0\}", r"x\ne 0"),
        (r"x\neq 0,1", r"(-\infty,0)\cup(0,1)\cup(1,\infty)"),
        (r"x\ne 0 \text{ and } x\ne 1", r"x\ne 1, x\ne 0"),
        ("[-3,3]", r"|x|\le3"),
        (r"(-\infty,-2]\cup[2,\infty)", r"|x|\geq 2"),
        ("[-1,5]", r"|x-2|\leq 3"),
        ("(-3,3)", r"\lvert x\rvert<3"),
        ("(-3,3)", r"\left|x\right|<3"),
        ("1<x<3", r"1<x \text{ and } x<3"),
        ("x>=-1且x≠0", "[-1,0)∪(0,+∞)"),
        ("x≥0且x≠4", r"[0,4)\cup(4,+\infty)"),
        ("x≥-2 and x≠1", r"\{x\mid x\geq -2, x\neq 1\}"),
        ("x<1或x>3", r"(-\infty,1)\cup(3,\infty)"),
        (r"a\geq1 \text{ or } a\leq-1", r"(-\infty,-1]\cup[1,\infty)"),
        (r"\mathbb{R}\setminus\{0\}", r"x\ne0"),
        (r"\mathbb{R} \setminus \{-2, 2\}", r"x\ne\pm2"),
        (r"x \in \mathbb{R} \setminus \{1\}", r"x\neq 1"),
        ("m>1且m≤3", "(1,3]"),
        (r"k<1 \text{ and } k\ne 0", r"k<1, k\neq 0"),
        (r"(0,1)\cup(1,2)", r"0<x<2, x\ne1"),
        (r"(0,1)\cup(1,2)", r"0<x<2 \text{ and } x\ne1"),
        (r"x\geq 4", r"$x \ge 4$ and $x \ge 1$"),
        (r"D=\{x\mid x\geq 2\}", r"[2,\infty)"),
        ("$x > 3$ and $x < 7$", "3 < x < 7"),
        ("-1<x<1", r"x>-1 \cap x<1"),
        ("[0,2]", r"0\le x \text{ and } x\le 2"),
        (r"-2<m\le 3 \text{ and } m\ne0", r"(-2,0)\cup(0,3]"),
        (r"x<-1 \text{ or } -1<x<1 \text{ or } x>1", r"x\ne\pm1"),
    ]);
    unlike(&[
        ("(1,5]", r"x>1 \text{ and } x<5"),
        (r"x\ne0", r"x\ne1"),
        ("[-3,3]", "|x|<3"),
        ("x<1或x>3", "1<x<3"),
        (r"x<1 \text{ and } x>3", r"x<1 \text{ or } x>3"),
        (r"\mathbb{R}", r"x\ne0"),
        ("(0,2)", r"0<x<2, x\neq 1"),
        (r"x\ne 0 \text{ and } x\ne 1", r"x\ne 0"),
        (r"(-\infty,-2]\cup[2,\infty)", r"|x|\le2"),
    ]);
}

#[test]
fn sums() {
    same(&[
        ("25", "a+b=25"),
        ("a+b=25", "25"),
        ("13", "p+q = 4+9 = 13"),
        ("13", "$p + q = 13$"),
        ("5", "|a|+|b|=5"),
        ("90°", "∠1+∠2=90°"),
        ("180", r"\alpha+\beta+\gamma=180"),
        ("50", "$x+y = 20+30=50$"),
        ("27", r"m+n+p = 2+5+20 = \boxed{27}"),
        ("4", "a-b = 7-3 = 4"),
        ("-3", "ab = -3"),
        ("3/4", r"\frac{m}{n} = \frac{3}{4}"),
        ("8", "S_1+S_2 = 3+5 = 8"),
        ("7", "10A+B=7"),
        ("100", "AB^2+BC^2 = 36+64=100"),
        (r"60^\circ", r"\angle A - \angle B = 60^\circ"),
        ("2", "f(1)+f(2)=2"),
        ("12", "OA+OB=12"),
        ("12", r"\overline{AB}+\overline{BC} = 5+7 = 12"),
        ("24 cm", "AB + CD = 24 cm"),
        ("16", "The sum is a+b+c = 16."),
        ("7", "a + b = 3 + 4 = 7"),
        ("7", "3+4=7"),
        ("20", "2(a+b) = 20"),
        ("113", "m+n = 100 + 13 = 113."),
    ]);
    unlike(&[
        ("25", "a+b=26"),
        ("13", "p+q=4+9=14"),
        ("9", "p+q=4+9=13"),
        ("90°", "∠1+∠2=91°"),
        ("27", "m+n+p = 2+5+21 = 28"),
    ]);
}

#[test]
fn ordinals() {
    same(&[
        ("5th", "5"),
        ("5", "5^{th}"),
        ("100th", "100"),
        ("3", r"3^{\mathrm{rd}}"),
        ("3rd", "3^{rd}"),
        ("4th", "fourth"),
        ("the 7th", "7"),
        ("2nd", "second"),
        ("13", r"13^{\text{th}}"),
        ("31st", "31"),
        ("42", "42nd"),
        ("10th grade", "10th"),
        ("2", r"$2^{\text{nd}}$"),
        ("5", "the fifth"),
        ("6", "sixth"),
        ("30th", "thirtieth"),
        ("8", r"8\text{-th}"),
        ("9", "9-th"),
        ("11", "11th term"),
        ("2", r"2^\text{nd}"),
        ("33", "thirty-third"),
    ]);
    unlike(&[("5th", "6"), ("5th", "6th"), ("2nd", "3rd"), ("first", "2"), ("12", "21st"), ("4th", "fifth")]);
}

#[test]
fn letters() {
    open(&[
        ("A", "2"),
        ("C", r"\frac{1}{2}"),
        ("(D)", "x=3"),
        ("B", "3 cm"),
        ("E", "no solution"),
        ("A", "[1,2]"),
        ("D", "0"),
        ("C", "12π"),
        ("18", "B"),
        ("5 cm", "(C)"),
    ]);
    same(&[
        ("12", "(A) 12"),
        ("12", "A. 12"),
        ("(A)", "A. 12"),
        ("A", "(A) 12"),
        ("C", "C"),
        ("C", "(c)"),
        ("C", r"\text{C}"),
        ("C", r"\boxed{\textbf{(C)}}"),
        ("C", "The answer is C."),
        ("C", "Option C"),
        ("C", "选C"),
        ("x=3", "(B) x=3"),
        ("rhombus", "(C) rhombus"),
    ]);
    unlike(&[("12", "(A) 13"), ("A", "B"), ("A", "(B) 12"), ("x", "y")]);
}

#[test]
fn ranges() {
    same(&[
        ("[-2,7]", "-2≤x≤7"),
        ("[-2,7]", r"x\in\left[-2,7\right]"),
        ("[-2,7]", r"[-2,\,7]"),
        ("[-2,7]", r"-2\leq f(x)\leq7"),
        ("(0,1)", "0<p<1"),
        ("(0,1)", r"y\in(0,1)"),
        ("[1,+∞)", "y≥1"),
        ("[1,+∞)", r"[1,\infty)"),
        ("(-∞,3]", "x≤3"),
        ("(-∞,3]", r"(-\infty, 3]"),
        (r"(2,+\infty)", "a>2"),
        (r"(2,+\infty)", r"a\in(2,+\infty)"),
        ("[0,4]", r"\{y\mid 0\le y\le 4\}"),
        ("[0,4]", r"0\le y\le4"),
        ("[0,4]", r"y\in[0,4]"),
        ("[0,4]", r"\text{Range: } [0,4]"),
        ("[0,4]", "The range is [0,4]."),
        ("[0,4]", "0 ≤ f(x) ≤ 4"),
        (r"\left(\frac12,1\right)", r"\frac12<x<1"),
        (r"\left(\frac12,1\right)", "0.5<x<1"),
        (r"[-\sqrt2,\sqrt2]", r"-\sqrt2\le x\le\sqrt2"),
        (r"[-\sqrt2,\sqrt2]", r"|x|\le\sqrt2"),
        ("(-5,-3)", "-3>x>-5"),
        ("(1,3)", r"1 \lt k \lt 3"),
        ("[2,3)", r"2 \leqslant m < 3"),
        ("(0,+∞)", "positive real numbers"),
        ("x>2", "2<x"),
        ("x>2", r"(2,\infty)"),
        ("(-1,1)", r"\{x \in \mathbb{R} : -1 < x < 1\}"),
        ("(-1,1)", "x is between -1 and 1, exclusive"),
        (r"0<x\leq 2", "x ∈ (0, 2]"),
        ("(0,2)", r"0<\angle A<2"),
        ("0<AB<5", "(0,5)"),
        ("3<c<7", "3 < c < 7"),
        ("(3,7)", "3 < third side < 7"),
    ]);
    unlike(&[
        ("[-2,7]", "-2<x<7"),
        ("(0,1)", "0≤x≤1"),
        (r"(2,+\infty)", "a≥2"),
        ("[0,4]", "[0,5]"),
        ("[0,4]", r"0<y\le4"),
        ("(1,3)", "[1,3]"),
    ]);
}

#[test]
fn equations() {
    unlike(&[
        ("x^2+y^2=1", "x^2+y^2=2"),
        ("y=x^2+1", "y=x^2-1"),
        ("(x-3)^2+y^2=4", "(x+3)^2+y^2=4"),
        ("x^2/9+y^2/4=1", "x^2/4+y^2/9=1"),
        ("y^2=2x", "y^2=-2x"),
        ("xy=6", "x+y=6"),
        ("x^2-y^2=1", "y^2-x^2=1"),
        ("2x+3y=6", "3x+2y=6"),
        (r"\rho=4\cos\theta", r"\rho=4\sin\theta"),
        ("x^2+2x-3=0", "x^2-2x-3=0"),
        (r"y=\sin x", r"y=\cos x"),
        ("z=x^2+y^2", "z=x^2-y^2"),
        ("x^2=8y", "y^2=8x"),
        ("x^2+y^2-2x=0", "x^2+y^2-2y=0"),
    ]);
    same(&[
        ("x^2+y^2=1", "y^2+x^2=1"),
        ("(x-3)^2+y^2=4", "x^2-6x+y^2+5=0"),
        ("x^2/9+y^2/4=1", "4x^2+9y^2=36"),
        ("y-1=2(x-3)", "y=2x-5"),
        ("2x-y=5", "y=2x-5"),
        (r"x=\frac{y-1}{2}", "y=2x+1"),
        (r"y=\frac{1}{x}", "xy=1"),
        ("x^2+y^2=4", r"\frac{x^2}{4}+\frac{y^2}{4}=1"),
    ]);
}

#[test]
fn huge_numbers() {
    unlike(&[
        ("100!", "101!"),
        ("1/100!", "1/101!"),
        ("2^{100}", "2^{101}"),
        ("10^{100}", "10^{101}"),
        ("2^{2023}", "2^{2024}"),
        ("3^{2020}", "3^{2019}"),
        ("500!", "499!"),
        (r"\frac{1}{500!}", r"\frac{1}{499!}"),
        (r"\frac{1}{2^{1000}}", r"\frac{1}{2^{1001}}"),
        ("1-2^{-2000}", "1"),
        ("2^{2000}-1", "2^{2000}"),
        (r"\binom{1000}{500}", r"\binom{1000}{501}"),
        ("10^{-400}", "10^{-401}"),
        ("10^{400}+1", "10^{400}"),
        ("e^{1000}", "e^{1001}"),
        ("e^{-1000}", "e^{-1001}"),
        (r"\ln(2^{5000})", r"\ln(2^{5001})"),
        (r"\pi^{1000}", r"\pi^{1001}"),
        ("1000!", "1000"),
        ("5000!", "5001!"),
        ("20000!", "20001!"),
        (r"\frac{2^{2010}-1}{2^{2009}}", "2"),
    ]);
    same(&[
        ("100!", r"100\cdot 99!"),
        ("2^{1000}", "4^{500}"),
        (r"\frac{101!}{100!}", "101"),
        (r"\frac{2^{2010}-2^{2009}}{2^{2009}}", "1"),
        (r"\binom{1000}{500}", r"\frac{1000!}{500!^2}"),
        (r"\frac{2024!}{2023!}", "2024"),
        ("10^{400}", "100^{200}"),
        (r"\ln(e^{1000})", "1000"),
        ("2^{2000}+2^{2000}", "2^{2001}"),
        ("1/2^{2000}", "2^{-2000}"),
        ("(2^{10})^{100}", "2^{1000}"),
        ("e^{1000}", "e^{500}e^{500}"),
    ]);
}

#[test]
fn words() {
    same(&[
        ("even", r"\text{even}"),
        ("even", "even."),
        (r"\text{odd}", "odd"),
        ("neither", r"\textbf{neither}"),
        ("Monday", r"\text{Monday}"),
        ("odd", "The function is odd."),
        ("yes", r"\text{Yes}"),
        ("Yes", "\"Yes\""),
        ("no", r"\text{No}"),
        ("increasing", r"\text{increasing}"),
        ("red", r"\text{red}"),
        ("red", "Red"),
        ("isosceles", r"$\text{isosceles}$"),
        ("sin", r"\text{sin}"),
        ("A", r"\text{A}"),
    ]);
    unlike(&[("odd", "even"), (r"\text{odd}", r"\text{even}"), ("red", "blue"), ("yes", "no")]);
}

#[test]
fn boxes() {
    same(&[
        ("1, 2", r"\boxed{1}\boxed{2}"),
        ("1, 2", r"The answers are \boxed{1} and \boxed{2}."),
        ("2, -3", r"$x = \boxed{2}$ or $x = \boxed{-3}$"),
        ("2,3", r"$\boxed{2}$ , $\boxed{3}$"),
        ("(1,2)", r"\boxed{(1,2)}"),
        ("5", r"\boxed{5}\boxed{5}"),
        ("x=1, y=2", r"\boxed{x=1},\ \boxed{y=2}"),
        ("3, 4", r"(1) \boxed{3} (2) \boxed{4}"),
        ("3, 4", "(1) \\boxed{3}\n(2) \\boxed{4}"),
        ("3, 4", r"$$\boxed{3}$$ $$\boxed{4}$$"),
        ("3, 4", r"\boxed{3}, \text{ } \boxed{4}"),
        ("3, 4", r"**\boxed{3}** **\boxed{4}**"),
        ("3, 4", r"\boxed{3}\hspace{1cm}\boxed{4}"),
        ("1,2,3", r"\boxed{1},\boxed{2},\boxed{3}"),
    ]);
    unlike(&[("3", r"\boxed{3}, \boxed{4}"), ("3, 4", r"\boxed{3} \boxed{5}")]);
}

#[test]
fn languages() {
    same(&[
        ("12", "Réponse: 12"),
        ("12", "La réponse est : 12."),
        ("12", "La réponse est donc 12"),
        ("12", "Die Lösung ist 12. Antwort: 12"),
        ("12", "Die Antwort lautet 12."),
        ("12", "Antwort: **12**"),
        ("12", "La respuesta es 12."),
        ("12", "Respuesta final: 12"),
        ("12", "La respuesta correcta es: 12"),
        ("12", "Ответ: 12."),
        ("12", "Ответ: $12$"),
        ("12", "Правильный ответ: 12"),
        ("12", "答案是 12"),
        ("12", "答案为12。"),
        ("12", "最终答案：12"),
        ("12", r"所以答案是 \boxed{12}"),
        ("12", "综上所述，答案为 $12$。"),
        ("12", "故答案为 12"),
        ("12", "答:12"),
        ("12", "答：12个。"),
        ("12", "따라서 정답은 12입니다."),
        ("12", "答えは12です。"),
        ("12", "Risposta: 12"),
        ("12", "A resposta correta é 12."),
        ("12", "Antwoord: 12"),
        ("12", "الإجابة هي 12"),
        ("12", "Răspuns: 12"),
        ("B", "La bonne réponse est B."),
        ("B", "Antwort: B"),
        ("B", "La respuesta correcta es la B."),
        ("B", "Ответ: B"),
        ("B", "正确答案是B"),
        ("B", "答案选B"),
        (r"\sqrt{2}", r"La réponse est $\sqrt{2}$."),
        ("x=3", "Antwort: $x=3$"),
        (r"\frac{3}{4}", r"La respuesta es \[\frac{3}{4}\]"),
        (r"\frac34", r"答案是\(\frac34\)"),
        ("12", r"\text{La réponse est } 12"),
        ("12", r"$\text{Answer: }12$"),
        ("12", r"\textbf{Answer: } 12"),
        ("12", r"\textbf{Final Answer:} $12$"),
        ("12", r"\mathrm{Answer:}\ 12"),
        ("12", r"\text{Answer} = 12"),
        ("12", r"\text{答案：}12"),
        ("12 cm", r"\text{Réponse : } 12\text{ cm}"),
    ]);
    unlike(&[("12", "Réponse: 13"), ("12", "Antwort: 14"), ("12", "Ответ: 15")]);
}

#[test]
fn remarks() {
    same(&[
        ("12", "\"12\""),
        ("12", "12 (units)"),
        ("12", "12 (square units)"),
        ("3.14", "3.14 (approx)"),
        ("12", "12."),
        ("12", "12;"),
        ("12", "= 12"),
        ("12", "≈ 12"),
        ("12", "**12**"),
        ("12", "12 "),
        ("12", "`12`"),
        ("12", "“12”"),
        ("12", "12 (to the nearest whole number)"),
        ("12", "12, since 3·4=12"),
        ("12", "12 because 3·4=12"),
        ("12", "12, which is the answer"),
        ("12", "12 is the answer"),
        ("12", "So the answer is 12, as expected."),
        ("12", "12 (final answer)"),
        ("12", r"12\ \text{(final answer)}"),
        ("12", "[12]"),
        ("12", "{12}"),
        ("12", "(12)"),
        ("12", "12 units"),
        ("0.5", "0.5 (at 25 °C)"),
        ("1.2 g/mL", "1.2 g/mL at 25 °C"),
        ("12", r"12\quad\text{(as required)}"),
        ("12", "Answer: 12 (see diagram)"),
        ("25%", "25% (approximately)"),
        ("12", "~12"),
        ("12", "about 12"),
        ("12", "exactly 12"),
        ("12", "12 exactly"),
        ("12", "12 approx."),
        ("x=3", "x=3 (only solution)"),
        ("x=3", "x=3 only"),
        ("12", "12 ✓"),
        ("12", "12✓"),
        ("12", r"$12$ $\checkmark$"),
        ("12", "Final: 12"),
    ]);
    unlike(&[("12", "13 (approx)"), ("12", "\"13\""), ("12", "(13)")]);
}

//! The general rule on answers of every kind.

use mmprm::answer::{AnswerSpec, Outcome, compare};

use Outcome::{Different, Equal, Undecided};

fn check(cases: &[(&str, &str, Outcome)]) {
    check_in(&AnswerSpec::default(), cases);
}

fn check_in(spec: &AnswerSpec, cases: &[(&str, &str, Outcome)]) {
    for (gold, prediction, expected) in cases {
        let comparison = compare(gold, prediction, spec);
        assert_eq!(comparison.outcome, *expected, "{gold} and {prediction}: {}", comparison.reason);
    }
}

#[test]
fn numbers_are_exact_in_any_notation() {
    check(&[
        ("2.4", "2.40", Equal),
        ("007", "7", Equal),
        ("-7", "−7", Equal),
        ("100000000", "10^8", Equal),
        ("5", "5.001", Different),
        ("0.1", "0.1000000000001", Different),
        ("0.3", "0.30000000000000004", Equal),
        ("12345678901234567890", "12345678901234567891", Different),
        ("0.33", "1/3", Different),
        (r"0.1\overline{6}", "1/6", Equal),
        (r"0.\dot{3}", r"\frac13", Equal),
        (r"2^{2016}", r"2^{2017}", Different),
    ]);
}

#[test]
fn thousands_separators_are_ignored() {
    check(&[
        ("1,234", "1234", Equal),
        (r"1{,}000", "1000", Equal),
        ("1 000 000", "1000000", Equal),
        (r"\number{10500}", "10,500", Equal),
        ("1,234", "1.234", Different),
        ("12,34", "1234", Different),
        ("169 555 671", "169, 555, 671", Equal),
    ]);
}

#[test]
fn fractions_mixed_numbers_and_percentages_have_their_value() {
    check(&[
        (r"\dfrac94", "2.25", Equal),
        (r"\frac{\text{24}}{\text{5}}", "4.8", Equal),
        (r"2\frac{1}{3}", r"\frac{7}{3}", Equal),
        (r"-1\frac{1}{2}", "-1.5", Equal),
        ("2½", "5/2", Equal),
        (r"2\frac{1}{3}", r"\frac{2}{3}", Different),
        (r"25\%", "1/4", Equal),
        (r"25\%", "25 percent", Equal),
        ("25%", "2.5", Different),
        ("20%", "20°", Different),
    ]);
}

#[test]
fn powers_roots_and_named_numbers_are_evaluated() {
    check(&[
        (r"3.2\times 10^5", "320000", Equal),
        ("3.2×10⁵", "3.2e5", Equal),
        (r"\sqrt{8}", r"2\sqrt{2}", Equal),
        (r"\sqrt{5+2\sqrt{6}}", r"\sqrt{2}+\sqrt{3}", Equal),
        (r"\sqrt{2}", "1.41421356", Equal),
        (r"\sqrt{2}", "1.4143", Different),
        (r"\sqrt{-4}", "2i", Equal),
        (r"108\mathrm \pi", "108π", Equal),
        (r"\pi", "3.14", Different),
        (r"\ln e^3", "3.000001", Different),
        (r"e^{i\pi}", "-1", Equal),
        (r"{5 \choose 2}", "10", Equal),
        ("C_5^2", r"\binom{5}{2}", Equal),
        (r"A_5^2", "20", Equal),
        (r"\frac{(n+1)!}{n!}", "n+1", Equal),
    ]);
}

#[test]
fn angles_are_in_degrees_minutes_or_radians() {
    check(&[
        (r"30${}^\circ $", "30°", Equal),
        ("25°.", r"\boxed{25}", Equal),
        (r"67.5^{\circ}", "67°30′", Equal),
        ("30°15′36″", "30.26°", Equal),
        ("90°", r"\frac{\pi}{2}", Equal),
        ("67.5°", "67°50′", Different),
        ("60°或120°", "120° or 60°", Equal),
        ("60° or 120°", "60°", Different),
        ("∠A=30°", "∠B=30°", Undecided),
    ]);
}

#[test]
fn units_convert_within_one_dimension() {
    check(&[
        ("12 meters.", "1200 cm", Equal),
        ("12 m", "12 cm", Different),
        ("4 cm²", "4 square centimeters", Equal),
        ("4 cm²", "4 cm", Different),
        ("5 km/h", "5 km per hour", Equal),
        ("2 h", "2 min", Different),
        ("1 h 30 min", "90 minutes", Equal),
        ("3 m 20 cm", "3.2 m", Equal),
        ("3 m 20 cm", "3 cm 20 m", Different),
        ("20°C", "20°F", Different),
        (r"\quantity{24}{cm^{2}}", r"24\text{ cm}^2", Equal),
        (r"30\ \unit{cm^{2}}", "30 cm³", Different),
        ("3a cm", "3a", Equal),
        ("5 people", "five people", Equal),
        ("3厘米", "3 cm", Equal),
        ("60千米/时", "60 km/h", Equal),
    ]);
}

#[test]
fn money_has_a_currency() {
    check(&[
        ("$5", "5 dollars", Equal),
        (r"\$1,000", "1000 dollars", Equal),
        ("50 cents", r"\$0.50", Equal),
        ("¥50", "50元", Equal),
        ("€5", "$5", Different),
        ("$1.50", "$1.05", Different),
    ]);
}

#[test]
fn sets_intervals_and_conditions_describe_the_same_numbers() {
    check(&[
        (r"\{1,2,3\}", "3, 2, 1", Equal),
        ("[1,2)", r"1 \le x < 2", Equal),
        ("[1,2)", "(1,2]", Different),
        ("[1,2)", "1, 2", Different),
        (r"(-\infty,1)\cup(2,\infty)", "x<1 or x>2", Equal),
        ("1 < x < 6", "x>1 and x<6", Equal),
        ("{x|x>2}", "(2,+∞)", Equal),
        (r"\{x\in\mathbb{R} : x>2\}", r"(2,\infty)", Equal),
        ("不等式的解集为{x|x>2}", "x>2", Equal),
        (r"\{x\in Z|1<x<4\}", "(1,4)", Undecided),
        ("(-∞,1)∪(1,+∞)", "x≠1", Equal),
        (r"\mathbb{R}", "all real numbers", Equal),
        (r"\varnothing", "no solution", Equal),
        ("无解", "no solution", Equal),
        (r"\emptyset", "0", Different),
        ("x>3", "x≥3", Different),
        ("x>2", "y>2", Undecided),
        (r"i\leqslant 10?", "i ≤ 10", Equal),
        (">", "<", Different),
    ]);
}

#[test]
fn points_have_an_order_and_sometimes_a_name() {
    check(&[
        ("(－1，2)", "(-1,2)", Equal),
        ("A(1,2)", "(1,2)", Equal),
        ("A(1,2)", "B(1,2)", Undecided),
        ("A(1,2), B(3,4)", "B(3,4), A(1,2)", Equal),
        ("A(1,2)", "1<x<2", Different),
        ("点A的坐标为(1,2)", "(1,2)", Equal),
        (r"\langle 1,2\rangle", r"\begin{pmatrix}1\\2\end{pmatrix}", Equal),
        ("(3,6) (7,8)", "(7,8), (3,6)", Undecided),
        ("(1,2)", "(2,1)", Different),
        ("(1,2)", "[1,2]", Different),
        (r"\{(1,2)\}", "(1,2)", Equal),
    ]);
}

#[test]
fn lists_are_compared_by_name_by_place_or_in_any_order() {
    check(&[
        ("6 or 2 or 10", "2, 6, 10", Equal),
        ("x=3或x=-2", "-2, 3", Equal),
        ("x=3或x=-2", "x=3", Different),
        ("x_1=3, x_2=-2", "x=3 or x=-2", Equal),
        ("x=1, y=2", "y=2, x=1", Equal),
        ("x=1, y=2", "2, 1", Undecided),
        ("60°, 60°, 120°", "60°, 120°, 120°", Undecided),
        ("p=5,q=2; p=7,q=2", "p=7,q=2; p=5,q=2", Equal),
        (r"\pm 3", "3, -3", Equal),
        (r"\pm 3", "3", Different),
        (r"1\pm\sqrt2", r"1+\sqrt2, 1-\sqrt2", Equal),
    ]);
}

#[test]
fn blanks_are_compared_in_order() {
    check(&[
        ("12\n6", "12, 6", Equal),
        ("12\n6", "126", Different),
        ("12\n6", "6, 12", Undecided),
        ("12\n6", "72", Different),
        ("$$7$$ $$11$$", "7 and 11", Equal),
        ("$$7$$ $$11$$", "77", Different),
        ("$$1$$ $$-1$$", "0", Different),
        ("5\n-3", "2", Different),
        ("6 6", "6, 6", Equal),
        ("1 1 -1", "1, 1, -1", Equal),
        ("$$4$$,$$6$$ $$-4$$,$$0$$", "4, 6, -4, 0", Equal),
        ("14 meters\n10 square meters", "14 m, 10 m^2", Equal),
        ("$5$ $cm$", "5 cm", Equal),
        ("north\n40\neast\n50", "north, 40, east, 50", Equal),
        ("x^2\n+ 1", "x^2+1", Equal),
    ]);
}

#[test]
fn parts_are_numbered_in_many_ways() {
    check(&[
        ("①3②5", "(1) 3; (2) 5", Equal),
        ("①3②5", "5, 3", Different),
        (r"(1)$$-2$$ (2)$$3\sqrt{\number{2}}$$", r"(1) -2; (2) 3√2", Equal),
        ("(1) 16 12.5\n(2) 20", "(1) 16, 12.5; (2) 20", Equal),
        ("(i) 3 (ii) 4", "3, 4", Equal),
        ("(a) 3 (b) 4", "A", Different),
    ]);
}

#[test]
fn statements_are_selected_by_number() {
    check(&[
        ("①③④", "①, ④, ③", Equal),
        ("①③④", "1, 3, 4", Equal),
        ("①③④", "①③", Different),
        ("1.3.4.", r"\text{①③④}", Equal),
        ("1.\n2.", "1, 2", Equal),
        ("(1)(3).", "①③", Equal),
        ("(1)(3).", "3", Different),
        ("(2)(3).", "6 cm", Undecided),
    ]);
}

#[test]
fn matrices_and_vectors_are_compared_by_components() {
    check(&[
        (r"\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}", r"\begin{bmatrix}1 & 2 \\ 3 & 4\end{bmatrix}", Equal),
        (r"\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}", r"\begin{pmatrix}1 & 3 \\ 2 & 4\end{pmatrix}", Different),
        (r"2\overrightarrow{a}-2\overrightarrow{b}", r"2(\vec{a}-\vec{b})", Equal),
        (r"2\overrightarrow{a}-2\overrightarrow{b}", r"2(\vec{b}-\vec{a})", Different),
        (r"\overrightarrow{AB}", r"\overrightarrow{BA}", Different),
    ]);
}

#[test]
fn equations_may_be_rearranged() {
    check(&[
        ("x=3", "3=x", Equal),
        ("x=3", "y=3", Different),
        ("y=2x+1", "2x-y+1=0", Equal),
        ("y=2x+1", "y=2x-1", Different),
        (r"\frac{x^2}{4}+\frac{y^2}{3}=1", "3x^2+4y^2=12", Equal),
        ("(x-2)^2+y^2=4", "x²+y²-4x=0", Equal),
        (r"y=\dfrac{2}{x}", r"y=-\frac{2}{x}", Different),
        (r"\hat {y}=10.25-1.05x", "y = -1.05x + 10.25", Equal),
        ("f(x)=x^2", "f(t)=t^2", Equal),
        ("f(x)=x^2", "f(x)=x^3", Different),
        ("g(x)=2x", "f(x)=2x", Undecided),
        (r"f^{-1}(x)=\frac{x-1}{2}", r"\frac{x-1}{2}", Equal),
        ("AC=BD", "BD=AC", Equal),
        ("AC=BD", "BE=DB", Different),
        ("AB=5", "|AB|=5", Equal),
        ("AB=5", "BC=5", Undecided),
        (r"\angle 2 = \angle 4", "∠3=∠2", Different),
        ("y=2x (x>0)", "y=2x", Undecided),
    ]);
}

#[test]
fn systems_and_pieces_are_read_row_by_row() {
    check(&[
        (r"\begin{cases}x=1\\y=2\end{cases}", "(1,2)", Equal),
        (r"\begin{cases}x=1\\y=2\end{cases}", "x=2, y=1", Different),
        (r"\left\{\begin{array}{l}x+y=3\\x-y=1\end{array}\right.", "x-y=1, x+y=3", Equal),
        (
            r"f(x)=\begin{cases}x,&x>0\\-x,&x\le 0\end{cases}",
            r"\begin{cases}-x & \text{if } x\le 0\\x & x>0\end{cases}",
            Equal,
        ),
        (r"\begin{cases}x,&x>0\\-x,&x\le 0\end{cases}", r"\begin{cases}x,&x\ge0\\-x,&x<0\end{cases}", Undecided),
        (r"\begin{cases}x,&x>0\\-x,&x\le 0\end{cases}", r"\begin{cases}x,&x>0\\2x,&x\le0\end{cases}", Different),
    ]);
}

#[test]
fn expressions_are_equal_as_functions() {
    check(&[
        ("x^2-1", "(x-1)(x+1)", Equal),
        ("x^2-1", "(x-1)^2", Different),
        (r"\frac{{{2}^{n}}-1}{{{2}^{n}}}", r"1-\frac{1}{2^n}", Equal),
        (r"\frac{1}{2^{n}}", r"\frac{1}{2n}", Different),
        (r"\sqrt{x^2}", "|x|", Equal),
        (r"\sqrt{a^2+3b^2}", r"a+b\sqrt{3}", Different),
        (r"\cos 2x", r"1-2\sin^2 x", Equal),
        (r"1-2\sin^2 15°", r"\frac{\sqrt3}{2}", Equal),
        (r"\log_2 8", "3", Equal),
        (r"\lg 2+\lg 5", "1", Equal),
        ("(1+i)^2", "2i", Equal),
        ("3+4i", "3-4i", Different),
        ("4n", "4N", Undecided),
        (r"\sum_{k=1}^{n} k", r"\sum_{i=1}^{n} i", Equal),
        (r"\int_0^1 x dx", r"\frac12", Undecided),
    ]);
}

#[test]
fn families_are_equal_up_to_a_shift_of_their_parameter() {
    check(&[
        (r"x=\frac{\pi}{6}+2k\pi (k\in\mathbb{Z})", r"x=2n\pi+\frac{\pi}{6}, n∈ℤ", Equal),
        (r"x=k\pi+\frac{\pi}{2}, k∈Z", r"x=k\pi-\frac{\pi}{2}, k∈Z", Equal),
        (r"x=k\pi, k∈Z", r"x=2k\pi, k∈Z", Different),
        ("k·360°+30°, k∈Z", "30°+180°k (k∈Z)", Different),
        (r"\{x|x\neq k\pi, k\in Z\}", r"x \neq k\pi, k\in\mathbb{Z}", Equal),
        (r"x=k\pi, k\in Z", r"x=2k\pi \text{ or } x=\pi+2k\pi, k\in Z", Undecided),
    ]);
}

#[test]
fn ratios_and_times_are_distinguished() {
    check(&[
        ("2∶3", "4:6", Equal),
        ("2:3", "3:2", Different),
        ("9:10", "9 to 10", Equal),
        (r"1:\sqrt{3}", r"\frac{1}{\sqrt3}", Equal),
        ("1:3:2", "2:6:4", Equal),
        ("8:40", "08:40", Equal),
        ("8:30", "16:60", Undecided),
        ("10:30 a.m.", "10:30 AM", Equal),
        ("March 5", "March 6", Different),
    ]);
}

#[test]
fn yes_and_no_and_words_have_their_synonyms() {
    check(&[
        ("Yes", "yes, it is", Equal),
        ("True", "false", Different),
        ("正确", "对", Equal),
        ("No", "no real roots", Undecided),
        ("rhombus.", "a Rhombus", Equal),
        ("rhombus", "square", Different),
        ("菱形", "矩形", Different),
        ("菱形", "rhombus", Undecided),
        ("isosceles triangle", "equilateral triangle", Undecided),
        ("three fourths", "0.75", Equal),
        ("one hundred twenty", "120", Equal),
        ("十二", "12", Equal),
        ("百分之二十五", "25%", Equal),
        ("no solution", "None", Equal),
        ("12", "It cannot be determined.", Different),
    ]);
}

#[test]
fn letters_name_options_in_any_notation() {
    check(&[
        ("B", "(b)", Equal),
        ("(b)", "B", Equal),
        ("B", "选B", Equal),
        ("B", "C", Different),
        ("AC", "C and A", Equal),
        ("ABD", "A, B", Different),
    ]);
    let options = |texts: [&str; 3]| AnswerSpec { choices: texts.map(str::to_owned).to_vec(), ..AnswerSpec::default() };
    check_in(
        &options(["0.5", "2", "none of these"]),
        &[
            ("A", r"\frac{1}{2}", Equal),
            ("B", r"\frac{1}{2}", Different),
            ("B", "2 cm", Equal),
            ("2", "(B)", Equal),
            ("C", "None of these", Equal),
        ],
    );
}

#[test]
fn an_answer_key_may_leave_its_answer_open() {
    check(&[
        (r"$$\dfrac{35}{4}$$(or fill in $$8.75$$)", "8.75", Equal),
        ("2.2 (not unique)", "2.2", Equal),
        ("2.2 (not unique)", "2.3", Undecided),
        (r"$$\angle 1=\angle 2$$ or $$AB=CD$$ (choose one)", "AB=CD", Equal),
        ("We find r = 4. Therefore, the length is 8, so it is 8.", "8", Equal),
    ]);
}

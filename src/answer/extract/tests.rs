use super::*;

#[track_caller]
fn finds(text: &str, answer: &str, method: Method) {
    let extraction = extract(text);
    assert_eq!(extraction.parts, [answer], "{text}");
    assert_eq!(extraction.method, method, "{text}");
}

#[test]
fn a_bare_answer_stays_whole() {
    for text in [
        "42",
        "x=3",
        "$[2,5)$",
        "(B) 12 cm",
        r"9\text{ red apples}",
        r"$35\%$",
        "$35$ %",
        "35 percent",
        "2,400 m²",
        "no solution",
        "Marlene",
        "$4$ and $7$ and $9$",
        "the longest side",
        "$2k\\pi$ for any integer $k$",
        "三角形",
        "A. the circle",
        "I and II",
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        "-3.5e-4",
        "①3 ②4",
    ] {
        finds(text, text, Method::WholeText);
    }
}

#[test]
fn a_box_is_found_anywhere() {
    finds(r"We get $x=\boxed{\frac{1}{2}}$, as was to be shown.", r"\frac{1}{2}", Method::Boxed);
    finds(r"The answer is $\boxed{7}$ since 3 + 4 = 7.", "7", Method::Boxed);
    finds(r"Therefore, $\boxed{\text{Anna}}$ is our answer.", r"\text{Anna}", Method::Boxed);
    finds(r"$\boxed{35}$ pct", r"35\%", Method::Boxed);
    let both = extract(r"$\boxed{1} \text{ and } \boxed{-2}$");
    assert_eq!(both.parts, ["1", "-2"]);
}

#[test]
fn the_last_statement_wins() {
    finds(r"So $\boxed{5}$. Final Answer: The final answer is $6$. I hope it is correct.", "$6$", Method::Announced);
    finds("The answer is 3. No, wait. The answer is 4.", "4", Method::Announced);
    finds(r"\boxed{5} is the area. The answer is clear to everyone.", "5", Method::Boxed);
    finds(r"<answer>3</answer> or rather \boxed{4}", "4", Method::Boxed);
    finds(r"\boxed{3} <answer>The final answer is 4.</answer>", "4", Method::Tagged);
}

#[test]
fn words_announce_an_answer() {
    for (text, answer) in [
        ("The final answer is 42.", "42"),
        ("Final Answer: $3.5$. I hope it is correct.", "$3.5$"),
        ("**Answer:** B", "B"),
        ("**Final Answer**\n\n$x = 5$", "$x = 5$"),
        ("### Answer\n(C) 12", "(C) 12"),
        ("Answer $ 16 $", "$ 16 $"),
        (r"Answer \[ 16 \]", r"\[ 16 \]"),
        ("So the answer to your question is 8.25.", "8.25"),
        ("The correct option is **(D) 70°**.", "(D) 70°"),
        ("the answer should be [0, 1).", "[0, 1)"),
        ("The answer is therefore approximately 3.14 cm", "3.14 cm"),
        ("Thus (3, 4) is the correct answer.", "(3, 4)"),
        ("The answer is\n(C) Cecilia", "(C) Cecilia"),
        ("因此答案是：12。", "12"),
        ("综上，故选：C。", "C"),
        ("La réponse est 15.", "15"),
        ("La respuesta es 7 cm.", "7 cm"),
        ("The answer: \"$2$ or $3$\"", "$2$ or $3$"),
    ] {
        finds(text, answer, Method::Announced);
    }
}

#[test]
fn an_announced_answer_ends_where_reasons_begin() {
    for (text, answer) in [
        ("The answer is 12 because 3 times 4 is 12.", "12"),
        ("The answer is no solution, since the lines are parallel.", "no solution"),
        ("The answer is definitely E, so neither A nor C fits", "E"),
        ("The answer: D, which rules out what B says", "D"),
    ] {
        finds(text, answer, Method::Announced);
    }
    finds("Final answer: Tom has to wait 3 days more.", "3", Method::LastNumber);
    finds("Final answer: The smallest $m$ is 21.", "21", Method::LastNumber);
}

#[test]
fn further_turns_and_thoughts_are_ignored() {
    finds("The answer is 4.<|im_end|>\n<|im_start|>user\nThe answer is 5.", "4", Method::Announced);
    finds("<think>The answer is 5?</think>The answer is 6.</s>", "6", Method::Announced);
}

#[test]
fn a_letter_is_found_in_any_notation() {
    finds("having looked at it twice the correct answer is C", "C", Method::Announced);
    finds("It cannot be C as the sum is too large, so my choice would have to be B", "B", Method::LastLetter);
    finds("E. it can't be smaller than C", "E", Method::Leading);
    finds("C不是 D", "C", Method::Leading);
    finds("(A) The number falls. If the plants die, so does what eats them.", "A", Method::Leading);
}

#[test]
fn the_last_candidate_is_a_guess() {
    for (text, answer, method) in [
        ("所以现在总共有6 + 8 = 14辆车。", "14", Method::LastNumber),
        ("因此，小明的路比小红长 **7米**。", "7米", Method::LastBold),
        ("We find that $x < 3$.", "x < 3", Method::LastMath),
        (
            r"Adding both equations and then dividing by two gives \[ a + b = 7 \] as claimed.",
            "a + b = 7",
            Method::LastMath,
        ),
        (
            "So all of these things together cost them 1,250.50€ because that is the price",
            "1,250.50",
            Method::LastNumber,
        ),
        ("The two points: $(0, 1)$ and $(1, 0)$", "$(0, 1)$ and $(1, 0)$", Method::LastMath),
        ("There are 12 apples.", "12", Method::LastNumber),
        ("So it falls to -5°", "-5°", Method::LastNumber),
        ("how much is that in $? we think it is around 8$", "8", Method::LastNumber),
        ("1. **Step**: it is 3 + 4\n2. **Result**: this is 7", "7", Method::LastNumber),
    ] {
        finds(text, answer, method);
        assert!(method.is_fallback());
    }
}

#[test]
fn short_prose_without_a_value_stays_whole_and_long_prose_has_none() {
    finds("$x = 2k$, where $k$ is an integer", "$x = 2k$, where $k$ is an integer", Method::WholeText);
    finds(r"$\triangle ABC$ is isosceles", r"$\triangle ABC$ is isosceles", Method::WholeText);
    assert_eq!(extract(&"it is what it is and so on ".repeat(20)), Extraction::nothing());
    assert_eq!(extract(" \n ").method, Method::Nothing);
}

fn with_choices(choices: &[&str]) -> AnswerSpec {
    AnswerSpec { choices: choices.iter().map(|&choice| choice.to_owned()).collect(), ..AnswerSpec::default() }
}

#[test]
fn a_choice_is_extracted_as_its_letter() {
    let spec = with_choices(&["30 cm", "40 cm", "$50 \\mathrm{~cm}$"]);
    for (text, letter) in [
        ("(B) 40 cm", "B"),
        ("Option C is what I would choose: the answer is C.", "C"),
        (r"so $\boxed{\text{(A) } 30}$", "A"),
        ("The answer is 50 cm.", "C"),
        ("Adding up, the length is 50 centimeters.", "C"),
        ("It is 30 cm at first. Therefore, it is 40 cm in the end.", "B"),
        ("B", "B"),
        ("After some thought:\n\nC", "C"),
    ] {
        assert_eq!(extract_for(text, &spec).parts, [letter], "{text}");
    }
    assert_eq!(extract_for("The answer is 77 cm.", &spec).parts, ["77 cm"]);
    assert_eq!(extract_for("There is not enough information.", &spec).method, Method::Nothing);
}

#[test]
fn yes_and_no_follow_from_the_conclusion() {
    let spec = with_choices(&["yes", "no"]);
    for (text, letter) in [
        ("No, the left one is larger.", "B"),
        ("The left one is 3 and the right one 2. Therefore, the left one is not smaller.", "B"),
        ("Overall, the left one does look larger.", "A"),
    ] {
        assert_eq!(extract_for(text, &spec).parts, [letter], "{text}");
    }
}

#[test]
fn a_number_is_extracted_if_one_is_expected() {
    let spec = AnswerSpec { answer_type: Some(AnswerType::Integer), ..AnswerSpec::default() };
    for (text, number) in [
        ("14", "14"),
        ("The answer is 1,250 euros.", "1250"),
        ("The age gap is 3 years.", "3"),
        ("4 x 5 = 20 apples in 5 bags", "20"),
        ("There are three bags with more than 40 apples.", "3"),
        ("Answer: zero", "0"),
        ("Answer: 3/4", "0.75"),
        ("It moves with a velocity of -13 m/s.", "-13"),
        (r"\boxed{x = 7}", "7"),
    ] {
        assert_eq!(extract_for(text, &spec).parts, [number], "{text}");
    }
    assert_eq!(extract_for("I cannot answer that for 2 people.", &spec).method, Method::Nothing);
    let list = AnswerSpec { answer_type: Some(AnswerType::List), ..AnswerSpec::default() };
    assert_eq!(extract_for("It goes [1, 2], then [3, 4].", &list).parts, ["[3, 4]"]);
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn hostile_texts_are_fast_and_never_panic() {
    let specs = [
        with_choices(&["yes", "no"]),
        with_choices(&["3", "x^2"]),
        AnswerSpec { answer_type: Some(AnswerType::Float), ..AnswerSpec::default() },
    ];
    let pieces = [
        "{",
        "}",
        "\\boxed{",
        "\\boxed",
        "$",
        "$$",
        "\\(",
        "\\[",
        "**",
        "answer is ",
        "answer ",
        "Answer: ",
        "答案是",
        "选A",
        "(A) ",
        "A. ",
        "1",
        "1,",
        "1/",
        "-",
        ". ",
        "\n",
        "\n\n",
        "<answer>",
        "</think>",
        "<|im_start|>",
        "</s>",
        "é",
        "\u{301}",
        "\\text{",
        "is the answer",
        "= ",
        "a ",
        "no ",
        "\\frac",
        "\u{8}oxed{",
        "answer to ",
        "there are ",
        "A, B, ",
        "A and ",
    ];
    for piece in pieces {
        let text = piece.repeat((10 << 20) / piece.len());
        let start = std::time::Instant::now();
        extract(&text);
        for spec in &specs {
            extract_for(&text, spec);
        }
        let spent = start.elapsed();
        // Four extractions, each far below 50 ms when optimised.
        assert!(cfg!(debug_assertions) || spent.as_millis() < 200, "{piece:?} took {spent:?}");
    }
}

#[test]
fn random_characters_never_panic() {
    let alphabet: Vec<char> = "aA1 .,$\\{}()[]*=-/%°：。答案是选的éß−\n\"'<>|?!boxedanswerisfinal".chars().collect();
    let mut state = 88172645463325252_u64;
    for round in 0..20_000 {
        let text: String = (0..round % 60)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                alphabet[(state % alphabet.len() as u64) as usize]
            })
            .collect();
        extract(&text);
        extract_for(&text, &with_choices(&["answer", "1", "é"]));
        extract_for(&text, &AnswerSpec { answer_type: Some(AnswerType::Integer), ..AnswerSpec::default() });
    }
}

//! Replaces Unicode symbols and full-width forms by ASCII and LaTeX.

use std::borrow::Cow;

/// Replaces Unicode symbols and full-width forms by ASCII and LaTeX.
pub fn to_latex(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len() + 16);
    let mut raised = None;
    for character in text.chars() {
        // A run of raised or lowered digits is one exponent or index.
        let level = script(character);
        if level.map(|(mark, _)| mark) != raised {
            if raised.is_some() {
                result.push('}');
            }
            if let Some((mark, _)) = level {
                result.push(mark);
                result.push('{');
            }
            raised = level.map(|(mark, _)| mark);
        }
        if let Some((_, plain)) = level {
            result.push(plain);
            continue;
        }
        match symbol(character) {
            Some(replacement) => result.push_str(replacement),
            None => match character {
                '\u{FF01}'..='\u{FF5E}' => {
                    result.push(char::from_u32(character as u32 - 0xFEE0).unwrap_or(character));
                }
                other => result.push(other),
            },
        }
    }
    if raised.is_some() {
        result.push('}');
    }
    Cow::Owned(result)
}

/// Returns `^` or `_` with the plain form of a raised or lowered character.
fn script(character: char) -> Option<(char, char)> {
    const RAISED: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿᵗʰˢᵈʳ";
    const LOWERED: &str = "₀₁₂₃₄₅₆₇₈₉₊₋ₙ";
    const PLAIN: &[u8] = b"0123456789+-nthsdr";
    let find = |set: &str| set.chars().position(|other| other == character).map(|index| char::from(PLAIN[index]));
    find(RAISED).map(|plain| ('^', plain)).or_else(|| find(LOWERED).map(|plain| ('_', plain)))
}

fn symbol(character: char) -> Option<&'static str> {
    Some(match character {
        '−' | '–' | '—' | '‐' | '‑' | '﹣' => "-",
        '×' | '·' | '⋅' | '∙' | '•' | '✕' | '∗' => "*",
        '÷' | '∕' | '⁄' => "/",
        '√' => "\\sqrt ",
        '∛' => "\\sqrt[3]",
        'π' => "\\pi ",
        '∞' => "\\infty ",
        '≤' | '⩽' | '≦' => "<=",
        '≥' | '⩾' | '≧' => ">=",
        '≠' => "!=",
        '≈' | '≃' | '≅' | '≒' => "\\approx ",
        '≡' => "\\equiv ",
        '∪' | '⋃' => "\\cup ",
        '∩' | '⋂' => "\\cap ",
        '∈' => "\\in ",
        '∖' => "\\setminus ",
        '∅' | '⌀' => "\\emptyset ",
        'ℝ' => "\\mathbb{R}",
        'ℤ' => "\\mathbb{Z}",
        'ℕ' => "\\mathbb{N}",
        'ℚ' => "\\mathbb{Q}",
        '±' => "\\pm ",
        '∓' => "\\mp ",
        '°' | 'º' | '˚' => "^\\circ ",
        '℃' => "^\\circ C",
        '℉' => "^\\circ F",
        '′' | '’' | '‘' => "'",
        '″' | '“' | '”' | '„' | '‟' | '«' | '»' | '「' | '」' | '『' | '』' => "\"",
        '½' => "\\frac{1}{2}",
        '⅓' => "\\frac{1}{3}",
        '⅔' => "\\frac{2}{3}",
        '¼' => "\\frac{1}{4}",
        '¾' => "\\frac{3}{4}",
        '⅕' => "\\frac{1}{5}",
        '⅙' => "\\frac{1}{6}",
        '⅛' => "\\frac{1}{8}",
        '⅜' => "\\frac{3}{8}",
        '⅝' => "\\frac{5}{8}",
        '⅞' => "\\frac{7}{8}",
        '∠' | '∡' => "\\angle ",
        '△' | '▲' => "\\triangle ",
        '⊥' => "\\perp ",
        '∥' | '‖' => "\\parallel ",
        '→' | '⇒' | '⟹' => "\\to ",
        '∧' | '且' | '和' | '与' => "\\text{ and }",
        '∨' | '或' => "\\text{ or }",
        'α' => "\\alpha ",
        'β' => "\\beta ",
        'γ' => "\\gamma ",
        'δ' => "\\delta ",
        'ε' => "\\epsilon ",
        'θ' => "\\theta ",
        'λ' => "\\lambda ",
        'μ' | 'µ' => "\\mu ",
        'ρ' => "\\rho ",
        'σ' => "\\sigma ",
        'φ' => "\\phi ",
        'ω' => "\\omega ",
        'Δ' => "\\Delta ",
        '\u{3A9}' | '\u{2126}' => "\\Omega ",
        '∑' => "\\sum ",
        '∶' => ":",
        '∣' | '｜' => "|",
        '⟨' | '〈' => "(",
        '⟩' | '〉' => ")",
        'Ⅰ' | 'ⅰ' => "I",
        'Ⅱ' | 'ⅱ' => "II",
        'Ⅲ' | 'ⅲ' => "III",
        '。' | '．' => ".",
        '、' => ",",
        '€' => "\\euro ",
        '£' => "\\pound ",
        '¥' | '￥' => "\\yen ",
        '【' | '〔' => "[",
        '】' | '〕' => "]",
        '《' | '》' | '\u{200B}' | '\u{FEFF}' => "",
        '\u{A0}' | '\u{3000}' | '\u{2009}' | '\u{202F}' => " ",
        _ => return None,
    })
}

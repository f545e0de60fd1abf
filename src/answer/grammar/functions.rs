//! Names of functions and symbols in LaTeX and in plain text.

use crate::answer::math::Function;

/// The function of this name, with or without a backslash.
pub fn function(name: &str) -> Option<Function> {
    Some(match name {
        "sin" => Function::Sin,
        "cos" => Function::Cos,
        "tan" | "tg" => Function::Tan,
        "cot" | "ctg" => Function::Cot,
        "sec" => Function::Sec,
        "csc" => Function::Csc,
        "arcsin" | "asin" => Function::Arcsin,
        "arccos" | "acos" => Function::Arccos,
        "arctan" | "atan" => Function::Arctan,
        "sinh" => Function::Sinh,
        "cosh" => Function::Cosh,
        "tanh" => Function::Tanh,
        "ln" => Function::Ln,
        "log" | "lg" => Function::Log,
        "exp" => Function::Exp,
        "abs" => Function::Abs,
        "floor" => Function::Floor,
        "ceil" => Function::Ceil,
        "max" => Function::Max,
        "min" => Function::Min,
        _ => return None,
    })
}

/// What undoes a trigonometric function.
pub fn inverse_function(function: Function) -> Option<Function> {
    Some(match function {
        Function::Sin => Function::Arcsin,
        Function::Cos => Function::Arccos,
        Function::Tan => Function::Arctan,
        _ => return None,
    })
}

/// A function name at the beginning of a word such as `sinx`, and how long it is; what is left is at most two letters, so
/// that `single` is no sine.
pub fn function_prefix(word: &str) -> Option<(Function, usize)> {
    (2..word.len())
        .filter(|length| word.len() - length <= 2)
        .rev()
        .find_map(|length| function(&word[..length]).map(|function| (function, length)))
}

/// Commands that join or relate sets and statements; no expression contains them.
pub fn ends_expression(command: &str) -> bool {
    matches!(
        command,
        "cup"
            | "cap"
            | "setminus"
            | "to"
            | "rightarrow"
            | "Rightarrow"
            | "implies"
            | "iff"
            | "pmod"
            | "bmod"
            | "mod"
            | "perp"
            | "parallel"
            | "subset"
            | "subseteq"
            | "end"
            | "over"
            | "choose"
            | "because"
            | "therefore"
            | "rangle"
            | "rfloor"
            | "rceil"
            | "euro"
            | "pound"
            | "yen"
            | "forall"
            | "exists"
    )
}

/// Commands that put a mark on letters to name something: a segment, an angle, a vector.
pub fn is_accent(command: &str) -> bool {
    matches!(
        command,
        "angle"
            | "triangle"
            | "overline"
            | "overrightarrow"
            | "overleftrightarrow"
            | "vec"
            | "hat"
            | "widehat"
            | "bar"
            | "tilde"
            | "widetilde"
            | "underline"
            | "odot"
            | "square"
            | "mathbb"
            | "mathcal"
            | "mathfrak"
            | "dot"
            | "ddot"
            | "arc"
            | "overset"
            | "measuredangle"
    )
}

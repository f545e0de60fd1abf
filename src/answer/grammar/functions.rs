//! Names of functions and commands, in LaTeX and in plain text.

use crate::answer::math::Function;

/// Returns the function of this name (without a backslash).
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

/// Returns the inverse of a trigonometric function.
pub fn inverse_function(function: Function) -> Option<Function> {
    Some(match function {
        Function::Sin => Function::Arcsin,
        Function::Cos => Function::Arccos,
        Function::Tan => Function::Arctan,
        _ => return None,
    })
}

/// Finds a function name at the start of a word such as `sinx`, with its length in bytes. At most
/// two letters may remain, so that `single` is not a sine.
pub fn function_prefix(word: &str) -> Option<(Function, usize)> {
    (2..word.len())
        .filter(|length| word.len() - length <= 2)
        .rev()
        .find_map(|length| function(&word[..length]).map(|function| (function, length)))
}

/// Returns whether a command joins or relates sets and statements, which no expression contains.
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

/// Returns whether a command decorates letters to make a name: a segment, an angle, a vector.
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

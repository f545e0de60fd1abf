//! Token patterns around an answer: introductory words, currency signs, labels and conditions, and
//! answers separated only by spaces.

use super::lex::Token;
use super::token_slice::TokenSlice;

/// Maximum number of tokens in the subject of a Chinese sentence ("the value of x is 3").
const MAX_SUBJECT: usize = 6;

/// Drops introductory words such as "about", or Chinese ones that end in "is", "about" or
/// "altogether".
pub fn without_hedges(tokens: TokenSlice<'_>) -> TokenSlice<'_> {
    const HEDGES: [&str; 10] =
        ["about", "approximately", "around", "roughly", "exactly", "is", "are", "equals", "nearly", "so"];
    let chinese = |text: &str| text.ends_with(['为', '是', '得', '约', '共', '有', '于', '点']) && text.len() > 2;
    let hedge = |token: &Token| match token {
        Token::Text(text) if chinese(text) || text.trim_end().ends_with([':', '：']) => true,
        Token::Word(word) | Token::Text(word) => HEDGES.iter().any(|hedge| word.trim().eq_ignore_ascii_case(hedge)),
        _ => false,
    };
    // "x 的值为 3": the subject comes before the value.
    let subject =
        |token: &Token| matches!(token, Token::Text(text) if text.ends_with(['为', '是']) && !text.is_ascii());
    let about = tokens.list.iter().take(MAX_SUBJECT).take_while(|token| !matches!(token, Token::Compare(_)));
    let skip = about.enumerate().filter(|(_, token)| subject(token)).map(|(place, _)| place + 1).last().unwrap_or(0);
    let skip = skip + tokens.list[skip..].iter().take_while(|token| hedge(token)).count();
    // A text of introductory words alone is the answer.
    if skip == tokens.list.len() { tokens } else { tokens.slice(skip, tokens.list.len()) }
}

/// Splits off a currency sign in front of an amount.
pub fn currency(tokens: TokenSlice<'_>) -> (&'static str, TokenSlice<'_>) {
    let sign = match tokens.list.first() {
        Some(Token::Sign('$')) => "$",
        Some(Token::Command(name)) if name == "euro" => "\\euro",
        Some(Token::Command(name)) if name == "pound" => "\\pound",
        Some(Token::Command(name)) if name == "yen" => "\\yen",
        _ => return ("", tokens),
    };
    (sign, tokens.slice(1, tokens.list.len()))
}

/// Splits answers that are separated only by spaces: numbers or points. Returns `None` for a single
/// answer.
pub fn split_unseparated(tokens: TokenSlice<'_>) -> Option<Vec<TokenSlice<'_>>> {
    let mut depth = 0_usize;
    let (mut numbers, mut places) = (false, Vec::new());
    for (place, token) in tokens.list.iter().enumerate() {
        let before = place.checked_sub(1).map(|before| &tokens.list[before]);
        let after = tokens.list.get(place + 1);
        // An index or exponent belongs to the token before it.
        let index = place.checked_sub(2).is_some_and(|sign| matches!(tokens.list[sign], Token::Sign('_' | '^')));
        let space_before = tokens.space_before[place] && !index;
        match (before, token) {
            // The fraction of a mixed number belongs to it.
            (Some(Token::Number(_)), Token::Number(_))
                if depth == 0 && space_before && after != Some(&Token::Sign('/')) =>
            {
                numbers = true;
                places.push(place);
            }
            (Some(Token::Number(_)), Token::Sign('-'))
                if depth == 0 && space_before && !*tokens.space_before.get(place + 1)? =>
            {
                places.push(place);
            }
            _ => {}
        }
        match token {
            Token::Open(_) => depth += 1,
            Token::Close(_) => depth = depth.saturating_sub(1),
            Token::Command(name) if name == "begin" => return None,
            _ => {}
        }
    }
    if !numbers {
        places = points(tokens)?;
    }
    let ends = places.iter().copied().chain([tokens.list.len()]);
    let starts = [0].into_iter().chain(places.iter().copied());
    Some(starts.zip(ends).map(|(start, end)| tokens.slice(start, end)).collect())
}

/// Returns the start of each further point in a run of points: `(1,2) (3,4)`.
fn points(tokens: TokenSlice<'_>) -> Option<Vec<usize>> {
    let mut depth = 0_usize;
    let (mut places, mut comma) = (Vec::new(), false);
    for (place, token) in tokens.list.iter().enumerate() {
        match token {
            Token::Open('(') if depth == 0 => {
                places.push(place);
                (depth, comma) = (1, false);
            }
            Token::Open(_) if depth > 0 => depth += 1,
            Token::Close(_) if depth > 0 => {
                depth -= 1;
                if depth == 0 && !comma {
                    return None;
                }
            }
            Token::Sign(',') if depth == 1 => comma = true,
            _ if depth > 0 => {}
            _ => return None,
        }
    }
    (places.len() > 1).then(|| places.split_off(1))
}

/// Splits an answer from the condition in brackets after it: `kπ (k ∈ Z)`, `y = 2x (x > 0)`.
pub fn split_condition(tokens: TokenSlice<'_>) -> Option<(TokenSlice<'_>, TokenSlice<'_>)> {
    let (Some(Token::Close(')')), length) = (tokens.list.last(), tokens.list.len()) else { return None };
    let open = tokens.list.iter().rposition(|token| matches!(token, Token::Open('(')))?;
    let condition = tokens.slice(open + 1, length - 1);
    let related = condition.list.iter().position(|token| matches!(token, Token::Compare(_)));
    let tells = related.is_some_and(|place| place > 0 && condition.list[place] != Token::Compare('='));
    (tells && open > 0).then(|| (tokens.slice(0, open).trimmed(), condition))
}

/// Splits the name of a point from its coordinates: `A(1,2)`.
pub fn split_point_label(tokens: TokenSlice<'_>) -> Option<(String, TokenSlice<'_>)> {
    let Some(Token::Word(letter)) = tokens.list.first() else { return None };
    let open = tokens.list.iter().position(|token| *token == Token::Open('('))?;
    let name = match &tokens.list[1..open] {
        [] => letter.clone(),
        [Token::Sign('\'')] => format!("{letter}'"),
        [Token::Sign('_'), Token::Number(index)] => format!("{letter}_{index}"),
        _ => return None,
    };
    // C(5,2) is a binomial coefficient.
    let count = letter == "C" && matches!(tokens.list[open..], [_, Token::Number(_), _, Token::Number(_), _]);
    (!count && letter.len() == 1 && letter.as_bytes()[0].is_ascii_uppercase())
        .then(|| (name, tokens.slice(open, tokens.list.len())))
}

/// Returns whether the tokens name the set of real numbers.
pub fn is_reals(tokens: TokenSlice<'_>) -> bool {
    match tokens.list {
        [Token::Word(name)] => name == "R",
        [Token::Text(name)] => name.trim() == "R",
        [Token::Command(face), Token::Open('{'), Token::Word(name), Token::Close('}')] => {
            face == "mathbb" && name == "R"
        }
        _ => false,
    }
}

/// Returns whether the token at `index` is the "to" of a ratio: "3 to 4".
pub fn is_to(tokens: TokenSlice<'_>, index: usize) -> bool {
    matches!(tokens.list, [Token::Number(_), Token::Word(word), Token::Number(_)] if word == "to") && index == 1
}

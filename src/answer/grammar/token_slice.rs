//! Slices of an answer's tokens: splitting, trimming, unwrapping.

use super::lex::{Token, Tokens};

/// A slice of an answer's tokens.
#[derive(Clone, Copy)]
pub struct TokenSlice<'a> {
    pub list: &'a [Token],
    pub space_before: &'a [bool],
}

impl Tokens {
    pub fn as_slice(&self) -> TokenSlice<'_> {
        TokenSlice { list: &self.list, space_before: &self.space_before }
    }
}

impl TokenSlice<'_> {
    pub fn slice(self, from: usize, to: usize) -> Self {
        Self { list: &self.list[from..to], space_before: &self.space_before[from..to] }
    }

    pub fn is_empty(self) -> bool {
        self.list.is_empty()
    }

    /// Drops punctuation and empty texts at both ends.
    pub fn trimmed(self) -> Self {
        let nothing = |token: &Token| match token {
            Token::Sign(sign) => matches!(sign, '.' | ',' | ';' | ':' | '"' | '?' | '。' | '\n'),
            Token::Text(text) => text.trim_matches(|c: char| c.is_whitespace() || ".,;:".contains(c)).is_empty(),
            Token::Row => true,
            _ => false,
        };
        let start = self.list.iter().take_while(|token| nothing(token)).count();
        let end = self.list.len() - self.list[start..].iter().rev().take_while(|token| nothing(token)).count();
        self.slice(start, end)
    }

    /// Returns the indices of the tokens outside all brackets for which `test` holds.
    pub fn outside(self, test: impl Fn(usize, &Token) -> bool) -> Vec<usize> {
        let mut depth = 0_usize;
        let mut found = Vec::new();
        for (index, token) in self.list.iter().enumerate() {
            match token {
                Token::Open(_) => depth += 1,
                Token::Close(_) => depth = depth.saturating_sub(1),
                Token::Command(name) if name == "begin" => depth += 1,
                Token::Command(name) if name == "end" => depth = depth.saturating_sub(1),
                _ if depth == 0 && test(index, token) => found.push(index),
                _ => {}
            }
        }
        found
    }

    pub fn split(self, test: impl Fn(usize, &Token) -> bool) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut start = 0;
        for place in self.outside(test) {
            parts.push(self.slice(start, place).trimmed());
            start = place + 1;
        }
        parts.push(self.slice(start, self.list.len()).trimmed());
        parts
    }

    /// Returns the inside of the brackets if one pair encloses everything.
    pub fn unwrapped(self) -> Option<(char, Self, char)> {
        let (Some(Token::Open(open)), Some(Token::Close(close))) = (self.list.first(), self.list.last()) else {
            return None;
        };
        let mut depth = 0_usize;
        for (index, token) in self.list.iter().enumerate() {
            match token {
                Token::Open(_) => depth += 1,
                Token::Close(_) => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && index + 1 < self.list.len() {
                return None;
            }
        }
        Some((*open, self.slice(1, self.list.len() - 1), *close))
    }
}

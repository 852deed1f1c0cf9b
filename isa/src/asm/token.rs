//! Words, numbers and signs of a line.

use super::AsmErrorKind;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token<'a> {
    Word(&'a str),
    Number(u64),
    Sign(&'static str),
}

/// Signs, the longer before those that begin them.
const SIGNS: [&str; 31] = [
    ">>=", "<<=", "+=", "-=", "*=", "/=", "%=", "|=", "&=", "^=", "==", "!=", ">=", "<=", ">", "<",
    "=", "+", "-", "*", "&", "%", "(", ")", "[", "]", ",", ":", "#", "!", "@",
];

/// Takes the first token off the text, which does not begin with a space. `None` at the end of
/// the line or at a comment.
pub(super) fn next<'a>(
    text: &'a str,
    glued: bool,
) -> Result<Option<(Token<'a>, &'a str)>, AsmErrorKind> {
    let Some(first) = text.chars().next() else {
        return Ok(None);
    };
    // `#` begins a comment, but in `bpf_map_lookup_elem#1` the helper's number.
    let number_follows = text.chars().nth(1).is_some_and(|c| c.is_ascii_digit());
    if first == ';' || text.starts_with("//") || (first == '#' && !(glued && number_follows)) {
        return Ok(None);
    }
    if first.is_ascii_digit() {
        let (digits, rest) = split(text, |c| c.is_ascii_alphanumeric());
        let number = number(digits).ok_or_else(|| AsmErrorKind::BadNumber(digits.to_owned()))?;
        return Ok(Some((Token::Number(number), rest)));
    }
    if is_word_start(first) {
        let (word, rest) = split(text, |c| is_word_start(c) || c.is_ascii_digit());
        return Ok(Some((Token::Word(word), rest)));
    }
    SIGNS
        .iter()
        .find_map(|sign| Some(Some((Token::Sign(sign), text.strip_prefix(sign)?))))
        .ok_or(AsmErrorKind::UnexpectedCharacter(first))
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '_' | '.' | '$')
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn number(digits: &str) -> Option<u64> {
    match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

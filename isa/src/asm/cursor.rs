//! A position in a line, and the parts that both notations share.

use super::token::{self, Token};
use super::{AsmError, AsmErrorKind, Target};
use crate::Reg;

/// The tokens of a line, and how far they have been read.
pub(super) struct Cursor<'a> {
    tokens: Vec<(Token<'a>, u32)>,
    next: usize,
    line: u32,
    /// The opcode that a kernel log gives before the instruction.
    pub(super) opcode: Option<u8>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, line: u32) -> Result<Self, AsmError> {
        let (mut rest, opcode) = strip_dump(text);
        let mut tokens = Vec::new();
        let mut glued = false;
        loop {
            let trimmed = rest.trim_start();
            glued &= trimmed.len() == rest.len();
            rest = trimmed;
            let column = (text.len() - rest.len()) as u32 + 1;
            let Some((token, after)) =
                token::next(rest, glued).map_err(|kind| AsmError { line, column, kind })?
            else {
                break;
            };
            glued = matches!(token, Token::Word(_));
            tokens.push((token, column));
            rest = after;
        }
        Ok(Self {
            tokens,
            next: 0,
            line,
            opcode,
        })
    }

    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.ahead(0)
    }

    fn ahead(&self, count: usize) -> Option<Token<'a>> {
        self.tokens.get(self.next + count).map(|&(token, _)| token)
    }

    pub(super) fn at_end(&self) -> bool {
        self.peek().is_none()
    }

    pub(super) fn skip(&mut self) {
        self.next += 1;
    }

    /// An error at the current token.
    pub(super) fn error(&self, kind: AsmErrorKind) -> AsmError {
        let column = self.tokens.get(self.next).map_or(0, |&(_, column)| column);
        AsmError {
            line: self.line,
            column,
            kind,
        }
    }

    pub(super) fn expected<T>(&self, expected: &'static str) -> Result<T, AsmError> {
        let found = match self.peek() {
            None => "the end of the line".to_owned(),
            Some(Token::Word(word)) => format!("`{word}`"),
            Some(Token::Number(number)) => format!("{number:#x}"),
            Some(Token::Sign(sign)) => format!("`{sign}`"),
        };
        Err(self.error(AsmErrorKind::Unexpected { expected, found }))
    }

    pub(super) fn end(&self) -> Result<(), AsmError> {
        if self.at_end() {
            return Ok(());
        }
        self.expected("the end of the line")
    }

    /// Takes the sign if it is next.
    pub(super) fn take(&mut self, sign: &'static str) -> bool {
        let found = self.peek() == Some(Token::Sign(sign));
        self.next += usize::from(found);
        found
    }

    /// Takes the word if it is next.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(Token::Word(word));
        self.next += usize::from(found);
        found
    }

    pub(super) fn sign(&mut self, sign: &'static str) -> Result<(), AsmError> {
        if self.take(sign) {
            return Ok(());
        }
        self.expected(sign)
    }

    /// Takes the definition of a label, `name:`.
    pub(super) fn label(&mut self) -> Option<&'a str> {
        match (self.peek(), self.ahead(1)) {
            (Some(Token::Word(name)), Some(Token::Sign(":"))) => {
                self.next += 2;
                Some(name)
            }
            _ => None,
        }
    }

    /// `5`, `-5`, `+5`, with the sign apart or not.
    pub(super) fn number(&mut self, expected: &'static str) -> Result<i128, AsmError> {
        let start = self.next;
        let negative = self.take("-");
        if !negative {
            self.take("+");
        }
        if let Some(Token::Number(number)) = self.peek() {
            self.skip();
            let number = i128::from(number);
            return Ok(if negative { -number } else { number });
        }
        self.next = start;
        self.expected(expected)
    }

    /// A number within bounds.
    pub(super) fn bounded(
        &mut self,
        what: &'static str,
        min: i128,
        max: i128,
    ) -> Result<i128, AsmError> {
        let start = self.next;
        let value = self.number(what)?;
        if (min..=max).contains(&value) {
            return Ok(value);
        }
        self.next = start;
        Err(self.error(AsmErrorKind::OutOfRange {
            what,
            value,
            min,
            max,
        }))
    }

    /// An immediate of 32 bits, signed or unsigned.
    pub(super) fn imm32(&mut self) -> Result<i32, AsmError> {
        let value = self.bounded("immediate", i32::MIN.into(), u32::MAX.into())?;
        Ok(value as i32)
    }

    /// A number without sign, of 32 bits.
    pub(super) fn unsigned32(&mut self, what: &'static str) -> Result<u32, AsmError> {
        Ok(self.bounded(what, 0, u32::MAX.into())? as u32)
    }

    /// An immediate of 64 bits, signed or unsigned.
    pub(super) fn imm64(&mut self) -> Result<u64, AsmError> {
        let value = self.bounded("64-bit immediate", i64::MIN.into(), u64::MAX.into())?;
        Ok(value as u64)
    }

    /// The rest of an address after its register: nothing, or `+` or `-` and a number.
    pub(super) fn offset(&mut self) -> Result<i16, AsmError> {
        match self.peek() {
            Some(Token::Sign("+" | "-")) => {
                let offset = self.bounded("offset", i16::MIN.into(), i16::MAX.into())?;
                Ok(offset as i16)
            }
            _ => Ok(0),
        }
    }

    /// `+3`, `pc+3` or a label; what `llvm-objdump` adds in angle brackets is skipped.
    pub(super) fn target(&mut self) -> Result<Target<'a>, AsmError> {
        let pc = self.take_word("pc");
        if !pc && let Some(Token::Word(name)) = self.peek() {
            self.skip();
            return Ok(Target::Label(name));
        }
        let expected = "a label or a distance in slots (`+3`)";
        let delta = self.bounded(expected, i32::MIN.into(), i32::MAX.into())?;
        self.skip_symbol();
        Ok(Target::Delta(delta as i64))
    }

    /// Skips `<name+0x10>` at the end of a line.
    fn skip_symbol(&mut self) {
        if self.peek() == Some(Token::Sign("<"))
            && let Some((Token::Sign(">"), _)) = self.tokens.last()
        {
            self.next = self.tokens.len();
        }
    }

    /// Whether a register is next, without taking it.
    pub(super) fn is_register(&self) -> bool {
        matches!(self.peek(), Some(Token::Word(word)) if register(word).is_some())
    }

    /// Whether a register follows the current token.
    pub(super) fn register_ahead(&self) -> bool {
        matches!(self.ahead(1), Some(Token::Word(word)) if register(word).is_some())
    }

    /// Whether the line ends with `ll`, the mark of a 64-bit immediate.
    pub(super) fn ends_with_ll(&self) -> bool {
        matches!(self.tokens.last(), Some((Token::Word("ll"), _)))
    }

    /// A register by its 32- or 64-bit name; whether it was the 64-bit one.
    pub(super) fn register(&mut self) -> Result<(Reg, bool), AsmError> {
        if let Some(Token::Word(word)) = self.peek()
            && let Some(found) = register(word)
        {
            self.skip();
            return Ok(found);
        }
        self.expected("a register (`r0` to `r10`)")
    }

    /// A register by its 64-bit name.
    pub(super) fn wide_register(&mut self) -> Result<Reg, AsmError> {
        let start = self.next;
        if let (reg, true) = self.register()? {
            return Ok(reg);
        }
        self.next = start;
        self.expected("a 64-bit register (`r0` to `r10`)")
    }
}

fn register(word: &str) -> Option<(Reg, bool)> {
    let (number, wide) = match (word.strip_prefix('r'), word.strip_prefix('w')) {
        (Some(number), _) => (number, true),
        (_, Some(number)) => (number, false),
        _ => return None,
    };
    let plain = number == "0" || !number.starts_with(['0', '+']);
    let reg = number.parse().ok().and_then(Reg::new)?;
    plain.then_some((reg, wide))
}

/// Takes off what dumps print before the instruction: `12:` and the bytes, or `12: (b7)`.
fn strip_dump(text: &str) -> (&str, Option<u8>) {
    let trimmed = text.trim_start();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let Some(rest) = trimmed[digits..].strip_prefix(':').filter(|_| digits > 0) else {
        return (text, None);
    };
    let rest = rest.trim_start();
    if let Some((opcode, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')'))
        && opcode.len() == 2
        && let Ok(opcode) = u8::from_str_radix(opcode, 16)
    {
        return (after, Some(opcode));
    }
    let mut after = rest;
    let mut count = 0;
    while let Some((byte, next)) = after.split_at_checked(2)
        && byte.bytes().all(|b| b.is_ascii_hexdigit())
        && next.starts_with([' ', '\t'])
    {
        count += 1;
        after = next.strip_prefix(' ').unwrap_or(next);
    }
    if matches!(count, 8 | 16) {
        (after, None)
    } else {
        (rest, None)
    }
}

//! The kernel's subset of `printf` for eBPF (`bpf_bprintf_prepare`).
//!
//! Conversions `d i u x X` with `l` or `ll`, `c`, `s`, `p`, and after `p` one of `K x s S B`
//! (printed as a number: symbols are not looked up), `ks us` (strings), `i4 I4 i6 I6` (network
//! addresses); each after optional flags `0`, `+`, `-`, space and a width. Anything else, and
//! any ASCII character that is neither printable nor white space, is `EINVAL`. Each argument is
//! one 64-bit word; strings and addresses are read from wherever the argument points to, and
//! what cannot be read is empty.

use core::mem::MaybeUninit;

use bpftime_abi::Errno;

use crate::env::{Env, ops};
use crate::memory::read_str;

/// Longest string that `%s` prints, with its NUL.
const MAX_STRING: usize = 256;
/// The kernel's `FIELD_WIDTH_MAX`.
const MAX_WIDTH: usize = (1 << 23) - 1;

/// Where text goes: as much as fits is stored, everything is counted.
pub struct Text {
    to: *mut u8,
    capacity: usize,
    len: usize,
}

impl Text {
    /// Text that goes to `capacity` bytes at `to`.
    ///
    /// # Safety
    /// The bytes are writable as long as the result is used.
    pub unsafe fn new(to: *mut u8, capacity: usize) -> Self {
        Self {
            to,
            capacity,
            len: 0,
        }
    }

    /// Bytes of the whole text, stored or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, byte: u8) {
        if self.len < self.capacity {
            // SAFETY: len < capacity.
            unsafe { self.to.wrapping_add(self.len).write_volatile(byte) };
        }
        self.len = self.len.wrapping_add(1);
    }

    fn push_times(&mut self, byte: u8, times: usize) {
        let room = self.capacity.saturating_sub(self.len).min(times);
        let mut done = 0;
        while done < room {
            self.push(byte);
            done = done.wrapping_add(1);
        }
        self.len = self.len.wrapping_add(times.wrapping_sub(room));
    }
}

/// Words that the conversions take.
#[derive(Clone, Copy)]
pub struct Args {
    words: *const u8,
    count: usize,
}

impl Args {
    /// `count` words at `words`.
    ///
    /// # Safety
    /// They are readable as long as the result is used.
    pub unsafe fn new(words: *const u8, count: usize) -> Self {
        Self { words, count }
    }

    fn get(&self, index: usize) -> u64 {
        if index >= self.count {
            return 0;
        }
        // SAFETY: index < count.
        unsafe {
            self.words
                .wrapping_add(index.wrapping_mul(8))
                .cast::<u64>()
                .read_unaligned()
        }
    }
}

/// A format string, without its NUL.
#[derive(Clone, Copy)]
pub struct Format {
    at: *const u8,
    len: usize,
}

impl Format {
    /// The format in `size` bytes at `at`; `EINVAL` if none of them is a NUL.
    ///
    /// # Safety
    /// The bytes are readable as long as the result is used.
    pub unsafe fn new(at: *const u8, size: usize) -> Result<Self, Errno> {
        let mut len = 0;
        while len < size {
            // SAFETY: len < size.
            if unsafe { at.wrapping_add(len).read_volatile() } == 0 {
                return Ok(Self { at, len });
            }
            len = len.wrapping_add(1);
        }
        Err(Errno::EINVAL)
    }

    /// A character; 0 at the end and after it.
    fn get(&self, index: usize) -> u8 {
        if index >= self.len {
            return 0;
        }
        // SAFETY: index < len.
        unsafe { self.at.wrapping_add(index).read_volatile() }
    }
}

/// Flags and width of a conversion.
#[derive(Clone, Copy, Default)]
struct Field {
    zero: bool,
    plus: bool,
    left: bool,
    space: bool,
    width: usize,
}

/// What a conversion prints.
#[derive(Clone, Copy)]
enum Conversion {
    Signed(u8),
    Unsigned(u8),
    Hex(u8, bool),
    Char,
    Str,
    /// `%pks`, `%pus`: as `%s`, but the kernel ignores the width.
    PointerStr,
    Pointer,
    Symbol,
    Ip4 {
        padded: bool,
    },
    Ip6 {
        colons: bool,
    },
}

/// Checks the whole format, then writes the text.
///
/// # Safety
/// `env` was filled by an engine.
pub unsafe fn format(
    env: &mut Env,
    text: &mut Text,
    format: Format,
    args: Args,
) -> Result<(), Errno> {
    each(format, args.count, |_| Ok(()))?;
    let mut arg = 0;
    each(format, args.count, |piece| {
        match piece {
            Piece::Byte(byte) => text.push(byte),
            Piece::Conversion(field, conversion) => {
                // SAFETY: by contract.
                unsafe { print(env, text, field, conversion, args.get(arg)) };
                arg = arg.wrapping_add(1);
            }
        }
        Ok(())
    })
}

/// A piece of a format.
enum Piece {
    Byte(u8),
    Conversion(Field, Conversion),
}

fn each(
    format: Format,
    args: usize,
    mut piece: impl FnMut(Piece) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut at = 0;
    let mut conversions = 0;
    while at < format.len {
        let byte = format.get(at);
        if byte.is_ascii() && !is_print(byte) && !is_space(byte) {
            return Err(Errno::EINVAL);
        }
        at = at.wrapping_add(1);
        if byte != b'%' {
            piece(Piece::Byte(byte))?;
            continue;
        }
        if format.get(at) == b'%' {
            at = at.wrapping_add(1);
            piece(Piece::Byte(b'%'))?;
            continue;
        }
        if conversions >= args {
            return Err(Errno::EINVAL);
        }
        conversions = conversions.wrapping_add(1);
        let field = parse_field(format, &mut at);
        let conversion = parse_conversion(format, &mut at)?;
        piece(Piece::Conversion(field, conversion))?;
    }
    Ok(())
}

fn parse_field(format: Format, at: &mut usize) -> Field {
    let mut field = Field::default();
    loop {
        match format.get(*at) {
            b'0' => field.zero = true,
            b'+' => field.plus = true,
            b'-' => field.left = true,
            b' ' => field.space = true,
            _ => break,
        }
        *at = at.wrapping_add(1);
    }
    loop {
        let digit = format.get(*at).wrapping_sub(b'0');
        if digit > 9 {
            return field;
        }
        field.width = field
            .width
            .wrapping_mul(10)
            .wrapping_add(digit as usize)
            .min(MAX_WIDTH);
        *at = at.wrapping_add(1);
    }
}

fn parse_conversion(format: Format, at: &mut usize) -> Result<Conversion, Errno> {
    let mut next = || {
        let byte = format.get(*at);
        *at = at.wrapping_add(1);
        byte
    };
    let mut byte = next();
    let conversion = match byte {
        b'p' => {
            let (a, b) = (format.get(*at), format.get(at.wrapping_add(1)));
            let (conversion, taken) = match (a, b) {
                _ if ends(a) => (Conversion::Pointer, 0),
                (b'k' | b'u', b's') => (Conversion::PointerStr, 2),
                (b'K' | b'x', _) => (Conversion::Pointer, 1),
                (b's' | b'S' | b'B', _) => (Conversion::Symbol, 1),
                (b'i', b'4') => (Conversion::Ip4 { padded: true }, 2),
                (b'I', b'4') => (Conversion::Ip4 { padded: false }, 2),
                (b'i', b'6') => (Conversion::Ip6 { colons: false }, 2),
                (b'I', b'6') => (Conversion::Ip6 { colons: true }, 2),
                _ => return Err(Errno::EINVAL),
            };
            *at = at.wrapping_add(taken);
            if matches!(conversion, Conversion::PointerStr) && !ends(format.get(*at)) {
                return Err(Errno::EINVAL);
            }
            return Ok(conversion);
        }
        b's' => Conversion::Str,
        b'c' => return Ok(Conversion::Char),
        _ => {
            let mut size = 4;
            for _ in 0..2 {
                if byte == b'l' {
                    size = 8;
                    byte = next();
                }
            }
            return match byte {
                b'd' | b'i' => Ok(Conversion::Signed(size)),
                b'u' => Ok(Conversion::Unsigned(size)),
                b'x' => Ok(Conversion::Hex(size, false)),
                b'X' => Ok(Conversion::Hex(size, true)),
                _ => Err(Errno::EINVAL),
            };
        }
    };
    // What follows `%s` must not look like a part of the conversion.
    if ends(format.get(*at)) {
        Ok(conversion)
    } else {
        Err(Errno::EINVAL)
    }
}

/// # Safety
/// `env` was filled by an engine.
unsafe fn print(env: &mut Env, text: &mut Text, field: Field, conversion: Conversion, arg: u64) {
    let narrow = |size: u8| if size == 4 { arg as u32 as u64 } else { arg };
    match conversion {
        Conversion::Signed(size) => {
            let value = if size == 4 {
                arg as i32 as i64
            } else {
                arg as i64
            };
            let sign = match (value < 0, field.plus, field.space) {
                (true, _, _) => Some(b'-'),
                (false, true, _) => Some(b'+'),
                (false, false, true) => Some(b' '),
                _ => None,
            };
            number(text, field, sign, value.unsigned_abs(), 10, false);
        }
        Conversion::Unsigned(size) => number(text, field, None, narrow(size), 10, false),
        Conversion::Hex(size, upper) => number(text, field, None, narrow(size), 16, upper),
        Conversion::Pointer => {
            // All sixteen digits, unless a width is given.
            let all = Field {
                zero: true,
                width: 16,
                ..Field::default()
            };
            let field = if field.width == 0 { all } else { field };
            number(text, field, None, arg, 16, false);
        }
        Conversion::Symbol => {
            // Padded like a string: `0x` and as many digits as it takes.
            let bits = 64u32.wrapping_sub((arg | 1).leading_zeros());
            let digits = bits.wrapping_add(3).wrapping_shr(2) as usize;
            let padding = field.width.saturating_sub(digits.wrapping_add(2));
            if !field.left {
                text.push_times(b' ', padding);
            }
            text.push(b'0');
            text.push(b'x');
            number(text, Field::default(), None, arg, 16, false);
            if field.left {
                text.push_times(b' ', padding);
            }
        }
        Conversion::Char => padded(text, field, &[arg as u8]),
        Conversion::Str | Conversion::PointerStr => {
            let padding = matches!(conversion, Conversion::Str);
            let field = if padding { field } else { Field::default() };
            let mut string = [MaybeUninit::<u8>::uninit(); MAX_STRING];
            let start = string.as_mut_ptr().cast::<u8>();
            // SAFETY: string has MAX_STRING bytes; env by contract.
            let len = unsafe { read_str(env, start, MAX_STRING as u64, arg) };
            let len = len.unwrap_or(1).saturating_sub(1) as usize;
            // SAFETY: read_str wrote len bytes and a NUL, or nothing was to be had and len is 0.
            padded(text, field, unsafe {
                core::slice::from_raw_parts(start, len)
            });
        }
        Conversion::Ip4 { padded } => {
            let mut address = [0u8; 4];
            // SAFETY: address has 4 bytes; env by contract.
            unsafe { fetch(env, &mut address, arg) };
            let field = Field {
                zero: true,
                width: if padded { 3 } else { 0 },
                ..Field::default()
            };
            for (index, byte) in address.iter().enumerate() {
                if index > 0 {
                    text.push(b'.');
                }
                number(text, field, None, *byte as u64, 10, false);
            }
        }
        Conversion::Ip6 { colons } => {
            let mut address = [0u8; 16];
            // SAFETY: address has 16 bytes; env by contract.
            unsafe { fetch(env, &mut address, arg) };
            let field = Field {
                zero: true,
                width: 2,
                ..Field::default()
            };
            for (index, byte) in address.iter().enumerate() {
                if colons && index > 0 && index & 1 == 0 {
                    text.push(b':');
                }
                number(text, field, None, *byte as u64, 16, false);
            }
        }
    }
}

/// Reads bytes; they stay zero if they cannot be read.
///
/// # Safety
/// `env` was filled by an engine.
unsafe fn fetch<const N: usize>(env: &mut Env, to: &mut [u8; N], from: u64) {
    // SAFETY: `to` has N bytes; env by contract.
    if unsafe { (ops(env).read_memory)(env, to.as_mut_ptr(), from, N as u64) } != 0 {
        *to = [0; N];
    }
}

fn padded(text: &mut Text, field: Field, bytes: &[u8]) {
    let padding = field.width.saturating_sub(bytes.len());
    if !field.left {
        text.push_times(b' ', padding);
    }
    for byte in bytes {
        text.push(*byte);
    }
    if field.left {
        text.push_times(b' ', padding);
    }
}

fn number(text: &mut Text, field: Field, sign: Option<u8>, value: u64, base: u64, upper: bool) {
    let digit = |digit: u64| match (digit as u8, upper) {
        (digit @ 0..=9, _) => b'0'.wrapping_add(digit),
        (digit, false) => b'a'.wrapping_add(digit.wrapping_sub(10)),
        (digit, true) => b'A'.wrapping_add(digit.wrapping_sub(10)),
    };
    // The value of the first digit, and how many there are.
    let (mut unit, mut digits) = (1u64, 1usize);
    while value.checked_div(unit).unwrap_or(0) >= base {
        unit = unit.wrapping_mul(base);
        digits = digits.wrapping_add(1);
    }
    let len = digits.wrapping_add(sign.is_some() as usize);
    let padding = field.width.saturating_sub(len);
    if !field.left && !field.zero {
        text.push_times(b' ', padding);
    }
    if let Some(sign) = sign {
        text.push(sign);
    }
    if !field.left && field.zero {
        text.push_times(b'0', padding);
    }
    while let Some(quotient) = value.checked_div(unit) {
        text.push(digit(quotient.checked_rem(base).unwrap_or(0)));
        unit = unit.checked_div(base).unwrap_or(0);
    }
    if field.left {
        text.push_times(b' ', padding);
    }
}

/// Whether a conversion may end before this character.
fn ends(byte: u8) -> bool {
    byte == 0 || is_space(byte) || byte.is_ascii_punctuation()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, 9..=13 | 32)
}

fn is_print(byte: u8) -> bool {
    matches!(byte, 32..=126)
}

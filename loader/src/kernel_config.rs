//! A kernel's configuration and the externs of `.kconfig` that take values from it.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use crate::btf::{Btf, BtfError, Kind};
use crate::{LoadError, limits};

/// The options of a kernel (`CONFIG_HZ` and so on) by name, values as in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelConfig {
    options: HashMap<String, String>,
}

impl KernelConfig {
    /// Reads the text of a configuration; lines that set no option are skipped.
    pub fn parse(text: &str) -> Self {
        let options = text
            .lines()
            .filter(|line| line.starts_with("CONFIG_"))
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim_end().to_owned()))
            .collect();
        Self { options }
    }

    /// Reads a configuration file, compressed with gzip if its name ends in `.gz`.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::File::open(path)?.take(limits::KERNEL_CONFIG_BYTES);
        let mut text = String::new();
        if path.extension().is_some_and(|extension| extension == "gz") {
            flate2::read::GzDecoder::new(file)
                .take(limits::KERNEL_CONFIG_BYTES)
                .read_to_string(&mut text)?;
        } else {
            { file }.read_to_string(&mut text)?;
        }
        Ok(Self::parse(&text))
    }

    /// The value of an option, `None` if it is not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }
}

/// What an extern variable of `.kconfig` can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ValueKind {
    Bool,
    Tristate,
    Char,
    Integer { signed: bool },
    Text,
}

/// An extern variable of `.kconfig`.
pub(crate) struct KconfigExtern<'a> {
    pub(crate) name: &'a str,
    pub(crate) weak: bool,
    pub(crate) size: u32,
    pub(crate) align: u32,
    kind: ValueKind,
}

impl<'a> KconfigExtern<'a> {
    /// Reads the type of the extern variable, a `BTF_KIND_VAR`.
    pub(crate) fn read(btf: &Btf, name: &'a str, var: u32, weak: bool) -> Result<Self, LoadError> {
        let from_btf = |error: BtfError| LoadError::extern_(name, error.to_string());
        let ty = btf.ty(var).map_err(from_btf)?.size_or_type;
        let size = btf.size(ty).map_err(from_btf)?;
        limits::check(
            format!("bytes of extern `{name}`"),
            size,
            limits::DATA_BYTES / limits::MAPS,
        )?;
        let kind = value_kind(btf, ty).map_err(from_btf)?;
        let (kind, align) = kind.ok_or_else(|| {
            LoadError::extern_(
                name,
                "its type can hold no kernel option (bool, enum libbpf_tristate, char, an \
                 integer or an array of char can)",
            )
        })?;
        Ok(Self {
            name,
            weak,
            size: size as u32,
            align,
            kind,
        })
    }

    /// The bytes of the variable for a kernel of that version and configuration.
    pub(crate) fn value(
        &self,
        version: Option<u32>,
        config: Option<&KernelConfig>,
    ) -> Result<Vec<u8>, LoadError> {
        let missing = |why: &str| {
            if self.weak {
                Ok(vec![0; self.size as usize])
            } else {
                Err(LoadError::extern_(
                    self.name,
                    format!("{why}, and the extern is not `__weak`"),
                ))
            }
        };
        match self.name {
            "LINUX_KERNEL_VERSION" => match version {
                Some(version) => self.number(u64::from(version)),
                None => missing("the kernel's version is not known"),
            },
            // Both hold for every kernel that this project speaks for (6.18, x86-64).
            "LINUX_HAS_BPF_COOKIE" | "LINUX_HAS_SYSCALL_WRAPPER" => self.number(1),
            name if name.starts_with("CONFIG_") => match config {
                None => missing("no kernel configuration (/proc/config.gz, /boot/config-*)"),
                Some(config) => match config.get(name) {
                    None => missing("the kernel's configuration does not set it"),
                    Some(text) => self.parse(text),
                },
            },
            _ => missing("neither a kernel option nor a value that the loader knows"),
        }
    }

    fn parse(&self, text: &str) -> Result<Vec<u8>, LoadError> {
        let wrong = || {
            LoadError::extern_(
                self.name,
                format!(
                    "the kernel says {text}, which its type ({:?}) cannot hold",
                    self.kind
                ),
            )
        };
        let mut bytes = vec![0; self.size as usize];
        match (text, self.kind) {
            ("y" | "n" | "m", ValueKind::Char) => {
                let letter = text.bytes().next().unwrap_or(b'n');
                bytes
                    .first_mut()
                    .map(|byte| *byte = letter)
                    .ok_or_else(wrong)?;
            }
            ("y" | "n", ValueKind::Bool) => {
                let value = u8::from(text == "y");
                bytes
                    .first_mut()
                    .map(|byte| *byte = value)
                    .ok_or_else(wrong)?;
            }
            ("y" | "n" | "m", ValueKind::Tristate) => {
                return self.number(match text {
                    "y" => 1,
                    "m" => 2,
                    _ => 0,
                });
            }
            (_, ValueKind::Text) => {
                let inner = text
                    .strip_prefix('"')
                    .and_then(|text| text.strip_suffix('"'))
                    .ok_or_else(wrong)?;
                // The last byte stays zero.
                let room = bytes.len().saturating_sub(1);
                for (to, from) in bytes.iter_mut().take(room).zip(inner.bytes()) {
                    *to = from;
                }
            }
            (_, ValueKind::Integer { .. } | ValueKind::Char) => {
                let (digits, negative) = match text.strip_prefix('-') {
                    Some(digits) => (digits, true),
                    None => (text, false),
                };
                let value = match digits.strip_prefix("0x") {
                    Some(digits) => u64::from_str_radix(digits, 16),
                    None => digits.parse(),
                };
                let value = value.map_err(|_| wrong())?;
                return self.number(if negative {
                    value.wrapping_neg()
                } else {
                    value
                });
            }
            _ => return Err(wrong()),
        }
        Ok(bytes)
    }

    /// The number in the variable's width, if that can hold it.
    fn number(&self, value: u64) -> Result<Vec<u8>, LoadError> {
        let bits = self.size * 8;
        let signed = matches!(self.kind, ValueKind::Integer { signed: true });
        let fits = bits >= 64
            || (!signed && value >> bits == 0)
            || (signed && {
                let half = 1i64 << (bits - 1);
                (-half..half).contains(&value.cast_signed())
            });
        if !fits || self.size == 0 || self.kind == ValueKind::Text {
            return Err(LoadError::extern_(
                self.name,
                format!("the value {value:#x} does not fit in {} bytes", self.size),
            ));
        }
        let bytes = value.to_le_bytes();
        Ok(bytes.into_iter().take(self.size as usize).collect())
    }
}

/// What the type can hold, and its alignment in bytes; `None` if no option.
fn value_kind(btf: &Btf, ty: u32) -> Result<Option<(ValueKind, u32)>, BtfError> {
    let ty = btf.resolve(ty)?;
    let size = ty.size_or_type;
    Ok(match ty.kind {
        Kind::Int if ty.int_bool() && size == 1 => Some((ValueKind::Bool, 1)),
        Kind::Int if size == 1 => Some((ValueKind::Char, 1)),
        Kind::Int if matches!(size, 2 | 4 | 8) => {
            let signed = ty.int_signed();
            Some((ValueKind::Integer { signed }, size))
        }
        Kind::Enum if size == 4 && btf.name(&ty)? == "libbpf_tristate" => {
            Some((ValueKind::Tristate, 4))
        }
        Kind::Array if ty.array().len > 0 => {
            let element = btf.resolve(ty.array().element)?;
            let char = element.kind == Kind::Int && element.size_or_type == 1;
            char.then_some((ValueKind::Text, 1))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: ValueKind, size: u32, text: &str) -> Result<Vec<u8>, LoadError> {
        let variable = KconfigExtern {
            name: "CONFIG_X",
            weak: false,
            size,
            align: size,
            kind,
        };
        let config = KernelConfig::parse(&format!("# comment\nCONFIG_X={text}\n"));
        variable.value(None, Some(&config))
    }

    #[test]
    fn values_take_the_width_of_their_type() {
        let int = ValueKind::Integer { signed: false };
        let signed = ValueKind::Integer { signed: true };
        assert_eq!(value(int, 4, "1000").unwrap(), [0xe8, 3, 0, 0]);
        assert_eq!(value(int, 8, "0xff").unwrap(), [0xff, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(value(signed, 2, "-2").unwrap(), [0xfe, 0xff]);
        assert!(value(int, 2, "65536").is_err());
        assert!(value(signed, 2, "32768").is_err());
        assert!(value(int, 4, "y").is_err());
        assert_eq!(value(ValueKind::Bool, 1, "y").unwrap(), [1]);
        assert!(value(ValueKind::Bool, 1, "m").is_err());
        assert_eq!(value(ValueKind::Tristate, 4, "m").unwrap(), [2, 0, 0, 0]);
        assert_eq!(value(ValueKind::Char, 1, "m").unwrap(), [b'm']);
        assert_eq!(value(ValueKind::Text, 4, "\"abcdef\"").unwrap(), *b"abc\0");
        assert_eq!(
            value(ValueKind::Text, 8, "\"abc\"").unwrap(),
            *b"abc\0\0\0\0\0"
        );
        assert!(value(ValueKind::Text, 8, "12").is_err());
    }

    #[test]
    fn weak_externs_default_to_zero() {
        let mut variable = KconfigExtern {
            name: "CONFIG_NOT_THERE",
            weak: true,
            size: 4,
            align: 4,
            kind: ValueKind::Integer { signed: false },
        };
        let config = KernelConfig::default();
        assert_eq!(variable.value(None, Some(&config)).unwrap(), [0; 4]);
        assert_eq!(variable.value(None, None).unwrap(), [0; 4]);
        variable.weak = false;
        let error = variable.value(None, Some(&config)).unwrap_err().to_string();
        assert!(error.contains("CONFIG_NOT_THERE"), "{error}");
    }
}

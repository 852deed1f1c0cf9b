//! What is wrong with a text.

/// Why a text cannot be assembled, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}{}: {kind}", Column(*column))]
pub struct AsmError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1; 0 if the whole line is meant.
    pub column: u32,
    /// What is wrong.
    pub kind: AsmErrorKind,
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AsmErrorKind {
    /// A character that no instruction has.
    #[error("unexpected character {0:?}")]
    UnexpectedCharacter(char),
    /// A number with strange digits or above 64 bits.
    #[error("`{0}` is not a number of at most 64 bits")]
    BadNumber(String),
    /// Something else is needed here.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What may stand here.
        expected: &'static str,
        /// What stands here.
        found: String,
    },
    /// A number that does not fit its field.
    #[error("{what} {value} is out of range ({min} to {max})")]
    OutOfRange {
        /// What the number is.
        what: &'static str,
        /// The number.
        value: i128,
        /// Least.
        min: i128,
        /// Greatest.
        max: i128,
    },
    /// Registers or sizes that do not go together.
    #[error("{0}")]
    Mismatch(&'static str),
    /// A jump to a label that no line defines.
    #[error("label `{0}` is not defined")]
    UndefinedLabel(String),
    /// A label that two lines define.
    #[error("label `{0}` is defined twice")]
    DuplicateLabel(String),
    /// A target that the instruction's field cannot hold.
    #[error("a distance of {0} slots does not fit the instruction")]
    TooFar(i64),
}

struct Column(u32);

impl core::fmt::Display for Column {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            0 => Ok(()),
            column => write!(f, ", column {column}"),
        }
    }
}

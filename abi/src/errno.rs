//! Error numbers as helpers and maps return them.

/// A Linux error number, positive (`ENOENT` is 2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Errno(pub i32);

macro_rules! errno {
    ($($name:ident = $value:expr, $text:expr;)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Self = Self($value);)*

            /// The symbolic name, or `"E?"` for a number that this crate does not use.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($value => stringify!($name),)*
                    _ => "E?",
                }
            }

            /// The number as a helper returns it in `r0`: negative, sign-extended.
            pub const fn to_r0(self) -> u64 {
                -(self.0 as i64) as u64
            }
        }
    };
}

errno! {
    EPERM = 1, "Operation not permitted.";
    ENOENT = 2, "No such entry.";
    EINTR = 4, "Interrupted.";
    EIO = 5, "Input or output error.";
    E2BIG = 7, "Too big, or the map is full.";
    EBADF = 9, "Bad descriptor.";
    EAGAIN = 11, "Try again.";
    ENOMEM = 12, "Out of memory.";
    EACCES = 13, "Not allowed.";
    EFAULT = 14, "Bad address.";
    EBUSY = 16, "Busy.";
    EEXIST = 17, "Exists already.";
    EINVAL = 22, "Invalid argument.";
    ENOSPC = 28, "No space.";
    ERANGE = 34, "Out of range.";
    EOPNOTSUPP = 95, "Not supported.";
    ENOTSUPP = 524, "Not supported (the kernel's internal number, which map calls return).";
}

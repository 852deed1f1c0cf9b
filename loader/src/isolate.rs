//! Runs parsers so that a defect in one is an error of the file and not the end of the process.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::LoadError;

/// Bytes of stack; recursion on input is bounded to fit.
const STACK: usize = 4 << 20;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` in a thread with a stack of known size. A panic there prints nothing and comes
/// back as [`LoadError::Internal`].
pub(crate) fn run<T: Send>(
    work: impl FnOnce() -> Result<T, LoadError> + Send,
) -> Result<T, LoadError> {
    silence_own_panics();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("bpftime-loader".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, || {
                QUIET.set(true);
                catch_unwind(AssertUnwindSafe(work))
            })
            .map_err(|error| LoadError::Internal {
                message: format!("no thread to read the file in: {error}"),
            })?;
        thread
            .join()
            .and_then(|result| result)
            .unwrap_or_else(|panic| {
                Err(LoadError::Internal {
                    message: text(panic.as_ref()),
                })
            })
    })
}

/// Makes the panic hook say nothing in threads of [`run`]; others keep what they had.
fn silence_own_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                previous(info);
            }
        }));
    });
}

fn text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_errors() {
        let result: Result<(), _> = run(|| panic!("broken at {}", 7));
        assert!(matches!(result, Err(LoadError::Internal { message }) if message == "broken at 7"));
        assert_eq!(run(|| Ok(1)).unwrap(), 1);
    }
}

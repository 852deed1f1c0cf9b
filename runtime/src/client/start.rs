//! A command as a target.

use std::ffi::OsString;
use std::process::ExitStatus;

use super::{Failure, child, socket};
use crate::broker::protocol::{Request, Response};

/// Runs a command in which the programs of all sessions run, from its first instruction on,
/// until it ends.
pub fn start(command: &[OsString]) -> Result<ExitStatus, Failure> {
    // SAFETY: nothing is done between `fork` and `exec`.
    let waiting = unsafe { child::fork(command, |_| Ok(())) }?;
    match socket::request(&Request::Start { pid: waiting.pid }, &[]) {
        Ok(Response::Done) => waiting.release()?.wait(),
        Ok(Response::Failed { sentence }) => {
            waiting.cancel();
            Err(Failure(sentence))
        }
        Ok(_) => {
            waiting.cancel();
            Err(Failure(
                "the broker gives an answer to another question".to_owned(),
            ))
        }
        Err(failure) => {
            waiting.cancel();
            Err(failure)
        }
    }
}

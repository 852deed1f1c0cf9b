//! Gives a process back as it was.

use super::{Failure, socket};
use crate::broker::protocol::{Request, Response};

/// Removes everything from a process: through the broker if it has the process as a target, else
/// from what the process's own control memory says.
pub fn detach(pid: i32) -> Result<(), Failure> {
    if socket::connect()?.is_some() {
        match socket::request(&Request::Detach { pid }, &[])? {
            Response::Done => return Ok(()),
            Response::NotATarget => {}
            Response::Failed { sentence } => return Err(Failure(sentence)),
            _ => {
                return Err(Failure(
                    "the broker gives an answer to another question".to_owned(),
                ));
            }
        }
    }
    crate::guardian::undo::undo(pid).map_err(Failure)
}

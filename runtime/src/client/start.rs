//! A command as a target.

use std::ffi::OsString;
use std::process::ExitStatus;

use super::watch::Watch;
use super::{Failure, child, socket};
use crate::broker::protocol::{Request, Response};

/// Runs a command in which the programs of all sessions run, from its first instruction on,
/// until it ends. `say` is told in the end if no program was ever seen to run in it.
pub fn start(command: &[OsString], say: impl FnOnce(&str)) -> Result<ExitStatus, Failure> {
    // The kernel gives no privileges to a process that an ordinary user traces.
    // SAFETY: takes no argument.
    if unsafe { libc::geteuid() } != 0 {
        child::refuse_setuid(
            command,
            "under bpftime start; start it as ever and attach to it as root",
        )?;
    }
    // SAFETY: nothing is done between `fork` and `exec`.
    let waiting = unsafe { child::fork(command, |_| Ok(())) }?;
    match socket::request(&Request::Start { pid: waiting.pid }, &[]) {
        Ok(Response::Done) => {
            let pid = waiting.pid;
            let running = waiting.release()?;
            let watch = Watch::start(pid);
            let status = running.wait();
            if let Some(sentence) = watch.end() {
                say(&sentence);
            }
            status
        }
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

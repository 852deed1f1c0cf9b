//! Everything that is one question and one answer.

use super::{Failure, socket};
use crate::broker::protocol::{MapDump, MapInfo, Request, Response, Status, TargetHook};

fn unexpected<T>(response: Response) -> Result<T, Failure> {
    Err(Failure(match response {
        Response::Failed { sentence } => sentence,
        _ => "the broker gives an answer to another question".to_owned(),
    }))
}

/// Makes a target of a running process; what runs in it, or why not.
pub fn attach(pid: i32) -> Result<Vec<TargetHook>, Failure> {
    match socket::request(&Request::Attach { pid }, &[])? {
        Response::Attached { hooks } => Ok(hooks),
        other => unexpected(other),
    }
}

/// Sessions, programs, links and targets; nothing if no broker runs.
pub fn status() -> Result<Option<Status>, Failure> {
    if socket::connect()?.is_none() {
        return Ok(None);
    }
    match socket::request(&Request::Status, &[])? {
        Response::Status(status) => Ok(Some(status)),
        other => unexpected(other),
    }
}

/// Maps of all sessions; none if no broker runs.
pub fn maps() -> Result<Vec<MapInfo>, Failure> {
    if socket::connect()?.is_none() {
        return Ok(Vec::new());
    }
    match socket::request(&Request::Maps, &[])? {
        Response::Maps(maps) => Ok(maps),
        other => unexpected(other),
    }
}

/// Contents of the map with a name or id.
pub fn dump(map: &str) -> Result<MapDump, Failure> {
    if socket::connect()?.is_none() {
        return Err(Failure(format!(
            "no session is live, so there is no map {map:?}"
        )));
    }
    match socket::request(
        &Request::DumpMap {
            map: map.to_owned(),
        },
        &[],
    )? {
        Response::Dump(dump) => Ok(dump),
        other => unexpected(other),
    }
}

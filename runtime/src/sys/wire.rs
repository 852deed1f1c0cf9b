//! Framed JSON messages with descriptors over a socket.
//!
//! A frame is a length (32 bits, little-endian) and that many bytes of JSON. Descriptors travel
//! with the first byte of the frame.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest frame that is accepted, in bytes.
pub const MAX_FRAME: usize = 64 << 20;
/// Most descriptors in a frame.
pub const MAX_FDS: usize = 16;

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

/// Sends one message with descriptors.
pub fn send<T: Serialize>(
    stream: &UnixStream,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let len = u32::try_from(json.len())
        .ok()
        .filter(|len| *len as usize <= MAX_FRAME)
        .ok_or_else(|| invalid(format!("a message of {} bytes is too long", json.len())))?;
    let header = len.to_le_bytes();
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let sent = loop {
        match sendmsg::<()>(
            stream.as_raw_fd(),
            &[IoSlice::new(&header)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other?,
        }
    };
    let mut stream = stream;
    stream.write_all(&header[sent..])?;
    stream.write_all(&json)
}

/// Receives one message with its descriptors; `None` at the end of the stream.
pub fn receive<T: DeserializeOwned>(stream: &UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    receive_short(stream, MAX_FRAME)
}

/// As [`receive`], of a message of at most `most` bytes.
pub fn receive_short<T: DeserializeOwned>(
    stream: &UnixStream,
    most: usize,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut fds = Vec::new();
    let mut header = [0; 4];
    if !fill(stream, &mut header, &mut fds, true)? {
        return Ok(None);
    }
    let len = u32::from_le_bytes(header) as usize;
    if len > most {
        return Err(invalid(format!(
            "a message of {len} bytes is announced, too long"
        )));
    }
    let mut json = Vec::new();
    // Grow with what arrives: a length alone must not reserve memory.
    while json.len() < len {
        let at = json.len();
        json.resize(len.min(at + (1 << 20)), 0);
        fill(stream, &mut json[at..], &mut fds, false)?;
    }
    let message = serde_json::from_slice(&json)?;
    Ok(Some((message, fds)))
}

/// Fills the buffer; `false` if the stream ends before its first byte and `may_end`.
fn fill(
    stream: &UnixStream,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    may_end: bool,
) -> io::Result<bool> {
    let mut done = 0;
    while done < buffer.len() {
        let mut space = cmsg_space!([RawFd; MAX_FDS]);
        let mut parts = [IoSliceMut::new(&mut buffer[done..])];
        let message = match recvmsg::<()>(
            stream.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                // SAFETY: the kernel has just installed these descriptors for us, nobody else
                // owns them.
                fds.extend(
                    raw.into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
        if message.bytes == 0 {
            if done == 0 && may_end {
                return Ok(false);
            }
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        done += message.bytes;
        if fds.len() > MAX_FDS {
            return Err(invalid("too many descriptors with a message"));
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_in_order() {
        let (a, b) = UnixStream::pair().unwrap();
        let file = crate::sys::file::fixed_memfd("test", 4096).unwrap();
        let id = crate::sys::file::FileId::of(&file).unwrap();
        send(&a, &"first", &[file.as_fd()]).unwrap();
        send(&a, &"second", &[]).unwrap();
        drop(a);
        let (text, fds): (String, _) = receive(&b).unwrap().unwrap();
        assert_eq!(text, "first");
        assert_eq!(crate::sys::file::FileId::of(&fds[0]).unwrap(), id);
        let (text, fds): (String, _) = receive(&b).unwrap().unwrap();
        assert_eq!((text.as_str(), fds.len()), ("second", 0));
        assert!(receive::<String>(&b).unwrap().is_none());
    }

    #[test]
    fn an_announced_length_reserves_nothing() {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert!(receive::<String>(&b).is_err());
        a.write_all(&(MAX_FRAME as u32).to_le_bytes()).unwrap();
        drop(a);
        assert!(receive::<String>(&b).is_err());
    }
}

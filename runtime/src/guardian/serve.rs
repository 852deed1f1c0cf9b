//! The guardian's process.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bpftime_attach::inject::{self, Image};
use bpftime_attach::startup::Startup;
use bpftime_attach::{Error, Target};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::inside::Inside;
use super::protocol::{FromGuardian, ToGuardian};
use super::voice::Voice;
use super::{report, undo};
use crate::client::Failure;
use crate::sys::{process, wire};

/// The in-target image, built with this crate.
static IMAGE: &[u8] = include_bytes!(env!("BPFTIME_IMAGE"));

/// How often is looked for files that were loaded and programs that were executed since.
const GLANCE_MS: u16 = 100;
/// A look at all of a process's mappings is taken so often, also when nothing seems to have changed:
/// a file may be mapped once more.
const LOOK: Duration = Duration::from_secs(1);
/// Where such a look takes long, the time between two is so many times that.
const REST: u32 = 50;

/// Tries again for a second while another tracer has the process: a guardian that was killed, or
/// whose broker was, may still be on its way out.
fn patiently<T>(
    target: &Target,
    action: impl Fn() -> bpftime_attach::Result<T>,
) -> bpftime_attach::Result<T> {
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 0..TRIES {
        match action() {
            Err(Error::AlreadyTraced { .. } | Error::NotPermitted { .. })
                if process::is_traced(target.pid()) =>
            {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
    action()
}

/// Ends the guardian when the broker ends while the process still waits before its `exec`, so that
/// another broker's guardian can have it. Nothing has been done to the process by then.
fn end_with_broker(stream: &UnixStream, executed: Arc<AtomicBool>) {
    let Ok(stream) = stream.try_clone() else {
        return;
    };
    std::thread::spawn(move || {
        while !executed.load(Ordering::Acquire) {
            // A hang-up is told without being asked for.
            let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
            let hung_up = matches!(poll(&mut fds, PollTimeout::from(GLANCE_MS)), Ok(1));
            if hung_up && !executed.load(Ordering::Acquire) {
                std::process::exit(0);
            }
        }
    });
}

/// Why the guardian's work is over.
enum End {
    /// The broker said so, or is gone: the process is to be as it was.
    Detach,
    /// The process has ended.
    Exited,
}

/// Runs the guardian: `bpftime guardian`, with the broker's socket as standard input. Returns when
/// the process has ended or is detached.
pub fn run() -> Result<(), Failure> {
    // Its own session: signals of a terminal are not for it.
    let _ = nix::unistd::setsid();
    // SAFETY: standard input is open (the broker put its socket there), and nothing else in
    // this process uses it.
    let stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(0) });
    let begin = wire::receive::<ToGuardian>(&stream)
        .map_err(|error| Failure(format!("a guardian is started by the broker only: {error}")))?;
    let Some((
        ToGuardian::Begin {
            pid,
            target_id,
            cpus,
            starting,
        },
        fds,
    )) = begin
    else {
        return Err(Failure(
            "a guardian is started by the broker only".to_owned(),
        ));
    };
    let Some(leases) = fds.into_iter().next() else {
        return Err(Failure(
            "the broker has not sent the lease table".to_owned(),
        ));
    };
    let image = match Image::parse(IMAGE) {
        Ok(image) => image,
        Err(error) => return fail(&stream, error.to_string()),
    };
    let voice = match Voice::new(&stream) {
        Ok(voice) => voice,
        Err(error) => return fail(&stream, error.to_string()),
    };
    // A process that cannot be opened is refused below.
    if !starting
        && let Ok(target) = Target::open(pid)
        && let Err(sentence) = undo::wait_for_other_guardian(&target)
    {
        return fail(&stream, sentence);
    }
    let inside = Inside::new(image, target_id, cpus, leases, voice.clone());
    let mut guardian = Guardian {
        stream,
        voice,
        inside,
        drained: false,
    };
    let target = match guardian.begin(pid, starting) {
        Ok(target) => target,
        Err(Error::Gone { .. }) if starting => return guardian.say(&FromGuardian::Exited),
        Err(error) => return fail(&guardian.stream, error.to_string()),
    };
    match guardian.serve(&target) {
        End::Exited => {
            guardian.inside.end_trace();
            guardian.say(&FromGuardian::Exited)
        }
        End::Detach => {
            let result = inject::detach(&target);
            guardian.inside.end_trace();
            let sentence = match result {
                Ok(done) => undo::left(pid, &done),
                Err(Error::Gone { .. }) => return guardian.say(&FromGuardian::Exited),
                Err(error) => Some(error.to_string()),
            };
            guardian.say(&FromGuardian::Detached { sentence })
        }
    }
}

fn fail(stream: &UnixStream, sentence: String) -> Result<(), Failure> {
    // The broker may be gone; then nobody wants to know.
    let _ = wire::send(stream, &FromGuardian::Failed { sentence }, &[]);
    Ok(())
}

struct Guardian {
    stream: UnixStream,
    voice: Voice,
    inside: Inside,
    /// The broker has ended.
    drained: bool,
}

impl Guardian {
    fn say(&self, message: &FromGuardian) -> Result<(), Failure> {
        self.voice.say(message);
        Ok(())
    }

    /// Gets hold of the process.
    fn begin(&mut self, pid: i32, starting: bool) -> bpftime_attach::Result<Target> {
        let target = Target::open(pid)?;
        if !starting {
            target.check_seccomp()?;
            // What a guardian that was killed has left; and whether the process can be had at
            // all is told now, not at the first probe.
            patiently(&target, || inject::detach(&target))?;
            patiently(&target, || target.stop().map(drop))?;
            let _ = self.say(&FromGuardian::Ready);
            return Ok(target);
        }
        let startup = patiently(&target, || Startup::seize(Target::open(pid)?))?;
        let _ = self.say(&FromGuardian::Ready);
        // What is attached already must be known before the first file is mapped.
        self.take_first_reconcile();
        if self.drained {
            // Without a broker there is nothing to do: the process is let go by ending.
            return Err(Error::Gone { pid });
        }
        let executed = Arc::new(AtomicBool::new(false));
        end_with_broker(&self.stream, executed.clone());
        let guardian = self;
        startup.follow(move |stopped, _| {
            executed.store(true, Ordering::Release);
            while guardian.has_message() {
                if guardian.take_message(None).is_some() {
                    break;
                }
            }
            let maps = stopped.maps()?;
            guardian.inside.notice_exec(&maps);
            if guardian.inside.has_work(stopped.target(), &maps)
                && let Err(sentence) = guardian.inside.reconcile(stopped)
            {
                tracing::warn!("{sentence}");
            }
            Ok(())
        })
    }

    /// Whether a message, or the end, waits to be read.
    fn has_message(&self) -> bool {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        !self.drained && matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
    }

    fn take_first_reconcile(&mut self) {
        while self.inside.generation().is_none() && !self.drained {
            if self.take_message(None).is_some() {
                break;
            }
        }
    }

    /// Serves broker and process until one of them ends it.
    fn serve(&mut self, target: &Target) -> End {
        self.inside.set_started();
        self.change(target);
        let mut glanced = Instant::now();
        let mut looked = glanced;
        let mut rest = Duration::ZERO;
        loop {
            if self.drained {
                return End::Detach;
            }
            let (message, exited) = {
                let mut fds = [
                    PollFd::new(self.stream.as_fd(), PollFlags::POLLIN),
                    PollFd::new(target.pidfd(), PollFlags::POLLIN),
                ];
                // EINTR: nothing to do, as after a timeout.
                let _ = poll(&mut fds, PollTimeout::from(GLANCE_MS));
                let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
                (ready(&fds[0]), ready(&fds[1]))
            };
            if exited {
                return End::Exited;
            }
            if message && let Some(end) = self.take_message(Some(target)) {
                return end;
            }
            // By the clock, not by silence: a broker that asks often must not keep the guardian
            // from noticing an `exec`.
            if !message || glanced.elapsed() >= Duration::from_millis(GLANCE_MS.into()) {
                glanced = Instant::now();
                self.inside.notice_seccomp(target);
                let due = if self.inside.is_settled(target) {
                    rest.max(LOOK)
                } else {
                    rest
                };
                if looked.elapsed() >= due {
                    rest = self.change(target) * REST;
                    looked = Instant::now();
                }
            }
        }
    }

    /// Brings the process in line with what is wanted, if there is anything to do. How long it took
    /// to find that out.
    fn change(&mut self, target: &Target) -> Duration {
        let start = Instant::now();
        let Ok(maps) = target.maps() else {
            return start.elapsed();
        };
        self.inside.notice_exec(&maps);
        let has_work = self.inside.has_work(target, &maps);
        let took = start.elapsed();
        if !has_work {
            return took;
        }
        let result = target
            .stop()
            .map_err(|error| error.to_string())
            .and_then(|mut stopped| {
                // Between the look at its mappings and the stop it may have executed another
                // program, in whose memory nothing is ours.
                let maps = stopped.maps().map_err(|error| error.to_string())?;
                self.inside.notice_exec(&maps);
                self.inside.reconcile(&mut stopped)
            });
        if let Err(sentence) = result {
            tracing::warn!("{sentence}");
            self.inside.fail_all(&sentence);
        }
        took
    }

    /// Handles one message. Without a target, changes wait until there is one.
    fn take_message(&mut self, target: Option<&Target>) -> Option<End> {
        let (message, fds) = match wire::receive::<ToGuardian>(&self.stream) {
            Ok(Some(message)) => message,
            Ok(None) | Err(_) => {
                self.drained = true;
                return Some(End::Detach);
            }
        };
        let mut fds = fds.into_iter();
        match message {
            ToGuardian::Begin { .. } => {}
            ToGuardian::Map { id, geometry } => {
                if let (Some(geometry), Some(control)) = (geometry.geometry(), fds.next()) {
                    self.inside
                        .objects()
                        .add_map(id, geometry, control, fds.next());
                }
            }
            ToGuardian::Ring { number, data_len } => {
                if let Some(memory) = fds.next() {
                    self.inside.objects().add_ring(number, memory, data_len);
                }
            }
            ToGuardian::Program(text) => {
                if let Some(code) = fds.next() {
                    self.inside.objects().add_program(text, code);
                }
            }
            ToGuardian::Reconcile {
                generation,
                attachments,
                rings,
            } => {
                self.inside.want(generation, attachments, rings);
                if let Some(target) = target {
                    self.change(target);
                }
                let failures = self
                    .inside
                    .failures()
                    .iter()
                    .map(|(key, why)| (*key, why.clone()))
                    .collect();
                let _ = self.say(&FromGuardian::Reconciled {
                    generation,
                    failures,
                });
            }
            ToGuardian::Query { generation } => {
                let hooks =
                    target.map_or_else(Vec::new, |target| report::report(target, &self.inside));
                let _ = self.say(&FromGuardian::Report { generation, hooks });
            }
            ToGuardian::Detach => {
                self.drained = true;
                return Some(End::Detach);
            }
        }
        None
    }
}

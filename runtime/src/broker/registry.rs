//! Object ids, and which descriptor of a tool is which object.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bpftime_abi::Errno;

use super::event::{Event, EventKind};
use super::map::Map;
use super::objects::{Btf, Counter, Link, Object};
use super::program::Program;
use super::reaper::Reaper;
use crate::sys::file::{FileId, handle_pair, is_sole_user, reopen};

/// Objects of one kind by id. Entries whose object is gone are forgotten on the way.
#[derive(Debug)]
pub struct Table<T> {
    ids: Counter,
    entries: Mutex<BTreeMap<u32, Weak<T>>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            ids: Counter::default(),
            entries: Mutex::default(),
        }
    }
}

impl<T> Table<T> {
    /// Makes an object with the next id.
    pub fn insert<E>(&self, make: impl FnOnce(u32) -> Result<T, E>) -> Result<Arc<T>, E> {
        let id = self.ids.next();
        let object = Arc::new(make(id)?);
        self.lock().insert(id, Arc::downgrade(&object));
        Ok(object)
    }

    /// The object with an id.
    pub fn get(&self, id: u32) -> Option<Arc<T>> {
        self.lock().get(&id)?.upgrade()
    }

    /// The smallest id above `id`.
    pub fn next_id(&self, id: u32) -> Option<u32> {
        let mut entries = self.lock();
        entries.retain(|_, object| object.strong_count() > 0);
        entries
            .range((Bound::Excluded(id), Bound::Unbounded))
            .next()
            .map(|(id, _)| *id)
    }

    /// All objects in order of id.
    pub fn all(&self) -> Vec<Arc<T>> {
        let mut entries = self.lock();
        entries.retain(|_, object| object.strong_count() > 0);
        entries.values().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Weak<T>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A descriptor of tools: the object that it stands for, and the session that got it.
#[derive(Debug)]
struct Handle {
    object: Object,
    session: u32,
    /// The broker's end of the pair, watched by the reaper; none if the descriptor is a file.
    _end: Option<OwnedFd>,
}

/// All objects, and all descriptors of tools.
#[derive(Debug)]
pub struct Registry {
    /// Maps.
    pub maps: Table<Map>,
    /// Programs.
    pub programs: Table<Program>,
    /// Type information.
    pub btfs: Table<Btf>,
    /// Links.
    pub links: Table<Link>,
    /// Perf events.
    pub events: Table<Event>,
    handles: Mutex<HashMap<FileId, Handle>>,
    reaper: Arc<Reaper>,
}

impl Registry {
    /// An empty registry, whose handles the reaper watches.
    pub fn new(reaper: Arc<Reaper>) -> Self {
        Self {
            maps: Table::default(),
            programs: Table::default(),
            btfs: Table::default(),
            links: Table::default(),
            events: Table::default(),
            handles: Mutex::default(),
            reaper,
        }
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<FileId, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a descriptor of the object for a tool of the session.
    pub fn new_handle(&self, object: Object, session: u32) -> io::Result<OwnedFd> {
        let file = match &object {
            Object::Map(map) => map.file_for_tools()?,
            Object::Event(event) => match &event.kind {
                EventKind::Output(ring) => Some(reopen(&ring.memory, true)?),
                _ => None,
            },
            _ => None,
        };
        if let Some(fd) = file {
            let id = FileId::of(&fd)?;
            self.handles().insert(
                id,
                Handle {
                    object,
                    session,
                    _end: None,
                },
            );
            return Ok(fd);
        }
        let (theirs, ours) = handle_pair()?;
        let id = FileId::of(&theirs)?;
        self.reaper.watch(&ours, id)?;
        self.handles().insert(
            id,
            Handle {
                object,
                session,
                _end: Some(ours),
            },
        );
        Ok(theirs)
    }

    /// The object behind a copy of a tool's descriptor; `EINVAL` if it is none of ours.
    pub fn object(&self, fd: impl AsFd) -> Result<Object, Errno> {
        let id = FileId::of(fd).map_err(|_| Errno::EBADF)?;
        self.handles()
            .get(&id)
            .map(|handle| handle.object.clone())
            .ok_or(Errno::EINVAL)
    }

    /// Forgets a descriptor whose last copy was closed.
    pub fn forget(&self, id: FileId) {
        // The object is dropped when the lock is free again.
        let gone = self.handles().remove(&id);
        drop(gone);
    }

    /// Forgets descriptors that are files which no tool has open or mapped any more.
    pub fn sweep(&self) {
        let mut gone = Vec::new();
        self.handles().retain(|_, handle| {
            let unused = match &handle.object {
                Object::Map(map) => map.is_closed_by_tools(),
                Object::Event(event) => match &event.kind {
                    EventKind::Output(ring) => is_sole_user(&ring.lease),
                    _ => false,
                },
                _ => false,
            };
            if unused {
                gone.push(handle.object.clone());
            }
            !unused
        });
        drop(gone);
    }

    /// Objects that a session has descriptors of.
    pub fn objects_of(&self, session: u32) -> Vec<Object> {
        let handles = self.handles();
        let own = handles.values().filter(|handle| handle.session == session);
        own.map(|handle| handle.object.clone()).collect()
    }
}

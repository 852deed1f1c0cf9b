//! Hooks by which unwinders learn what return points stand for.
//!
//! A return point that an exception, a cancellation or a backtrace meets is described to the
//! unwinder by the image (`runtime/image/src/unwind.rs`), from hooks at the functions that unwinders
//! ask. They are there from before the first return probe until no return point is left on a stack.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use bpftime_abi::target::{HOOK_UNWIND, HookState};

use super::control::JournalHook;
use super::hooks::{Hook, TRAMPOLINE_LEN};
use super::removal::revert;
use super::{Injection, inside};
use crate::elf::{Place, Unwinder};
use crate::error::{Error, Result};
use crate::process::{FileId, Mapping, Maps};
use crate::target::{Stopped, Target};
use crate::trampoline::{self, Jump, Site};

/// A function that is longer is not the one that is meant.
const MAX_FUNCTION: u64 = 64 << 10;

/// What is known of unwinders in the files that a process has loaded.
#[derive(Debug, Default)]
pub struct Unwinders {
    /// By device and inode as the mappings show them.
    files: HashMap<(u64, u64), Loaded>,
}

#[derive(Debug)]
struct Loaded {
    path: PathBuf,
    /// `None`: it cannot be read, so nothing is known.
    unwinder: Option<Unwinder>,
    /// The file as it is named from outside.
    id: Option<FileId>,
}

/// A function that an unwinder asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Question {
    FindFde,
    FindObject,
}

/// A function to be hooked.
#[derive(Clone, Copy, Debug)]
struct Asked {
    file: (u64, u64),
    question: Question,
    address: u64,
    size: u64,
}

impl Loaded {
    fn look(maps: &Maps, mapping: &Mapping) -> Self {
        let mut loaded = Self {
            path: mapping.name.clone(),
            unwinder: None,
            id: None,
        };
        let ways = [
            maps.path_from_outside(&mapping.name),
            maps.path_of_mapping(mapping),
        ];
        let file = ways.into_iter().find_map(|path| {
            let file = File::options()
                .read(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
                .open(&path)
                .ok()?;
            // The path may lead elsewhere by now; and a device is not to be read.
            let meta = file.metadata().ok()?;
            (meta.is_file() && meta.ino() == mapping.inode).then_some((path, file))
        });
        let Some((path, file)) = file else {
            return loaded;
        };
        loaded.unwinder = Unwinder::of(&file).ok();
        loaded.id = FileId::of(&path).ok();
        loaded
    }

    /// The functions that are to be hooked, with their offsets and sizes.
    fn questions(&self) -> impl Iterator<Item = (Question, u64, u64)> {
        let known = self.unwinder.filter(|unwinder| !unwinder.foreign);
        let places = known.map(|unwinder| {
            [
                (Question::FindFde, unwinder.find_fde),
                (Question::FindObject, unwinder.find_object),
            ]
        });
        let places = places.into_iter().flatten();
        places.filter_map(|(question, place)| match place {
            Place::At(offset, size) => Some((question, offset, size)),
            Place::Absent | Place::Unclear => None,
        })
    }
}

impl Unwinders {
    /// Looks at the files that are mapped and were not looked at. That takes long, so it is better
    /// done before the process is stopped.
    pub fn look(&mut self, maps: &Maps) {
        for mapping in maps.code_of_files() {
            self.files
                .entry((mapping.device, mapping.inode))
                .or_insert_with(|| Loaded::look(maps, mapping));
        }
    }

    /// The functions that are to be hooked.
    fn asked(&self, maps: &Maps) -> Vec<Asked> {
        let mut asked = Vec::new();
        for (file, loaded) in &self.files {
            let Some(id) = loaded.id else {
                continue;
            };
            for (question, offset, size) in loaded.questions() {
                let addresses = maps.code_addresses(id, offset);
                asked.extend(addresses.into_iter().map(|address| Asked {
                    file: *file,
                    question,
                    address,
                    size,
                }));
            }
        }
        asked.sort_by_key(|asked| asked.address);
        asked
    }
}

impl Injection {
    /// Whether the process has loaded an unwinder that was not told of return points yet, and needs
    /// to be: [`Injection::guard_unwinders`] does that. The process need not be stopped.
    pub fn has_unguarded_unwinder(
        &self,
        target: &Target,
        maps: &Maps,
        unwinders: &mut Unwinders,
    ) -> bool {
        unwinders.look(maps);
        let asked = unwinders.asked(maps);
        asked.iter().any(|asked| {
            !self.unguarded.contains_key(&asked.address) && !self.is_guarded(target, asked.address)
        })
    }

    /// Whether returns are probed, so that unwinders must know.
    pub fn probes_returns(&self) -> bool {
        self.hooks.values().any(|hook| hook.returns)
    }

    fn is_guarded(&self, target: &Target, address: u64) -> bool {
        let mut guards = self.hooks.values().filter(|hook| hook.guards);
        guards.any(|hook| hook.site == address && !hook.retired && hook.is_in_place(target))
    }

    /// Tells all unwinders of return points that can be told.
    pub fn guard_unwinders(
        &mut self,
        stopped: &mut Stopped<'_>,
        unwinders: &mut Unwinders,
    ) -> Result<()> {
        let maps = stopped.maps()?;
        unwinders.look(&maps);
        // Those of files that were unloaded, or loaded again.
        let target = stopped.target();
        let mut gone = Vec::new();
        for hook in self.hooks.values_mut().filter(|h| h.guards && !h.retired) {
            if !hook.is_in_place(target) {
                hook.retired = true;
                gone.push(hook.index);
            }
        }
        for index in gone {
            self.control
                .set_hook_state(target, index, HookState::Free)?;
        }
        for asked in unwinders.asked(&maps) {
            if self.is_guarded(stopped.target(), asked.address) {
                continue;
            }
            match self.guard(stopped, &maps, asked) {
                Ok(()) => {
                    self.unguarded.remove(&asked.address);
                }
                Err(error) if error.is_gone() => return Err(error),
                Err(error) => {
                    let why = error.to_string();
                    tracing::debug!("an unwinder is not told of return points: {why}");
                    self.unguarded.insert(asked.address, why);
                }
            }
        }
        Ok(())
    }

    fn guard(&mut self, stopped: &mut Stopped<'_>, maps: &Maps, asked: Asked) -> Result<()> {
        let (pid, address) = (stopped.target().pid(), asked.address);
        let refuse = |reason: String| Error::Site {
            pid,
            address,
            reason,
        };
        let mut live = self.hooks.values().filter(|hook| !hook.retired);
        if live.any(|hook| hook.site == address) {
            return Err(refuse("it is probed".into()));
        }
        if asked.size > MAX_FUNCTION {
            return Err(refuse(format!("a function of {} bytes", asked.size)));
        }
        let mut code = vec![0; asked.size as usize];
        stopped.read(address, &mut code)?;
        // Nobody jumps into a function that C compilers have made, so that is not looked for.
        let plan = trampoline::plan(&Site {
            address,
            code: &code,
            padding_after: &[],
            padding_before: &[],
            entries: &[],
        });
        let plan = plan.map_err(|refusal| refuse(refusal.to_string()))?;
        if plan.jump != Jump::Near {
            return Err(refuse("there is no room for a jump".into()));
        }
        // What an earlier injection left, whose code may be unmapped at any time.
        let ours = inside::code(maps);
        let leads_to_ours = plan.displaced.iter().any(|instruction| {
            let to = instruction.near_branch_target();
            ours.iter().any(|range| range.contains(&to))
        });
        if leads_to_ours {
            return Err(refuse(
                "what an earlier attachment left there is still in use; detach and try again"
                    .into(),
            ));
        }
        let index = self
            .free_index()
            .ok_or_else(|| refuse("the process has too many hooks".into()))?;
        let dispatcher = match asked.question {
            Question::FindFde => self.dispatchers.find_fde,
            Question::FindObject => self.dispatchers.find_object,
        };
        let trampoline = self.place_trampoline(stopped, &plan, |plan, room| {
            trampoline::build_unwind(plan, dispatcher, room)
        })?;
        let hook = Hook {
            index,
            site: address,
            patches: trampoline.patches.clone(),
            guards: true,
            returns: false,
            trampoline: trampoline.address,
            return_point: 0,
            entry: Vec::new(),
            on_return: Vec::new(),
            retired: false,
        };
        let record = JournalHook {
            index,
            kind: HOOK_UNWIND,
            site: address,
            patches: hook.patches.clone(),
            trampoline: hook.trampoline,
            trampoline_len: TRAMPOLINE_LEN,
            return_point: 0,
        };
        self.put_in_place(stopped, hook, &record, None)
    }

    /// Why an exception may not pass the return point of the function at `site`; `Ok` if it may.
    pub(super) fn unwinders_know(
        &self,
        stopped: &Stopped<'_>,
        unwinders: &Unwinders,
        site: u64,
    ) -> Result<Result<(), String>> {
        let maps = stopped.maps()?;
        let of_site = maps.at(site).map(|m| (m.device, m.inode));
        let target = stopped.target();
        let asked = unwinders.asked(&maps);
        let guarded = |file: Option<(u64, u64)>, question: Question| {
            let mut sites = asked
                .iter()
                .filter(|a| a.question == question && file.is_none_or(|file| a.file == file))
                .peekable();
            sites.peek().is_some() && sites.all(|a| self.is_guarded(target, a.address))
        };
        let finder = guarded(None, Question::FindObject);
        let mut known = false;
        for mapping in maps.code_of_files() {
            let key = (mapping.device, mapping.inode);
            let Some(loaded) = unwinders.files.get(&key) else {
                continue;
            };
            let path = loaded.path.display();
            let Some(unwinder) = loaded.unwinder else {
                return Ok(Err(format!("{path}, which it has loaded, cannot be read")));
            };
            if Some(key) == of_site && unwinder.may_unwind_by_itself() {
                return Ok(Err(format!(
                    "{path} reads the unwind tables of all files, perhaps for an unwinder of its own"
                )));
            }
            let finds_frames = unwinder.find_fde != Place::Absent;
            if !(unwinder.unwinds || finds_frames || unwinder.asks_for_objects) {
                continue;
            }
            if unwinder.foreign {
                return Ok(Err(format!(
                    "the unwinder in {path} is not libgcc's and cannot be told of probed returns"
                )));
            }
            let told =
                guarded(Some(key), Question::FindFde) || (unwinder.asks_for_objects && finder);
            if !told {
                let mut sites = asked.iter().filter(|a| a.file == key);
                let why = sites.find_map(|a| self.unguarded.get(&a.address));
                let why = why.map_or(String::new(), |why| format!(" ({why})"));
                return Ok(Err(format!(
                    "the unwinder in {path} cannot be told of probed returns{why}"
                )));
            }
            known = true;
        }
        Ok(if known {
            Ok(())
        } else {
            Err("no unwinder was found in it that could be told of probed returns".into())
        })
    }

    /// Takes the hooks at unwinders away if no return is probed any more and no return point left.
    /// Whether there were any.
    pub(super) fn retire_guards(&mut self, stopped: &mut Stopped<'_>) -> Result<bool> {
        if self.probes_returns() {
            return Ok(false);
        }
        let guards: Vec<Hook> = self
            .hooks
            .values()
            .filter(|hook| hook.guards && !hook.retired)
            .cloned()
            .collect();
        for guard in &guards {
            let target = stopped.target();
            self.control
                .set_hook_state(target, guard.index, HookState::Removing)?;
            revert(stopped, guard.site, &guard.patches)?;
            self.control
                .set_hook_state(stopped.target(), guard.index, HookState::Free)?;
            if let Some(hook) = self.hooks.get_mut(&guard.index) {
                hook.retired = true;
            }
        }
        Ok(!guards.is_empty())
    }
}

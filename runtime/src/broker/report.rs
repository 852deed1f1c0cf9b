//! What the broker holds, for people and their programs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bpftime_abi::Errno;

use super::map::Map;
use super::objects::Object;
use super::protocol::{
    Element, LinkInfo, MapDump, MapInfo, ProgramInfo, SessionInfo, Status, TargetHook, TargetInfo,
};
use super::state::Broker;
use super::target::{PATIENCE, Target};
use crate::guardian::protocol::HookReport;
use crate::sys::{process, wire};

/// Bytes of JSON that a dump may take, the map's description left out: it must fit in a message.
const MAX_DUMP: usize = wire::MAX_FRAME - (1 << 16);
/// Most bytes of JSON for a byte, `255,`.
const JSON_PER_BYTE: usize = 4;
/// Bytes of JSON for an element without its bytes, `{"key":[],"value":[]},` and some.
const JSON_PER_ELEMENT: usize = 32;

/// How long guardians are waited for by who only wants to see how things are.
const GLANCE: Duration = Duration::from_secs(3);

/// Everything.
pub fn status(broker: &Arc<Broker>) -> Status {
    broker.registry.sweep();
    let sessions = broker.sessions().into_iter().map(|session| SessionInfo {
        id: session.id,
        pid: session.pid,
        command: session.command.clone(),
    });
    let programs = broker
        .registry
        .programs
        .all()
        .into_iter()
        .map(|program| ProgramInfo {
            id: program.id,
            name: program.name.clone(),
            prog_type: program.prog_type.name().to_owned(),
            tag: program
                .tag
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            instructions: program.slots(),
            code_bytes: program.code.as_ref().map_or(0, |code| code.len),
            maps: program.maps.iter().map(|map| map.id).collect(),
            sessions: broker
                .holders(|object| matches!(object, Object::Program(p) if Arc::ptr_eq(p, &program))),
        });
    let links = broker.attachments().into_iter().filter_map(|attachment| {
        let uprobe = attachment.event.uprobe()?;
        Some(LinkInfo {
            key: attachment.key,
            id: attachment.link_id,
            program: attachment.program.id,
            program_name: attachment.program.name.clone(),
            path: uprobe.path.display().to_string(),
            offset: uprobe.offset,
            at_return: uprobe.at_return,
            pid: uprobe.pid,
        })
    });
    Status {
        broker_pid: nix::unistd::getpid().as_raw(),
        sessions: sessions.collect(),
        programs: programs.collect(),
        links: links.collect(),
        targets: targets(broker),
    }
}

/// All targets. Their guardians are asked all at once: one that hangs holds up nobody for long.
fn targets(broker: &Arc<Broker>) -> Vec<TargetInfo> {
    let since = Instant::now();
    let asked: Vec<_> = broker
        .targets
        .all()
        .into_iter()
        .map(|target| {
            let question = target.question(GLANCE);
            (target, question)
        })
        .collect();
    let info = |(target, question): (Arc<Target>, Result<u64, String>)| {
        let report = question.and_then(|question| target.answer(question, since, GLANCE));
        TargetInfo {
            pid: target.pid,
            command: process::command_of(target.pid),
            problem: report.as_ref().err().cloned(),
            hooks: join(broker, &target, &report.unwrap_or_default()),
        }
    };
    asked.into_iter().map(info).collect()
}

/// What runs in a target, as its guardian sees it; one sentence if the guardian cannot be asked.
pub fn hooks(broker: &Arc<Broker>, target: &Target) -> Result<Vec<TargetHook>, String> {
    let question = target.question(PATIENCE)?;
    let report = target.answer(question, Instant::now(), PATIENCE)?;
    Ok(join(broker, target, &report))
}

/// Joins what a guardian was told with what it sees.
fn join(broker: &Arc<Broker>, target: &Target, report: &[HookReport]) -> Vec<TargetHook> {
    let failures = target.failures();
    let wanted = target.wanted().into_iter().map(|wanted| {
        let seen = report.iter().find(|hook| hook.key == wanted.key);
        let program = broker.registry.programs.get(wanted.program);
        TargetHook {
            key: wanted.key,
            program: program.map_or_else(String::new, |program| program.name.clone()),
            path: wanted.path.display().to_string(),
            offset: wanted.offset,
            at_return: wanted.at_return,
            address: seen.map_or(0, |hook| hook.address),
            attached: seen.is_some_and(|hook| hook.attached),
            hits: seen.map_or(0, |hook| hook.hits),
            missed: seen.map_or(0, |hook| hook.missed),
            failure: seen
                .and_then(|hook| hook.failure.clone())
                .or_else(|| failures.get(&wanted.key).cloned()),
        }
    });
    wanted.collect()
}

/// All maps.
pub fn maps(broker: &Arc<Broker>) -> Vec<MapInfo> {
    broker.registry.sweep();
    broker
        .registry
        .maps
        .all()
        .iter()
        .map(|map| map_info(broker, map))
        .collect()
}

fn map_info(broker: &Arc<Broker>, map: &Arc<Map>) -> MapInfo {
    let geometry = map.geometry();
    MapInfo {
        id: map.id,
        name: map.description.name.clone(),
        map_type: geometry.map_type.name().to_owned(),
        key_size: geometry.key_size,
        value_size: geometry.value_size,
        max_entries: geometry.max_entries,
        flags: geometry.flags,
        frozen: map.is_frozen(),
        sessions: broker
            .holders(|object| matches!(object, Object::Map(known) if Arc::ptr_eq(known, map))),
    }
}

/// The contents of the map with a name or id.
pub fn dump(broker: &Arc<Broker>, wanted: &str) -> Result<MapDump, String> {
    broker.registry.sweep();
    let maps = broker.registry.maps.all();
    let id = wanted.parse::<u32>().ok();
    let found: Vec<_> = match maps.iter().find(|map| Some(map.id) == id) {
        Some(map) => vec![map],
        None => maps
            .iter()
            .filter(|map| map.description.name == wanted)
            .collect(),
    };
    let map = match found.as_slice() {
        [map] => *map,
        [] => return Err(format!("no live session has a map named {wanted:?}")),
        several => {
            let ids: Vec<_> = several.iter().map(|map| map.id.to_string()).collect();
            let ids = ids.join(", ");
            return Err(format!(
                "several maps are named {wanted:?}; give one of the ids {ids}"
            ));
        }
    };
    Ok(MapDump {
        map: map_info(broker, map),
        elements: elements(map)?,
    })
}

/// All elements of a map; one sentence if it has none or too many to show.
fn elements(map: &Map) -> Result<Vec<Element>, String> {
    let geometry = map.geometry();
    let bytes = geometry.key_size as usize + geometry.user_value_size();
    let cost = bytes
        .saturating_mul(JSON_PER_BYTE)
        .saturating_add(JSON_PER_ELEMENT);
    let mut room = MAX_DUMP;
    let mut elements: Vec<Element> = Vec::new();
    loop {
        let last = elements.last().map(|element| element.key.as_slice());
        // Before anything is read: one value may be larger than all there is room for.
        let Some(rest) = room.checked_sub(cost) else {
            return match map.next_key(last) {
                Err(Errno::ENOENT) => Ok(elements),
                Err(errno) => Err(unreadable(map, errno)),
                Ok(_) => Err(too_large(map, elements.len())),
            };
        };
        match map.next_element(last, |key| map.lookup(key)) {
            Ok((key, value)) => elements.push(Element { key, value }),
            Err(Errno::ENOENT) => return Ok(elements),
            Err(errno) => return Err(unreadable(map, errno)),
        }
        room = rest;
    }
}

fn too_large(map: &Map, fit: usize) -> String {
    let (id, name) = (map.id, &map.description.name);
    format!(
        "map {name:?} has more elements than can be shown at once ({fit}); \
         `bpftime load bpftool map dump id {id}` shows them one by one"
    )
}

fn unreadable(map: &Map, errno: Errno) -> String {
    let (name, kind) = (&map.description.name, map.geometry().map_type.name());
    format!(
        "map {name:?} of type {kind} has no elements that can be listed ({})",
        errno.name()
    )
}

#[cfg(test)]
mod tests {
    use bpftime_abi::MapType;
    use bpftime_maps::Geometry;

    use super::*;
    use crate::broker::map::Description;

    fn array(value_size: u32, max_entries: u32) -> Map {
        let geometry = Geometry {
            map_type: MapType::Array,
            key_size: 4,
            value_size,
            max_entries,
            flags: 0,
            cpus: 1,
            seed: 0,
        };
        Map::new(1, geometry, Description::default()).unwrap()
    }

    #[test]
    fn a_dump_fits_in_a_message_or_is_refused() {
        assert_eq!(elements(&array(8, 1000)).unwrap().len(), 1000);
        // The largest number of elements that is shown, all bytes of three digits.
        let fit = MAX_DUMP / ((4 + 1020) * JSON_PER_BYTE + JSON_PER_ELEMENT);
        let map = array(1020, fit as u32);
        for index in 0..fit as u32 {
            map.update(&index.to_le_bytes(), &[255; 1020], 0).unwrap();
        }
        let shown = elements(&map).unwrap();
        assert_eq!(shown.len(), fit);
        assert!(serde_json::to_vec(&shown).unwrap().len() <= MAX_DUMP);
        for map in [array(1020, fit as u32 + 1), array(1 << 30, 1)] {
            let sentence = elements(&map).unwrap_err();
            assert!(
                sentence.contains("more elements than can be shown"),
                "{sentence}"
            );
        }
    }
}

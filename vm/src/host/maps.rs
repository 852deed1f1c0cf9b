//! The maps of a program that runs in this process.

use bpftime_abi::Errno;
use bpftime_isa::MapDef;
use bpftime_maps::{Geometry, MapRef};

use super::memory::Pages;

/// Virtual CPUs in this process: a run has it for itself.
const CPUS: u32 = 1;

/// A map in memory of its own.
#[derive(Debug)]
pub(super) struct HostMap {
    /// In a box, because its address is the map's handle.
    pub(super) map: Box<MapRef>,
    pub(super) definition: MapDef,
    _control: Pages,
    _data: Option<Pages>,
}

/// Why a map could not be made.
#[derive(Debug, thiserror::Error)]
#[error("map {name}: {reason}")]
pub struct MapError {
    /// Name of the map.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl HostMap {
    pub(super) fn new(definition: &MapDef, seed: u64) -> Result<Self, MapError> {
        let failed = |reason: String| MapError {
            name: definition.name.clone(),
            reason,
        };
        let geometry = Geometry {
            map_type: definition.map_type,
            key_size: definition.key_size,
            value_size: definition.value_size,
            max_entries: definition.max_entries,
            flags: definition.flags,
            cpus: CPUS,
            seed,
        };
        let refused = |errno: Errno| {
            failed(match geometry.refusal() {
                Some(reason) => format!("{reason} ({})", errno.name()),
                None => errno.name().to_owned(),
            })
        };
        geometry.validate().map_err(refused)?;
        let pages = |len| Pages::new(len).map_err(|error| failed(error.to_string()));
        let control = pages(geometry.control_len())?;
        let mut data = match geometry.data_len() {
            0 => None,
            len => Some(pages(len)?),
        };
        if let (Some(initial), Some(data)) = (&definition.initial, &mut data) {
            let value = data.bytes_mut(0, definition.value_size as usize);
            let len = initial.len().min(value.len());
            value[..len].copy_from_slice(&initial[..len]);
        }
        let data_base = data.as_ref().map_or(std::ptr::null_mut(), Pages::base);
        // SAFETY: both have the lengths that the geometry asks for, are zeroed pages, and live
        // beside the handle.
        let map = unsafe { MapRef::init(geometry, control.base(), data_base) }.map_err(refused)?;
        Ok(Self {
            map: Box::new(map),
            definition: definition.clone(),
            _control: control,
            _data: data,
        })
    }

    /// The handle as helpers take it.
    pub(super) fn handle(&self) -> u64 {
        std::ptr::from_ref::<MapRef>(&self.map) as u64
    }

    /// Address of the first value, 0 if the type has none.
    pub(super) fn value(&self) -> u64 {
        self.map.values_base()
    }
}

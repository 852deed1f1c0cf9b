//! What a program is called with: memory, a context, or a packet with its context.

use std::io;

use bpftime_isa::{AttachType, CtxFieldKind, CtxLayout, ProgType, context};

use super::memory::Pages;
use crate::interp::RegionKind;
use crate::interp::regions::Region;

/// Bytes that are free before a packet (kernel `XDP_PACKET_HEADROOM`).
#[doc(alias = "XDP_PACKET_HEADROOM")]
const HEADROOM: usize = 256;

/// Greatest packet or memory, in bytes.
const MAX_LEN: usize = 1 << 24;

/// Input for one program type, which can be used for many runs.
#[derive(Debug)]
pub struct Input {
    prog_type: ProgType,
    attach_type: Option<AttachType>,
    layout: &'static CtxLayout,
    /// The context, or the memory of a memory program.
    context: Pages,
    context_len: usize,
    /// Headroom, then the packet.
    packet: Option<Pages>,
    packet_len: usize,
}

/// Why there is no input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Programs of this type cannot be run on given input.
    #[error("programs of type {} have no context that can be given", .0.name())]
    NoContext(ProgType),
    /// More bytes than the context has.
    #[error("{given} bytes were given, but {context} has {size}")]
    TooLong {
        /// Name of the context.
        context: &'static str,
        /// Bytes given.
        given: usize,
        /// Bytes of the context.
        size: usize,
    },
    /// Memory could not be had.
    #[error("no memory for the input: {0}")]
    Memory(#[from] io::Error),
}

impl Input {
    /// Input for programs of a type: the bytes are those of the packet if the type's context has
    /// one, else those of the context, whose rest is zero.
    ///
    /// # Errors
    ///
    /// Types without a known context, and too many bytes.
    pub fn new(
        prog_type: ProgType,
        attach_type: Option<AttachType>,
        bytes: &[u8],
    ) -> Result<Self, InputError> {
        let layout =
            context::layout(prog_type, attach_type).ok_or(InputError::NoContext(prog_type))?;
        let needs_object =
            |kind| matches!(kind, CtxFieldKind::Object(pointer) if !pointer.nullable);
        if layout.fields.iter().any(|field| needs_object(field.kind)) {
            return Err(InputError::NoContext(prog_type));
        }
        let has_packet = layout
            .fields
            .iter()
            .any(|field| field.kind == CtxFieldKind::PacketStart);
        let context_len = if layout.plain_memory {
            bytes.len()
        } else {
            layout.size as usize
        };
        let limit = if has_packet || layout.plain_memory {
            MAX_LEN
        } else {
            context_len
        };
        if bytes.len() > limit {
            return Err(InputError::TooLong {
                context: layout.name,
                given: bytes.len(),
                size: limit,
            });
        }
        let packet = has_packet
            .then(|| Pages::low(HEADROOM + bytes.len()))
            .transpose()?;
        let mut input = Self {
            prog_type,
            attach_type,
            layout,
            context: Pages::new(context_len)?,
            context_len,
            packet,
            packet_len: bytes.len(),
        };
        input.fill(bytes);
        Ok(input)
    }

    /// Sets the input again, to the same number of bytes or fewer; the rest is zero, and a
    /// packet is as long as `bytes`.
    pub fn fill(&mut self, bytes: &[u8]) {
        match &mut self.packet {
            Some(pages) => {
                let room = pages.bytes_mut(HEADROOM, usize::MAX);
                let len = bytes.len().min(room.len());
                room[..len].copy_from_slice(&bytes[..len]);
                self.packet_len = len;
                self.fill_packet_context();
            }
            None => {
                let context = self.context.bytes_mut(0, self.context_len);
                let len = bytes.len().min(context.len());
                context[..len].copy_from_slice(&bytes[..len]);
                context[len..].fill(0);
            }
        }
    }

    fn fill_packet_context(&mut self) {
        let Some(packet) = &self.packet else { return };
        let start = packet.address() + HEADROOM as u64;
        let end = start + self.packet_len as u64;
        let context = self.context.bytes_mut(0, self.context_len);
        context.fill(0);
        for field in self.layout.fields.iter() {
            let value = match field.kind {
                CtxFieldKind::PacketStart | CtxFieldKind::PacketMeta => start,
                CtxFieldKind::PacketEnd => end,
                CtxFieldKind::Scalar if field.name == "len" => self.packet_len as u64,
                CtxFieldKind::Scalar | CtxFieldKind::UserPointer | CtxFieldKind::Object(_) => {
                    continue;
                }
            };
            let at = field.offset as usize..(field.offset + field.size) as usize;
            let value = value.to_le_bytes();
            if let (Some(place), Some(value)) =
                (context.get_mut(at), value.get(..field.size as usize))
            {
                place.copy_from_slice(value);
            }
        }
    }

    /// The bytes as the last run left them: the packet, else the context.
    pub fn bytes(&self) -> &[u8] {
        match &self.packet {
            Some(pages) => pages.bytes(HEADROOM, self.packet_len),
            None => self.context.bytes(0, self.context_len),
        }
    }

    /// Type of the programs that this is input for.
    pub fn prog_type(&self) -> ProgType {
        self.prog_type
    }

    /// Attach type of the programs that this is input for.
    pub fn attach_type(&self) -> Option<AttachType> {
        self.attach_type
    }

    /// Bytes of the memory of a memory program.
    pub(super) fn memory_len(&self) -> Option<u64> {
        self.layout.plain_memory.then_some(self.context_len as u64)
    }

    /// `r1` and `r2` at the program's entry.
    pub(super) fn registers(&self) -> (u64, u64) {
        (self.context.address(), self.memory_len().unwrap_or(0))
    }

    /// The memory that a checked program may use.
    pub(super) fn regions(&self) -> impl Iterator<Item = Region> {
        let writable =
            self.layout.plain_memory || self.layout.fields.iter().any(|f| f.write.is_some());
        let context = Region {
            kind: RegionKind::Context,
            base: self.context.address(),
            len: self.context_len as u64,
            writable,
        };
        let packet = self.packet.as_ref().map(|pages| Region {
            kind: RegionKind::Packet,
            base: pages.address() + HEADROOM as u64,
            len: self.packet_len as u64,
            writable: true,
        });
        std::iter::once(context).chain(packet)
    }
}

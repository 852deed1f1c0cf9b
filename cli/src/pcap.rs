//! Packets of a capture file.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};

/// Bytes of packets that are read from one file.
const MAX_BYTES: usize = 256 << 20;
/// First bytes of a pcapng file.
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Reads all packets of a pcap or pcapng file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let packets = read_file(path).with_context(|| format!("cannot read {}", path.display()))?;
    if packets.is_empty() {
        bail!("{} holds no packet", path.display());
    }
    Ok(packets)
}

fn read_file(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut file = File::open(path)?;
    let mut magic = [0; 4];
    file.read_exact(&mut magic)
        .context("not a pcap file: shorter than its magic number")?;
    file.rewind()?;
    let file = BufReader::new(file);
    let mut packets = Packets::default();
    if magic == PCAPNG_MAGIC {
        let mut reader = PcapNgReader::new(file).context("not a pcapng file")?;
        while let Some(block) = reader.next_block() {
            match block? {
                Block::EnhancedPacket(packet) => packets.add(&packet.data)?,
                Block::SimplePacket(packet) => packets.add(&packet.data)?,
                Block::InterfaceDescription(interface) => warn_of(interface.linktype),
                _ => {}
            }
        }
    } else {
        let mut reader = PcapReader::new(file).context("not a pcap or pcapng file")?;
        warn_of(reader.header().datalink);
        while let Some(packet) = reader.next_packet() {
            packets.add(&packet?.data)?;
        }
    }
    Ok(packets.all)
}

fn warn_of(link: DataLink) {
    if link != DataLink::ETHERNET {
        tracing::warn!("the packets are of link type {link:?}; XDP programs expect Ethernet");
    }
}

#[derive(Default)]
struct Packets {
    all: Vec<Vec<u8>>,
    bytes: usize,
}

impl Packets {
    fn add(&mut self, data: &[u8]) -> anyhow::Result<()> {
        self.bytes += data.len();
        if self.bytes > MAX_BYTES {
            bail!("more than {} MiB of packets", MAX_BYTES >> 20);
        }
        self.all.push(data.to_vec());
        Ok(())
    }
}

//! `bpftime run`: every engine gives what the kernel's test runs give, and bad input is refused.

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{bpftime, compile, stderr, stdout};

/// Looks at length and contents of the packet, counts in a map, and uses global data.
const PROGRAM: &str = r#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

const volatile __u8 secret = 0x77;
__u32 sum = 5;

static __attribute__((noinline)) int mix(int a, int b)
{
	return a * 31 + b;
}

SEC("xdp")
int look(struct xdp_md *ctx)
{
	unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 key = 0;
	__u64 *count;

	if (data + 20 > end)
		return XDP_ABORTED;
	for (int i = 0; i < 20; i++)
		sum = mix(sum, data[i]);
	key = data[0] & 3;
	count = bpf_map_lookup_elem(&counts, &key);
	if (!count)
		return XDP_TX;
	*count += end - data;
	if (data[1] == secret)
		return XDP_REDIRECT;
	return (sum ^ *count) & 3;
}

char LICENSE[] SEC("license") = "GPL";
"#;

/// Packets of several lengths.
fn packets() -> Vec<Vec<u8>> {
    let lengths = [14, 19, 20, 21, 60, 64, 200, 1500];
    let byte = |seed: usize| move |at: usize| (at * 7 + seed * 13 + at * at % 11) as u8;
    let mut packets: Vec<Vec<u8>> = lengths
        .into_iter()
        .enumerate()
        .map(|(seed, len)| (0..len).map(byte(seed)).collect())
        .collect();
    packets[5][1] = 0x77;
    packets
}

/// A capture file with Ethernet packets.
fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend(word.to_le_bytes());
    }
    for packet in packets {
        let len = packet.len() as u32;
        for word in [0, 0, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

fn values(object: &str, pcap: &str, engine: &str) -> Vec<u64> {
    let output = bpftime(&[
        "run", object, "--packet", pcap, "--engine", engine, "--json",
    ]);
    assert!(output.status.success(), "{engine}: {}", stderr(&output));
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["engine"], engine);
    let runs = json["runs"].as_array().unwrap();
    runs.iter()
        .map(|run| run["return_value"].as_u64().unwrap())
        .collect()
}

/// The kernel's results, from a program that is loaded once, as ours is.
fn kernel_values(object: &Path, packets: &[Vec<u8>]) -> Option<Vec<u64>> {
    let pin = format!("/sys/fs/bpf/bpftime-cli-test-{}", std::process::id());
    let loaded = Command::new("bpftool")
        .args(["prog", "load"])
        .arg(object)
        .arg(&pin)
        .output();
    if !loaded.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: bpftool cannot load the program here (needs root): {loaded:?}");
        return None;
    }
    let data = object.with_extension("packet");
    let values = packets.iter().map(|packet| {
        std::fs::write(&data, packet).unwrap();
        let output = Command::new("bpftool")
            .args(["--json", "prog", "run", "pinned", &pin, "repeat", "1"])
            .arg("data_in")
            .arg(&data)
            .output()
            .unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        json["retval"].as_u64().unwrap()
    });
    let values = values.collect();
    std::fs::remove_file(&pin).unwrap();
    Some(values)
}

#[test]
fn every_engine_returns_what_the_kernel_returns() {
    let directory = tempfile::tempdir().unwrap();
    let Some(object) = compile(directory.path(), "look", PROGRAM) else {
        return;
    };
    let packets = packets();
    let capture = directory.path().join("in.pcap");
    std::fs::write(&capture, pcap(&packets)).unwrap();
    let [file, capture] = [&object, &capture].map(|path| path.to_str().unwrap());
    let jit = values(file, capture, "jit");
    assert_eq!(jit[0], 0, "a packet of 14 bytes is too short");
    assert_eq!(jit[1], 0, "a packet of 19 bytes is too short");
    assert_eq!(jit[5], 4, "the packet with the secret byte");
    assert_eq!(jit, values(file, capture, "interp"));
    assert_eq!(jit, values(file, capture, "checked"));
    if let Some(kernel) = kernel_values(&object, &packets) {
        assert_eq!(jit, kernel);
    }
}

#[test]
fn bad_input_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{PROGRAM}\nSEC(\"kprobe/x\") int regs(void *ctx) {{ return *(long *)ctx; }}\n\
         SEC(\"xdp\") int bad(struct xdp_md *ctx) {{ return *(char *)(long)ctx->data; }}\n"
    );
    let Some(object) = compile(directory.path(), "several", &text) else {
        return;
    };
    let object = object.to_str().unwrap();
    let empty = directory.path().join("empty.pcap");
    std::fs::write(&empty, pcap(&[])).unwrap();
    let cut = directory.path().join("cut.pcap");
    let whole = pcap(&packets());
    std::fs::write(&cut, &whole[..whole.len() - 3]).unwrap();
    let long = directory.path().join("long");
    std::fs::write(&long, [0; 4000]).unwrap();
    let [empty, cut, long] = [&empty, &cut, &long].map(|path| path.to_str().unwrap());
    for (arguments, code, expected) in [
        (&[][..], 2, "--program"),
        (&["--program", "nobody"], 2, "no such program"),
        (&["--program", "look", "--packet", empty], 2, "no packet"),
        (&["--program", "look", "--packet", cut], 2, "cut.pcap"),
        (&["--program", "look", "--packet", object], 2, "pcap"),
        (&["--program", "look", "--mem", "00"], 2, "--packet"),
        (&["--program", "regs", "--packet", cut], 2, "--ctx"),
        (&["--program", "regs", "--ctx", long], 2, "4000 bytes"),
        (&["--program", "look", "--repeat", "0"], 2, "repeat"),
        (&["--program", "bad"], 1, "packet-bounds"),
        (&["--program", "bad", "--engine", "checked"], 1, "outside"),
    ] {
        let output = bpftime(&[&["run", object], arguments].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
}

#[test]
fn memory_and_contexts_are_given() {
    let directory = tempfile::tempdir().unwrap();
    let text = "int sum(unsigned char *p, unsigned long n) { return p[0] + 2 * p[2]; }";
    let Some(object) = compile(directory.path(), "sum", text) else {
        return;
    };
    let object = object.to_str().unwrap();
    for engine in ["jit", "interp", "checked"] {
        let run = |mem: &str| bpftime(&["run", object, "--mem", mem, "--engine", engine]);
        let output = run("01 ff 10");
        assert!(output.status.success(), "{engine}: {output:?}");
        assert!(stdout(&output).contains(" 33\n"), "{engine}: {output:?}");
        assert_eq!(run("01 ff").status.code(), Some(1), "{engine}");
        assert_eq!(run("01 f").status.code(), Some(2), "{engine}");
    }

    // The first argument of a probed function is `rdi`, at 112 in `pt_regs`.
    let text = "__attribute__((section(\"uprobe\"))) long regs(unsigned long *ctx)\n\
                { return ctx[14]; }";
    let object = compile(directory.path(), "regs", text).unwrap();
    let mut regs = [0; 168];
    regs[112..120].copy_from_slice(&0x1234u64.to_le_bytes());
    let file = directory.path().join("regs.bin");
    std::fs::write(&file, regs).unwrap();
    let [object, file] = [&object, &file].map(|path| path.to_str().unwrap());
    let output = bpftime(&["run", object, "--ctx", file]);
    assert!(output.status.success(), "{output:?}");
    assert!(stdout(&output).contains(" 4660\n"), "{output:?}");
}

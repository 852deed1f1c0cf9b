//! Formats, against the kernel's `bpf_snprintf`.

use bpftime_abi::{Errno, MapType};
use bpftime_maps::Geometry;

use crate::bpf::{self, EXIT, KernelMap, Program, call, load_imm, load_value};
use crate::environment::Host;

/// Formats and their arguments.
const CASES: [(&str, &[u64]); 61] = [
    ("plain", &[]),
    ("100%%\n\ttab", &[]),
    ("%d", &[-5i64 as u64]),
    ("%d", &[0xffff_ffff_0000_0007]),
    ("%i|%u", &[1 << 31, 1 << 31]),
    ("%x %X", &[0xdead_beef, 0xdead_beef]),
    ("%ld %lu %lx", &[u64::MAX, u64::MAX, u64::MAX]),
    ("%lld %llu %llx", &[1 << 63, 1 << 63, 1 << 63]),
    ("%d", &[i32::MIN as u64]),
    ("%u%u", &[0, 10]),
    ("[%5d] [%-5d] [%05d] [%+d] [% d]", &[42, 42, 42, 42, 42]),
    (
        "[%5d] [%-5d] [%05d] [%+d]",
        &[-42i64 as u64, -42i64 as u64, -42i64 as u64, -42i64 as u64],
    ),
    ("[%20llx] [%-20llx] [%020llx]", &[0xabc, 0xabc, 0xabc]),
    ("[%1d]", &[12345]),
    ("[%-05d]", &[7]),
    ("[%c]", &[65]),
    ("[%5c] [%-5c]", &[66, 67]),
    ("%px", &[0x1234_5678_9abc]),
    ("%px", &[0]),
    ("%lu items", &[3]),
    ("%d,%d;%d", &[1, 2, 3]),
    ("unused", &[1, 2]),
    ("%d", &[]),
    ("%d %d", &[1]),
    ("%", &[1]),
    ("%q", &[1]),
    ("%f", &[1]),
    ("%hd", &[1]),
    ("%llld", &[1]),
    ("%s2", &[0]),
    ("%c2%c", &[65, 66]),
    ("%10us", &[5]),
    ("%p%", &[0]),
    ("%p%d", &[0, 0]),
    ("%px%", &[0]),
    ("%s%", &[0]),
    ("[%s] [%5s] [%-5s] [%05s]", &[0, 0, 0, 0]),
    ("[%pks] [%5pus]", &[0, 0]),
    ("%pks2", &[0]),
    ("%ps|%pS|%pB", &[0x12, 0x12, 0x12]),
    ("[%10ps] [%-10ps]", &[0x12, 0x12]),
    ("%pI4|%pi4|%pI6|%pi6", &[0, 0, 0, 0]),
    ("[%20pI4] [%-20pi4]", &[0, 0]),
    ("[%20px] [%-20px]", &[1, 1]),
    ("[%5px]", &[1]),
    ("%5%", &[]),
    ("%+u %+x % u", &[1, 1, 1]),
    ("%i4", &[1]),
    ("%*d", &[1, 2]),
    ("%.3d", &[1]),
    ("%#x", &[1]),
    ("%pz", &[1]),
    ("%pI5", &[1]),
    ("%l", &[1]),
    ("%-", &[1]),
    ("\u{1}", &[]),
    ("\u{e9}", &[]),
    ("%5", &[1]),
    ("%012x-", &[0xabc]),
    ("%d%%%d", &[1, 2]),
    ("%x", &[0]),
];

fn array(value_size: usize, flags: u32) -> KernelMap {
    KernelMap::create(&Geometry {
        map_type: MapType::Array,
        key_size: 4,
        value_size: value_size as u32,
        max_entries: 1,
        flags,
        cpus: 1,
        seed: 0,
    })
    .unwrap()
}

const OUT: usize = 128;

/// The kernel's result and text; nothing where it refuses the format.
fn kernels(format: &str, args: &[u64], size: usize) -> Option<(u64, Vec<u8>)> {
    const KEY: [u8; 4] = [0; 4];
    const BPF_F_RDONLY_PROG: u32 = 1 << 7;
    const BPF_MAP_FREEZE: i32 = 22;
    let (out, data) = (array(OUT, 0), array(128, 0));
    let template = array(128, BPF_F_RDONLY_PROG);
    let mut bytes = format.as_bytes().to_vec();
    bytes.resize(128, 0);
    template.update(&KEY, &bytes, 0).unwrap();
    let mut attr = [0; 16];
    attr[0] = template.0.0 as u64;
    bpf::bpf(BPF_MAP_FREEZE, &mut attr).unwrap();
    let mut words: Vec<u8> = args.iter().flat_map(|arg| arg.to_le_bytes()).collect();
    words.resize(128, 0);
    data.update(&KEY, &words, 0).unwrap();
    out.update(&KEY, &[0xee; OUT], 0).unwrap();
    let mut code = vec![];
    code.extend(load_value(1, &out));
    code.extend(load_imm(2, size as u64));
    code.extend(load_value(3, &template));
    code.extend(load_value(4, &data));
    code.extend(load_imm(5, 8 * args.len() as u64));
    code.extend([call(165), EXIT]);
    let program = Program::try_load(&code).ok()?;
    let result = program.run() as i32 as i64 as u64;
    let mut text = vec![0; OUT];
    out.lookup(&KEY, &mut text, 0).unwrap();
    Some((result, text))
}

fn ours(format: &str, args: &[u64], size: usize) -> (u64, Vec<u8>) {
    let mut host = Host::new();
    let mut text = vec![0xee; OUT];
    let format = std::ffi::CString::new(format).unwrap();
    let (to, data) = (text.as_mut_ptr() as u64, args.as_ptr() as u64);
    let args = [
        to,
        size as u64,
        format.as_ptr() as u64,
        data,
        8 * args.len() as u64,
    ];
    (host.call(165, args), text)
}

#[test]
fn snprintf_is_the_kernels() {
    if !bpf::usable("snprintf_is_the_kernels") {
        return;
    }
    let mut refused = 0;
    for (format, args) in CASES {
        // The kernel renders these ahead, and counts less of them when the room is small.
        let ahead = ["%pB", "pI4", "pi4"]
            .iter()
            .any(|part| format.contains(part));
        let sizes: &[usize] = if ahead { &[OUT] } else { &[OUT, 6, 1] };
        for &size in sizes {
            let mine = ours(format, args, size);
            match kernels(format, args, size) {
                Some(theirs) => {
                    let text =
                        |(_, text): &(u64, Vec<u8>)| String::from_utf8_lossy(text).into_owned();
                    let (a, b) = (text(&mine), text(&theirs));
                    assert_eq!(
                        mine, theirs,
                        "{format:?} in {size}: ours {a:?}, the kernel's {b:?}"
                    );
                }
                None => {
                    assert_eq!(mine.0, Errno::EINVAL.to_r0(), "{format:?}: {:?}", mine.1);
                    refused += 1;
                }
            }
        }
    }
    assert!(
        refused > 30,
        "{refused} refused: does the kernel take the programs at all?"
    );
    assert!(refused < 3 * CASES.len() / 2, "{refused} refused");
}

#[test]
fn trace_printk_takes_three_arguments_and_reads_strings() {
    let mut host = Host::new();
    let name = c"world";
    let format = b"hello %s %d %lx\0";
    let args = [
        format.as_ptr() as u64,
        format.len() as u64,
        name.as_ptr() as u64,
        7,
        0xff,
    ];
    let expected = b"hello world 7 ff";
    assert_eq!(host.call(6, args), expected.len() as u64);
    assert_eq!(host.notes.lines, [expected.to_vec()]);
    // Not terminated, too many arguments.
    assert_eq!(
        host.call(6, [format.as_ptr() as u64, 5, 0, 0, 0]) as i64,
        -22
    );
    let four = b"%d%d%d%d\0";
    assert_eq!(host.call(6, [four.as_ptr() as u64, 9, 0, 0, 0]) as i64, -22);
    assert_eq!(host.notes.lines.len(), 1);
    // A string that cannot be read is empty.
    assert_eq!(host.call(6, [c"[%s]".as_ptr() as u64, 5, 1, 0, 0]), 2);
    assert_eq!(host.notes.lines.last().unwrap(), b"[]");
    // Addresses and strings of both kinds.
    let ip = [192u8, 168, 0, 1];
    let words = [
        name.as_ptr() as u64,
        ip.as_ptr() as u64,
        ip.as_ptr() as u64,
        0x12,
    ];
    let format = c"%pus %-8pks %pI4 %pi4 %ps";
    let len = format.count_bytes() as u64 + 1;
    let words = [words[0], words[0], words[1], words[2], words[3]];
    host.call(
        177,
        [format.as_ptr() as u64, len, words.as_ptr() as u64, 40, 0],
    );
    let text = String::from_utf8(host.notes.lines.pop().unwrap()).unwrap();
    assert_eq!(text, "world world 192.168.0.1 192.168.000.001 0x12");
    // Lengths that are not words.
    assert_eq!(
        host.call(
            177,
            [format.as_ptr() as u64, len, words.as_ptr() as u64, 12, 0]
        ) as i64,
        -22
    );
    assert_eq!(
        host.call(
            177,
            [format.as_ptr() as u64, len, words.as_ptr() as u64, 104, 0]
        ) as i64,
        -22
    );
}

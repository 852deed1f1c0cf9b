//! Reads of memory that may not be there.

use crate::environment::Host;

const EFAULT: i64 = -14;
const PAGE: usize = 4096;

/// A readable page before one that is not; gives the boundary.
fn boundary() -> *mut u8 {
    // SAFETY: a new mapping, of which the second page is then taken away.
    unsafe {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let at = libc::mmap(core::ptr::null_mut(), 2 * PAGE, prot, flags, -1, 0).cast::<u8>();
        assert_eq!(
            libc::mprotect(at.add(PAGE).cast(), PAGE, libc::PROT_NONE),
            0
        );
        at.write_bytes(b'x', PAGE);
        at.add(PAGE)
    }
}

#[test]
fn probe_read_copies_or_zeroes() {
    let (mut host, boundary) = (Host::new(), boundary() as u64);
    for helper in [4, 112, 113] {
        let mut read = |size: u64, from: u64| {
            let mut buffer = [0xee; 16];
            let result = host.call(helper, [buffer.as_mut_ptr() as u64, size, from, 0, 0]) as i64;
            (result, buffer)
        };
        let mut copied = [0xee; 16];
        copied[..8].fill(b'x');
        assert_eq!(read(8, boundary - 8), (0, copied));
        let mut zeroed = [0xee; 16];
        zeroed[..8].fill(0);
        for from in [
            boundary - 7,
            boundary,
            0,
            1,
            u64::MAX - 3,
            1 << 47,
            0xffff_8000_0000_0000,
        ] {
            assert_eq!(read(8, from), (EFAULT, zeroed), "{from:x}");
        }
        assert_eq!(read(0, 0), (0, [0xee; 16]));
    }
}

#[test]
fn probe_read_str_gives_the_length_with_the_nul() {
    let (mut host, boundary) = (Host::new(), boundary());
    for helper in [45, 114, 115] {
        let mut read = |size: u64, from: *const u8| {
            let mut buffer = vec![0xee; 5000];
            let args = [buffer.as_mut_ptr() as u64, size, from as u64, 0, 0];
            (host.call(helper, args) as i64, buffer)
        };
        let check = |(result, buffer): (i64, Vec<u8>), text: &[u8]| {
            assert_eq!(result, text.len() as i64 + 1);
            assert_eq!(&buffer[..text.len()], text);
            assert_eq!(buffer[text.len()], 0);
            // Nothing after the NUL is touched.
            assert!(buffer[text.len() + 1..].iter().all(|byte| *byte == 0xee));
        };
        check(read(64, c"hello".as_ptr().cast()), b"hello");
        check(read(6, c"hello".as_ptr().cast()), b"hello");
        check(read(5, c"hello".as_ptr().cast()), b"hell");
        check(read(1, c"hello".as_ptr().cast()), b"");
        let long = [vec![b'y'; 700], vec![0]].concat();
        check(read(4096, long.as_ptr()), &long[..700]);
        check(read(256, long.as_ptr()), &long[..255]);
        // A string that ends with the last readable byte.
        // SAFETY: before the boundary.
        unsafe { boundary.sub(1).write(0) };
        check(read(300, boundary.wrapping_sub(4)), b"xxx");
        // One that does not end before it.
        // SAFETY: before the boundary.
        unsafe { boundary.sub(1).write(b'x') };
        let (result, buffer) = read(300, boundary.wrapping_sub(4));
        assert_eq!(result, EFAULT);
        assert!(buffer[..300].iter().all(|byte| *byte == 0) && buffer[300] == 0xee);
        // Cut off before it.
        check(read(4, boundary.wrapping_sub(4)), b"xxx");
        assert_eq!(read(0, boundary).0, 0);
    }
}

#[test]
fn strncmp_is_that_of_the_c_library() {
    let mut host = Host::new();
    let strings = [c"", c"a", c"ab", c"abc", c"abd", c"b", c"\xff"];
    for a in strings {
        for b in strings {
            for size in 1..=a.count_bytes() + 1 {
                let args = [a.as_ptr() as u64, size as u64, b.as_ptr() as u64, 0, 0];
                let ours = host.call(182, args) as i64;
                // SAFETY: both are terminated.
                let expected = unsafe { libc::strncmp(a.as_ptr(), b.as_ptr(), size) };
                assert_eq!(ours, expected.signum() as i64, "{a:?} {b:?} {size}");
            }
        }
    }
}

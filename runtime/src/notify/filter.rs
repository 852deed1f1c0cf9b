//! Which calls are handed over, which are answered on the spot, which are refused.
//!
//! The filter is classic BPF over `struct seccomp_data`. It looks at numbers only, never at
//! memory, so it cannot be raced.

use libc::sock_filter;

/// `struct seccomp_data`: offset of the call number.
const NR: u32 = 0;
/// `struct seccomp_data`: offset of the architecture.
const ARCH: u32 = 4;
/// `struct seccomp_data`: offset of the low half of an argument.
const fn arg_low(index: u32) -> u32 {
    16 + 8 * index
}
/// `struct seccomp_data`: offset of the high half of an argument.
const fn arg_high(index: u32) -> u32 {
    arg_low(index) + 4
}

/// `AUDIT_ARCH_X86_64`.
const ARCH_X86_64: u32 = 0xc000_003e;
/// Bit that marks a call number of the x32 interface (`__X32_SYSCALL_BIT`).
const X32_BIT: u32 = 0x4000_0000;
/// Second byte of every perf `ioctl` number, `'$'`.
const PERF_IOCTL_TYPE: u32 = 0x2400;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP_EQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Calls that always go to the broker.
const HANDED_OVER: &[libc::c_long] = &[
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_epoll_ctl,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
];

const fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Skips `otherwise` instructions if the value differs from `k`.
const fn unless_equal(k: u32, otherwise: u8) -> sock_filter {
    sock_filter {
        code: JUMP_EQ,
        jt: 0,
        jf: otherwise,
        k,
    }
}

const NOTIFY: sock_filter = statement(RETURN, libc::SECCOMP_RET_USER_NOTIF);
const ALLOW: sock_filter = statement(RETURN, libc::SECCOMP_RET_ALLOW);
/// The call is not made and returns 0.
const SUCCEED: sock_filter = statement(RETURN, libc::SECCOMP_RET_ERRNO);

const fn number(call: libc::c_long) -> u32 {
    call as u32
}

/// The filter.
///
/// - Another architecture ends the process: its calls would be numbered differently.
/// - x32 numbers get `ENOSYS`: they reach the same functions under other numbers.
/// - `geteuid` says 0: tools for kernel eBPF refuse to start for anyone else.
/// - Raising `RLIMIT_MEMLOCK` succeeds: maps here are not locked memory.
/// - perf `ioctl`s and the calls of `HANDED_OVER` go to the broker; all else runs.
pub fn program() -> Vec<sock_filter> {
    let mut code = vec![
        statement(LOAD, ARCH),
        sock_filter {
            code: JUMP_EQ,
            jt: 1,
            jf: 0,
            k: ARCH_X86_64,
        },
        statement(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        statement(LOAD, NR),
        sock_filter {
            code: JUMP_GE,
            jt: 0,
            jf: 1,
            k: X32_BIT,
        },
        statement(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ];
    for call in HANDED_OVER {
        code.extend([unless_equal(number(*call), 1), NOTIFY]);
    }
    code.extend([unless_equal(number(libc::SYS_geteuid), 1), SUCCEED]);
    code.extend([
        unless_equal(number(libc::SYS_ioctl), 5),
        statement(LOAD, arg_low(1)),
        statement(AND, 0xff00),
        unless_equal(PERF_IOCTL_TYPE, 1),
        NOTIFY,
        ALLOW,
    ]);
    code.extend([
        unless_equal(number(libc::SYS_setrlimit), 4),
        statement(LOAD, arg_low(0)),
        unless_equal(libc::RLIMIT_MEMLOCK, 1),
        SUCCEED,
        ALLOW,
    ]);
    // prlimit64(pid, resource, new, old): only pure setting is answered here, so that a
    // caller that asks for the old limit gets the real one.
    code.extend([
        unless_equal(number(libc::SYS_prlimit64), 12),
        statement(LOAD, arg_low(1)),
        unless_equal(libc::RLIMIT_MEMLOCK, 9),
        statement(LOAD, arg_low(3)),
        unless_equal(0, 7),
        statement(LOAD, arg_high(3)),
        unless_equal(0, 5),
        statement(LOAD, arg_low(2)),
        unless_equal(0, 2),
        statement(LOAD, arg_high(2)),
        sock_filter {
            code: JUMP_EQ,
            jt: 1,
            jf: 0,
            k: 0,
        },
        SUCCEED,
        ALLOW,
    ]);
    code.push(ALLOW);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs classic BPF over the words of `struct seccomp_data`.
    fn run(data: &[u32; 16]) -> u32 {
        let code = program();
        let (mut at, mut acc) = (0, 0u32);
        loop {
            let insn = code[at];
            at += 1;
            let taken = match insn.code {
                LOAD => {
                    acc = data[insn.k as usize / 4];
                    continue;
                }
                AND => {
                    acc &= insn.k;
                    continue;
                }
                RETURN => return insn.k,
                JUMP_EQ => acc == insn.k,
                JUMP_GE => acc >= insn.k,
                other => panic!("unexpected instruction {other:#x}"),
            };
            at += usize::from(if taken { insn.jt } else { insn.jf });
        }
    }

    fn call(arch: u32, nr: i64, args: [u64; 6]) -> u32 {
        let mut data = [0; 16];
        data[0] = nr as u32;
        data[1] = arch;
        for (index, arg) in args.iter().enumerate() {
            data[4 + 2 * index] = *arg as u32;
            data[5 + 2 * index] = (*arg >> 32) as u32;
        }
        run(&data)
    }

    fn native(nr: i64, args: [u64; 6]) -> u32 {
        call(ARCH_X86_64, nr, args)
    }

    #[test]
    fn every_number_gets_one_of_the_known_verdicts() {
        for nr in 0..1024 {
            let verdict = native(nr, [0; 6]);
            let expected = if HANDED_OVER.contains(&nr) {
                libc::SECCOMP_RET_USER_NOTIF
            } else if nr == libc::SYS_geteuid {
                libc::SECCOMP_RET_ERRNO
            } else {
                libc::SECCOMP_RET_ALLOW
            };
            assert_eq!(verdict, expected, "system call {nr}");
        }
    }

    #[test]
    fn foreign_interfaces_are_refused() {
        assert_eq!(
            call(0x4000_0003, 321, [0; 6]),
            libc::SECCOMP_RET_KILL_PROCESS
        );
        let x32 = native(i64::from(X32_BIT) | libc::SYS_bpf, [0; 6]);
        assert_eq!(x32, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    }

    #[test]
    fn only_perf_ioctls_go_to_the_broker() {
        for command in [0x2400, 0x2401, 0x4004_2408] {
            let verdict = native(libc::SYS_ioctl, [3, command, 0, 0, 0, 0]);
            assert_eq!(verdict, libc::SECCOMP_RET_USER_NOTIF);
        }
        for command in [0x5401, 0x2500, 0x0024] {
            let verdict = native(libc::SYS_ioctl, [3, command, 0, 0, 0, 0]);
            assert_eq!(verdict, libc::SECCOMP_RET_ALLOW);
        }
    }

    #[test]
    fn only_setting_the_memlock_limit_succeeds_on_the_spot() {
        const MEMLOCK: u64 = libc::RLIMIT_MEMLOCK as u64;
        let ask = |resource, new, old| native(libc::SYS_prlimit64, [0, resource, new, old, 0, 0]);
        assert_eq!(ask(MEMLOCK, 0x1000, 0), libc::SECCOMP_RET_ERRNO);
        assert_eq!(ask(MEMLOCK, 0x1_0000_0000, 0), libc::SECCOMP_RET_ERRNO);
        assert_eq!(ask(MEMLOCK, 0, 0x1000), libc::SECCOMP_RET_ALLOW);
        assert_eq!(ask(MEMLOCK, 0x1000, 0x1_0000_0000), libc::SECCOMP_RET_ALLOW);
        assert_eq!(ask(MEMLOCK, 0x1000, 0x1000), libc::SECCOMP_RET_ALLOW);
        assert_eq!(ask(7, 0x1000, 0), libc::SECCOMP_RET_ALLOW);
        let set = |resource| native(libc::SYS_setrlimit, [resource, 0x1000, 0, 0, 0, 0]);
        assert_eq!(set(MEMLOCK), libc::SECCOMP_RET_ERRNO);
        assert_eq!(set(7), libc::SECCOMP_RET_ALLOW);
    }
}

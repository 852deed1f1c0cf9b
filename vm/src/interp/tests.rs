//! Arithmetic against a model over wide integers.

use bpftime_isa::{AluOp, ByteOrderOp, Cond, Size, Width};

use super::{alu, byte_order, compare, negate, sign_extend};

const VALUES: [u64; 12] = [
    0,
    1,
    5,
    63,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0001,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_8000_0000,
    u64::MAX,
];

/// Bits of a width and its modulus.
fn bits(width: Width) -> (u32, i128) {
    match width {
        Width::W32 => (32, 1 << 32),
        Width::W64 => (64, 1 << 64),
    }
}

/// The number that `value` is in a width: unsigned, and in two's complement.
fn numbers(width: Width, value: u64) -> (i128, i128) {
    let modulus = bits(width).1;
    let unsigned = i128::from(value).rem_euclid(modulus);
    let signed = if unsigned >= modulus / 2 {
        unsigned - modulus
    } else {
        unsigned
    };
    (unsigned, signed)
}

#[test]
fn arithmetic_is_that_of_the_integers_modulo_the_width() {
    for width in [Width::W32, Width::W64] {
        let (bits, modulus) = bits(width);
        for a in VALUES {
            for b in VALUES {
                let ((ua, sa), (ub, sb)) = (numbers(width, a), numbers(width, b));
                let power = 1i128 << (ub % i128::from(bits));
                for (op, exact) in [
                    (AluOp::Add, ua + ub),
                    (AluOp::Sub, ua - ub),
                    // The factors are reduced to keep the product within 127 bits.
                    (AluOp::Mul, sa * sb),
                    (AluOp::Div, if ub == 0 { 0 } else { ua / ub }),
                    (AluOp::Mod, if ub == 0 { ua } else { ua % ub }),
                    (AluOp::Sdiv, if sb == 0 { 0 } else { sa / sb }),
                    (AluOp::Smod, if sb == 0 { sa } else { sa % sb }),
                    (AluOp::Lsh, (ua as u128).wrapping_mul(power as u128) as i128),
                    (AluOp::Rsh, ua / power),
                    (AluOp::Arsh, sa.div_euclid(power)),
                    (AluOp::Mov, ub),
                ] {
                    let expected = exact.rem_euclid(modulus) as u64;
                    assert_eq!(
                        alu(op, width, a, b),
                        expected,
                        "{a:#x} {op:?} {b:#x} {width:?}"
                    );
                }
                assert_eq!(negate(width, a), (-ua).rem_euclid(modulus) as u64);
                for (cond, expected) in [
                    (Cond::Eq, ua == ub),
                    (Cond::Ne, ua != ub),
                    (Cond::Gt, ua > ub),
                    (Cond::Ge, ua >= ub),
                    (Cond::Lt, ua < ub),
                    (Cond::Le, ua <= ub),
                    (Cond::Set, ua & ub != 0),
                    (Cond::Sgt, sa > sb),
                    (Cond::Sge, sa >= sb),
                    (Cond::Slt, sa < sb),
                    (Cond::Sle, sa <= sb),
                ] {
                    let got = compare(cond, width, a, b);
                    assert_eq!(got, expected, "{a:#x} {cond:?} {b:#x} in {width:?}");
                }
            }
        }
    }
}

#[test]
fn bitwise_operations_are_done_bit_by_bit() {
    for a in VALUES {
        for b in VALUES {
            for (op, table) in [
                (AluOp::And, [0, 0, 0, 1]),
                (AluOp::Or, [0, 1, 1, 1]),
                (AluOp::Xor, [0, 1, 1, 0]),
            ] {
                let mut expected = 0u64;
                for bit in 0..64 {
                    let (x, y) = (a >> bit & 1, b >> bit & 1);
                    expected |= table[(2 * x + y) as usize] << bit;
                }
                assert_eq!(alu(op, Width::W64, a, b), expected);
                assert_eq!(alu(op, Width::W32, a, b), expected & 0xffff_ffff);
            }
        }
    }
}

#[test]
fn byte_order_and_sign_extension_work_on_bytes() {
    for value in VALUES {
        for size in [Size::B, Size::H, Size::W, Size::DW] {
            let len = size.bytes() as usize;
            let low = &value.to_le_bytes()[..len];
            let mut wide = [if low[len - 1] >= 0x80 { 0xff } else { 0 }; 8];
            wide[..len].copy_from_slice(low);
            assert_eq!(sign_extend(size, value), u64::from_le_bytes(wide));
            let mut same = [0; 8];
            same[..len].copy_from_slice(low);
            let mut swapped = same;
            swapped[..len].reverse();
            assert_eq!(
                byte_order(ByteOrderOp::ToLe, size, value),
                u64::from_le_bytes(same)
            );
            for op in [ByteOrderOp::ToBe, ByteOrderOp::Swap] {
                assert_eq!(byte_order(op, size, value), u64::from_le_bytes(swapped));
            }
        }
    }
}

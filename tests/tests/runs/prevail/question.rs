//! What a case knows after its code, asked as a program asks.

use super::case::{Fact, Of, Place};

/// Lines that go to `bad` where the fact does not hold; `None`: it cannot be asked for.
pub(super) fn ask(fact: &Fact, post: &[Fact]) -> Option<String> {
    let register = |of: &Of| match of {
        (Place::Reg(number), kind) if *number < 10 && is_value(kind) => Some(*number),
        _ => None,
    };
    let is_number = |number: u8| {
        post.iter().any(|fact| match fact {
            Fact::Type(Place::Reg(place), kinds) => *place == number && kinds == &["number"],
            _ => false,
        })
    };
    match fact {
        Fact::Bottom => Some("goto bad\n".to_owned()),
        Fact::Type(Place::Reg(number), kinds) if *number < 10 => match &kinds[..] {
            // Only numbers may be negated.
            [kind] if kind == "number" => Some(format!("r{number} = -r{number}\n")),
            _ => None,
        },
        Fact::Range(of, least, most) => {
            let number = register(of).filter(|number| is_number(*number))?;
            let free = if number == 9 { 8 } else { 9 };
            let (less, more) = if of.1 == "svalue" {
                ("s<", "s>")
            } else {
                ("<", ">")
            };
            let mut text = String::new();
            for (end, sign) in [(least, less), (most, more)] {
                if let Some(end) = end {
                    text.push_str(&format!("r{free} = {:#x} ll\n", *end as u64));
                    text.push_str(&format!("if r{number} {sign} r{free} goto bad\n"));
                }
            }
            Some(text)
        }
        Fact::Sum(a, b, more) => {
            let (a, b) = (register(a)?, register(b)?);
            if a == b || !is_number(a) || !is_number(b) {
                return None;
            }
            if *more == 0 {
                return Some(format!("if r{a} != r{b} goto bad\n"));
            }
            let free = (0..10).find(|free| *free != a && *free != b)?;
            Some(format!(
                "r{free} = {:#x} ll\nr{free} += r{b}\nif r{a} != r{free} goto bad\n",
                *more as u64
            ))
        }
        Fact::Difference(x, y, most) => {
            let (a, b) = (register(x)?, register(y)?);
            if a == b || x.1 != y.1 || !is_number(a) || !is_number(b) {
                return None;
            }
            let signed = if x.1 == "svalue" { "s" } else { "" };
            Some(match most {
                -1 => format!("if r{a} {signed}>= r{b} goto bad\n"),
                0 => format!("if r{a} {signed}> r{b} goto bad\n"),
                _ => {
                    let free = (0..10).find(|free| *free != a && *free != b)?;
                    format!(
                        "r{a} -= r{b}\nr{free} = {:#x} ll\nif r{a} s> r{free} goto bad\n",
                        *most as u64
                    )
                }
            })
        }
        _ => None,
    }
}

fn is_value(kind: &str) -> bool {
    kind == "svalue" || kind == "uvalue"
}

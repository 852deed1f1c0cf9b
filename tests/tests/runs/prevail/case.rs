//! PREVAIL's cases as they are written: what is known before, code, what is known after.

use std::path::Path;

use saphyr::{LoadableYamlNode, Yaml};

/// A case.
pub(super) struct Case {
    pub(super) file: String,
    pub(super) name: String,
    pub(super) options: Vec<String>,
    pub(super) pre: Vec<Fact>,
    /// Blocks in order: label, lines.
    pub(super) code: Vec<(String, Vec<String>)>,
    pub(super) post: Vec<Fact>,
    pub(super) messages: Vec<String>,
}

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    Reg(u8),
    /// Bytes of the stack, both ends included, counted from its lowest.
    Stack(i64, i64),
}

/// Something that is known of a value: `svalue`, `ctx_offset` and so on.
pub(super) type Of = (Place, String);

/// What is known.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Fact {
    /// Nothing is possible.
    Bottom,
    Type(Place, Vec<String>),
    SameType(Place, Place),
    /// Both ends included; `None`: without end.
    Range(Of, Option<i128>, Option<i128>),
    /// The first is the second plus a number.
    Sum(Of, Of, i128),
    /// The first less the second is at most a number.
    Difference(Of, Of, i128),
    PacketSize(Option<i128>, Option<i128>),
    /// The packet ends there.
    PacketEnd(Of),
    MetaOffset,
    /// Not one of these.
    Other(String),
}

/// Reads all cases of a file.
pub(super) fn read(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).expect("a file of cases");
    // A bracket at the start of a line is no YAML, though some parsers take it.
    let text = text.replace("\n]", "\n ]");
    let documents = Yaml::load_from_str(&text).expect("YAML");
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    documents
        .iter()
        .filter_map(|document| case(&file, document))
        .collect()
}

fn texts(node: Option<&Yaml<'_>>) -> Vec<String> {
    let items = node.and_then(Yaml::as_vec).into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn case(file: &str, node: &Yaml<'_>) -> Option<Case> {
    let name = node.as_mapping_get("test-case")?.as_str()?.to_owned();
    let blocks = node.as_mapping_get("code")?.as_mapping()?;
    let facts = |key| {
        let texts = texts(node.as_mapping_get(key));
        texts.iter().map(|text| fact(text)).collect()
    };
    Some(Case {
        file: file.to_owned(),
        name,
        options: texts(node.as_mapping_get("options")),
        pre: facts("pre"),
        code: blocks
            .iter()
            .filter_map(|(label, lines)| {
                let label = label.as_str()?.trim_matches(['<', '>']).to_owned();
                let lines = lines.as_str().unwrap_or_default();
                let code = lines
                    .lines()
                    .map(|line| line.split(';').next().unwrap_or_default().trim().to_owned())
                    .filter(|line| !line.is_empty());
                Some((label, code.collect()))
            })
            .collect(),
        post: facts("post"),
        messages: texts(node.as_mapping_get("messages")),
    })
}

fn fact(text: &str) -> Fact {
    let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let other = || Fact::Other(text.to_owned());
    if plain == "_|_" {
        return Fact::Bottom;
    }
    if let Some((left, right)) = plain.split_once("<=") {
        let Some((a, b)) = left.split_once('-') else {
            return other();
        };
        return match (of(a), of(b), number(right)) {
            (Some(a), Some(b), Some(most)) => Fact::Difference(a, b, most),
            _ => other(),
        };
    }
    if let Some((left, right)) = plain.split_once("in{") {
        let kinds = right.trim_end_matches('}').split(',').map(str::to_owned);
        return match of(left) {
            Some((place, kind)) if kind == "type" => Fact::Type(place, kinds.collect()),
            _ => other(),
        };
    }
    let Some((left, right)) = plain.split_once('=') else {
        return other();
    };
    if left == "meta_offset" {
        return Fact::MetaOffset;
    }
    if left == "packet_size" {
        return range(right).map_or_else(other, |(least, most)| Fact::PacketSize(least, most));
    }
    let Some(a) = of(left) else { return other() };
    if a.1 == "type" {
        return match of(right) {
            Some((place, kind)) if kind == "type" => Fact::SameType(a.0, place),
            Some(_) => other(),
            None => Fact::Type(a.0, vec![right.to_owned()]),
        };
    }
    if right == "packet_size" {
        return Fact::PacketEnd(a);
    }
    if let Some((least, most)) = range(right) {
        return Fact::Range(a, least, most);
    }
    let (b, more) = match right.split_once('+') {
        Some((b, more)) => (b, number(more)),
        None => (right, Some(0)),
    };
    match (of(b), more) {
        (Some(b), Some(more)) => Fact::Sum(a, b, more),
        _ => other(),
    }
}

/// `r1.svalue`, `s[504...511].type`, `s[504].uvalue`.
fn of(text: &str) -> Option<Of> {
    let (place, kind) = text.rsplit_once('.')?;
    let place = match place.strip_prefix("s[") {
        Some(bytes) => {
            let bytes = bytes.strip_suffix(']')?;
            let (first, last) = bytes.split_once("...").unwrap_or((bytes, bytes));
            Place::Stack(first.parse().ok()?, last.parse().ok()?)
        }
        None => Place::Reg(place.strip_prefix('r')?.parse().ok()?),
    };
    kind.chars()
        .all(|c| c.is_ascii_lowercase() || c == '_')
        .then(|| (place, kind.to_owned()))
}

/// A number or `[least, most]`.
fn range(text: &str) -> Option<(Option<i128>, Option<i128>)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (least, most) = inner.strip_suffix(']')?.split_once(',')?;
        let end = |text: &str| match text {
            "-oo" | "+oo" => Some(None),
            text => number(text).map(Some),
        };
        return Some((end(least)?, end(most)?));
    }
    let only = number(text)?;
    Some((Some(only), Some(only)))
}

/// A number, also `INT_MIN+1` and the like.
fn number(text: &str) -> Option<i128> {
    let (word, more) = match text.split_once('+') {
        Some((word, more)) => (word, more.parse().ok()?),
        None => (text, 0),
    };
    let base = match word {
        "INT_MIN" => i64::MIN.into(),
        "INT_MAX" => i64::MAX.into(),
        word => match word.strip_prefix("0x") {
            Some(hex) => i128::from_str_radix(hex, 16).ok()?,
            None => word.parse().ok()?,
        },
    };
    Some(base + more)
}

//! Seeded mutations of bytes, JSON, JSON Lines, TOML and safetensors.
//!
//! A case's mutation depends on its seed, its target's name and its number alone, so that it can be repeated alone.

use serde_json::Value;

/// A stream of random numbers (`SplitMix64`).
pub struct Random(u64);

impl Random {
    /// The stream of case `number` of a target.
    pub fn new(target: &str, number: usize) -> Self {
        let text = target
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut random = Self(text ^ seed().rotate_left(32) ^ (number as u64).rotate_left(17));
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A number from 0 to below 1.
    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

fn seed() -> u64 {
    std::env::var("MMPRM_HOSTILE_SEED").map_or(15, |text| text.parse().expect("MMPRM_HOSTILE_SEED is a number"))
}

/// The number of cases where `usual` are run by default.
pub fn cases(usual: usize) -> usize {
    let factor = std::env::var("MMPRM_HOSTILE").map_or(1.0, |text| text.parse().expect("MMPRM_HOSTILE is a number"));
    ((usual as f64 * factor).ceil() as usize).max(1)
}

/// Whether the case of this name is to be run.
pub fn is_wanted(case: &str) -> bool {
    std::env::var("MMPRM_HOSTILE_CASE").map_or(true, |wanted| case.contains(&wanted))
}

/// A mutation of a file, and what it is.
pub struct Mutation {
    pub bytes: Vec<u8>,
    pub what: String,
}

/// What is inserted into bytes: ends of texts, brackets, invalid UTF-8.
const PIECES: [&[u8]; 8] = [b"\0", b"\n", b"\"", b"{", b"]", b"\xff\xfe", b"\xed\xa0\x80", b"9999999999"];

/// Changes bytes: flips, overwrites, inserts, removes, repeats, or cuts off.
pub fn bytes(whole: &[u8], random: &mut Random) -> Mutation {
    let mut bytes = whole.to_vec();
    let mut what = Vec::new();
    for _ in 0..=random.below(4) {
        // Headers are where it hurts: half of the changes are in the first 512 bytes.
        let reach = if random.below(2) == 0 { bytes.len().min(512) } else { bytes.len() };
        let at = random.below(reach);
        let length = (1 + random.below(16)).min(bytes.len() - at);
        what.push(match random.below(7) {
            0 if at < bytes.len() => {
                bytes[at] ^= 1 << random.below(8);
                format!("bit flipped at {at}")
            }
            1 => {
                bytes[at..at + length].fill_with(|| random.next() as u8);
                format!("{length} random bytes at {at}")
            }
            2 => {
                let number = *random.of(&[0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, u64::MAX, u64::MAX >> 1]);
                let number = if random.below(2) == 0 { number.to_le_bytes() } else { number.to_be_bytes() };
                let (width, start) = (*random.of(&[1, 2, 4, 8]), random.below(2) * 4);
                let width = width.min(bytes.len() - at).min(8 - start);
                bytes[at..at + width].copy_from_slice(&number[start..start + width]);
                format!("number of {width} bytes at {at}")
            }
            3 => {
                bytes.drain(at..at + length);
                format!("{length} bytes removed at {at}")
            }
            4 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
                format!("{length} bytes repeated at {at}")
            }
            5 => {
                let piece = *random.of(&PIECES);
                bytes.splice(at..at, piece.iter().copied());
                format!("{piece:?} inserted at {at}")
            }
            _ => {
                bytes.truncate(at);
                format!("cut off at {at}")
            }
        });
        if bytes.is_empty() {
            break;
        }
    }
    Mutation { bytes, what: what.join(", ") }
}

/// What a value is replaced by, as JSON or nearly so. `%` is the value itself.
const VALUES: [&str; 35] = [
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1",
    "2",
    "3",
    "0.5",
    "-0.0",
    "1e-300",
    "1e308",
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "255",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "\"\"",
    "\"x\"",
    "\"../../../etc/passwd\"",
    "\"/dev/zero\"",
    "\"\\u0000\\u001b[2J\\n\\u202e\"",
    "[]",
    "{}",
    "[%]",
    "{\"a\": %}",
    "[%, %, %]",
];

/// Replaces a value by another, removes it, repeats its key, or nests it.
fn other(value: &str, key: Option<&str>, random: &mut Random) -> (String, String) {
    match random.below(VALUES.len() + 3) {
        0 => {
            let depth = *random.of(&[200, 5_000, 200_000]);
            ("[".repeat(depth) + value + &"]".repeat(depth), format!("nested {depth} times"))
        }
        1 => {
            let length = *random.of(&[1_000, 100_000, 2_000_000]);
            (format!("\"{}\"", "x<prm>".repeat(length / 6)), format!("a text of {length} characters"))
        }
        2 => match key {
            Some(key) => {
                (format!("{value}, {key}: {}", random.of(&VALUES).replace('%', "1")), "a repeated key".to_owned())
            }
            None => (format!("[{}]", vec![value; 2_000].join(",")), "repeated 2000 times".to_owned()),
        },
        number => {
            let text = VALUES[number - 3];
            (text.replace('%', value), text.to_owned())
        }
    }
}

/// The place of a value in JSON, from the outside in.
type Path = Vec<Step>;

#[derive(Clone)]
enum Step {
    Key(String),
    Index(usize),
}

/// Elements of a list beyond this are not places of their own: they are like those before.
const SEEN: usize = 6;

fn places(value: &Value, at: &mut Path, found: &mut Vec<Path>) {
    found.push(at.clone());
    let children: Vec<(Step, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(key, value)| (Step::Key(key.clone()), value)).collect(),
        Value::Array(array) => array.iter().take(SEEN).enumerate().map(|(i, value)| (Step::Index(i), value)).collect(),
        _ => Vec::new(),
    };
    for (step, child) in children {
        at.push(step);
        places(child, at, found);
        at.pop();
    }
}

fn place<'a>(value: &'a mut Value, path: &[Step]) -> &'a mut Value {
    path.iter().fold(value, |value, step| match step {
        Step::Key(key) => &mut value[key.as_str()],
        Step::Index(index) => &mut value[*index],
    })
}

/// Stands in the text where the mutated value goes.
const MARK: &str = "@hostile@";

/// Changes one value of a JSON document, or now and then two, or its text.
pub fn json(whole: &Value, random: &mut Random) -> Mutation {
    if random.below(10) == 0 {
        return bytes(&serde_json::to_vec_pretty(whole).unwrap(), random);
    }
    let mut value = whole.clone();
    let mut what = Vec::new();
    let mut inserted = Vec::new();
    for _ in 0..=usize::from(random.below(5) == 0) {
        let mut found = Vec::new();
        places(&value, &mut Vec::new(), &mut found);
        let path = random.of(&found).clone();
        let name = name(&path);
        let Some((last, parent)) = path.split_last().filter(|_| random.below(12) == 0) else {
            let target = place(&mut value, &path);
            let key = path.last().and_then(|step| match step {
                Step::Key(key) => Some(serde_json::to_string(key).unwrap()),
                Step::Index(_) => None,
            });
            let (text, change) = other(&target.to_string(), key.as_deref(), random);
            let mark = format!("{MARK}{}", inserted.len());
            *target = mark.clone().into();
            inserted.push((mark, text));
            what.push(format!("{name}: {change}"));
            continue;
        };
        match (place(&mut value, parent), last) {
            (Value::Object(object), Step::Key(key)) => drop(object.shift_remove(key)),
            (Value::Array(array), Step::Index(index)) => drop(array.remove(*index)),
            _ => unreachable!("the path was found in the value"),
        }
        what.push(format!("{name}: removed"));
    }
    let mut text = value.to_string();
    // A later change may be inside an earlier one.
    for (mark, replacement) in inserted.iter().rev() {
        text = text.replacen(&format!("\"{mark}\""), replacement, 1);
    }
    Mutation { bytes: text.into_bytes(), what: what.join(", ") }
}

fn name(path: &[Step]) -> String {
    path.iter().fold(String::from("$"), |name, step| match step {
        Step::Key(key) => format!("{name}.{key}"),
        Step::Index(index) => format!("{name}[{index}]"),
    })
}

/// Changes one line of a JSON Lines file: its JSON, its bytes, or its place.
pub fn json_lines(whole: &[u8], random: &mut Random) -> Mutation {
    let mut lines: Vec<Vec<u8>> = whole.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let at = random.below(lines.len());
    let what = match random.below(8) {
        0 => {
            lines.remove(at);
            "removed".to_owned()
        }
        1 => {
            let line = lines[at].clone();
            lines.insert(at, line);
            "repeated".to_owned()
        }
        2 => {
            let other = random.below(lines.len());
            lines.swap(at, other);
            format!("exchanged with {other}")
        }
        3 => return bytes(whole, random),
        _ => match serde_json::from_slice(&lines[at]) {
            Ok(value) => {
                let mutation = json(&value, random);
                lines[at] = mutation.bytes;
                lines[at].push(b'\n');
                mutation.what
            }
            Err(_) => return bytes(whole, random),
        },
    };
    Mutation { bytes: lines.concat(), what: format!("line {at}: {what}") }
}

/// Changes the value of one `key = value` line of a TOML file, or its text.
pub fn toml(whole: &str, random: &mut Random) -> Mutation {
    if random.below(6) == 0 {
        return bytes(whole.as_bytes(), random);
    }
    let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
    let at = random.below(lines.len());
    let (key, value) = lines[at].split_once(" = ").unwrap_or((&lines[at], "1"));
    let (text, change) = match random.below(8) {
        0 => (
            random.of(&["nan", "-inf", "1979-05-27T07:32:00Z", "0x7fffffffffffffff"]).to_string(),
            "of TOML".to_owned(),
        ),
        _ => other(value, None, random),
    };
    let what = format!("{key}: {change}");
    lines[at] =
        if random.below(12) == 0 { format!("{key} = {value}\n{key} = {value}") } else { format!("{key} = {text}") };
    Mutation { bytes: (lines.join("\n") + "\n").into_bytes(), what }
}

/// Changes the header of a safetensors file as JSON, or its bytes.
pub fn safetensors(whole: &[u8], random: &mut Random) -> Mutation {
    if random.below(4) == 0 {
        return bytes(whole, random);
    }
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&whole[8..8 + length]).unwrap();
    let mutation = if random.below(4) == 0 { dtype(header, random) } else { json(&header, random) };
    let bytes =
        [&(mutation.bytes.len() as u64).to_le_bytes(), mutation.bytes.as_slice(), &whole[8 + length..]].concat();
    Mutation { bytes, what: mutation.what }
}

/// Gives a tensor another type, which has another size.
fn dtype(mut header: Value, random: &mut Random) -> Mutation {
    let names: Vec<String> = header.as_object().unwrap().keys().filter(|key| *key != "__metadata__").cloned().collect();
    let name = random.of(&names);
    let dtype = *random.of(&["F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL", "F8_E4M3", "F9"]);
    header[name]["dtype"] = dtype.into();
    Mutation { bytes: header.to_string().into_bytes(), what: format!("{name} as {dtype}") }
}

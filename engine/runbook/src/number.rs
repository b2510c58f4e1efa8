//! Numbers of RON.

use crate::codes;
use crate::problem::Problem;
use crate::scan::{Scanner, is_name_part};
use crate::tree::Kind;

/// Endings that name a width, with the values it holds.
const WIDTHS: [(&str, i128, i128); 8] = [
    ("i8", i8::MIN as i128, i8::MAX as i128),
    ("i16", i16::MIN as i128, i16::MAX as i128),
    ("i32", i32::MIN as i128, i32::MAX as i128),
    ("i64", i64::MIN as i128, i64::MAX as i128),
    ("u8", 0, u8::MAX as i128),
    ("u16", 0, u16::MAX as i128),
    ("u32", 0, u32::MAX as i128),
    ("u64", 0, u64::MAX as i128),
];

impl<'a> Scanner<'a> {
    /// A number, where one begins here.
    pub(crate) fn number(&mut self) -> Option<Kind<'a>> {
        let first = self.peek_byte()?;
        if !first.is_ascii_digit() && !matches!(first, b'+' | b'-' | b'.') {
            return None;
        }
        let start = self.at;
        let rest = self.rest();
        let length = literal_length(rest);
        let literal = rest.get(..length).unwrap_or("");
        self.at += length;
        if literal.contains("..") {
            return Some(self.bad_number(
                start,
                codes::NOT_USED,
                "ranges are not used in runbooks",
            ));
        }
        let bare = literal.trim_start_matches(['+', '-']);
        if ["inf", "inff32", "inff64", "NaN", "NaNf32", "NaNf64"].contains(&bare) {
            return Some(self.bad_number(
                start,
                codes::NOT_USED,
                "not a number that can be stored",
            ));
        }
        let number = integer(literal).or_else(|| float(literal)).filter(is_finite);
        Some(number.unwrap_or_else(|| self.bad_number(start, codes::NUMBER, "not a number")))
    }

    fn bad_number(&mut self, start: usize, code: &'static str, message: &str) -> Kind<'a> {
        let problem = Problem::new(code, message).at(start..self.at, "here").advise(
            "numbers are such as 12, -3, 0.5, 1e3, 1_000, 0xff; durations and versions are texts: \
             \"90s\", \"2.4.1\"",
        );
        self.report(problem);
        Kind::Bad
    }
}

fn is_finite(kind: &Kind<'_>) -> bool {
    !matches!(kind, Kind::Float(float) if !float.is_finite())
}

/// Bytes that belong to the number: letters too, so that `90s` is one wrong number.
fn literal_length(rest: &str) -> usize {
    let mut before = ' ';
    let radix = rest.trim_start_matches(['+', '-']).get(..2);
    let is_radix = matches!(radix, Some("0x" | "0b" | "0o"));
    rest.char_indices()
        .find(|(at, char)| {
            let sign = matches!(char, '+' | '-')
                && (*at == 0 || (matches!(before, 'e' | 'E') && !is_radix));
            before = *char;
            !(sign || *char == '.' || is_name_part(*char))
        })
        .map_or(rest.len(), |(at, _)| at)
}

fn integer<'a>(literal: &str) -> Option<Kind<'a>> {
    let (negative, digits) = match literal.as_bytes().first()? {
        b'-' => (true, literal.get(1..)?),
        b'+' => (false, literal.get(1..)?),
        _ => (false, literal),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, digits.get(2..)?),
        Some("0b") => (2, digits.get(2..)?),
        Some("0o") => (8, digits.get(2..)?),
        _ => (10, digits),
    };
    let (digits, least, most) = WIDTHS
        .iter()
        .find_map(|(width, least, most)| Some((digits.strip_suffix(width)?, *least, *most)))
        .unwrap_or((digits, i128::from(i64::MIN), i128::from(u64::MAX)));
    if digits.starts_with('_') || !digits.chars().all(|c| c == '_' || c.is_digit(radix)) {
        return None;
    }
    let whole = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    let whole = if negative { -whole } else { whole };
    (least..=most).contains(&whole).then_some(Kind::Integer(whole))
}

fn float<'a>(literal: &str) -> Option<Kind<'a>> {
    let suffix = ["f32", "f64"].into_iter().find(|suffix| literal.ends_with(suffix));
    let bare = suffix.map_or(Some(literal), |suffix| literal.strip_suffix(suffix))?;
    let mut digits = String::with_capacity(bare.len());
    let mut underscore = false;
    for char in bare.chars() {
        match char {
            '_' if underscore => continue,
            '0'..='9' | 'e' | 'E' => underscore = true,
            '.' => underscore = false,
            '+' | '-' => {}
            _ => return None,
        }
        digits.push(char);
    }
    if suffix == Some("f32") {
        return digits.parse::<f32>().ok().map(|float| Kind::Float(f64::from(float)));
    }
    digits.parse::<f64>().ok().map(Kind::Float)
}

//! Which variation of a flag is wanted.

use crate::tree::{Entry, Node};

/// Variations that mean off by their name, the most telling first.
const OFF_NAMES: [&str; 3] = ["off", "disabled", "false"];

/// The variation of this name in the flag's map `field`, as the flag writes it; absent is its off
/// variation.
///
/// # Errors
/// There is none, or none that is plainly off, and what there is.
pub(crate) fn choose<'a>(
    flag: &'a Node,
    field: &str,
    wanted: Option<&str>,
) -> Result<&'a Entry, String> {
    let variations = flag.get(field).map_or(&[][..], |entry| entry.value.entries());
    let exact = |name: &str| variations.iter().find(|entry| entry.name() == name);
    let loose =
        |name: &str| variations.iter().find(|entry| entry.name().eq_ignore_ascii_case(name));
    let found = match wanted {
        Some(name) => exact(name),
        None => OFF_NAMES.into_iter().find_map(loose),
    };
    found.ok_or_else(|| not_found(variations, wanted))
}

fn not_found(variations: &[Entry], wanted: Option<&str>) -> String {
    let names: Vec<_> = variations.iter().map(Entry::name).collect();
    let names = names.join(", ");
    let off = variations.iter().filter(|entry| entry.value.is_plain_text("false"));
    let off: Vec<_> = off.map(Entry::name).collect();
    match wanted {
        Some(name) => no_such(name, &names),
        None if off.is_empty() => {
            format!("none of its variations is named off; say `off_variation`: one of {names}")
        }
        None => format!(
            "none of its variations is named off; say `off_variation`: of {names}, `{}` is false",
            off.join("`, `")
        ),
    }
}

/// A variation that a flag does not have, and those that it has.
pub(crate) fn no_such(name: &str, names: &str) -> String {
    format!("it has no variation `{name}`; it has: {names}")
}

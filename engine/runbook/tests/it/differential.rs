//! Runbooks on which the `ron` crate must agree. The values themselves are compared in
//! `src/read/tests.rs`, where the tree can be seen.

use proptest::prelude::*;

use crate::actions::check;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        check(&text);
    }

    #[test]
    fn no_text_of_ron_panics(parts in prop::collection::vec(
        prop::sample::select(vec![
            "Runbook(", "format: 1", "name: \"a\"", ",", "steps: [", "(", ")", "]", "[", "{", "}",
            ":", "id: \"a\"", "action: \"noop.run\"", "\"", "'", "\\", "r#\"", "\"#", "/*", "*/",
            "//", "\n", "${", "${params.x}", "for_each: [1]", "with: ", "needs: [\"a\"]", "-", "1e",
            "0x", "Some(", "None", "b\"", "when: \"item\"", "\u{e9}", "#![", "enable(", "success: (",
            "checks: [", "..", "params: {\"x\": (type: list)}", "type: choice",
        ]), 0..40)
    ) {
        check(&parts.concat());
        check(&format!("Runbook(format: 1, name: \"a\", steps: [{}", parts.concat()));
    }
}

/// A right runbook cut or changed at any byte is refused, never a panic.
#[test]
fn damaged_runbooks_do_not_panic() {
    let text = "Runbook(format: 1, name: \"a\", params: {\"x\": (type: list, default: [\"k\"])}, \
        steps: [(id: \"a\", action: \"exec.run\", for_each: \"${params.x}\", with: (command: \
        [\"${item}\", r#\"b\"#])), (id: \"b\", when: \"has(steps.a.k.output.x)\", action: \"noop.run\")])";
    assert_eq!(check(text).problems, []);
    for at in 0..text.len() {
        assert!(check(&text[..at]).plan.is_none(), "cut at {at}");
        for junk in ["\"", "(", "]", "$", "\\", "\u{e9}", "}", "'", ",,"] {
            check(&format!("{}{junk}{}", &text[..at], &text[at..]));
            check(&format!("{}{junk}{}", &text[..at], &text[at + 1..]));
        }
    }
}

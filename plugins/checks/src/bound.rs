//! What a value is held against.

use backout_plugin_api::Checked;
use backout_plugin_api::words::problem;
use serde_json::Value;

/// What a value must be; all that is given must hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bound<'a> {
    pub(crate) at_most: Option<f64>,
    pub(crate) at_least: Option<f64>,
    /// A number, a text or a boolean.
    pub(crate) equals: Option<&'a Value>,
}

impl Bound<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.at_most.is_none() && self.at_least.is_none() && self.equals.is_none()
    }

    /// What is wrong with the bound itself.
    pub(crate) fn check(&self, checked: &mut Checked) {
        for (at, bound) in [("/at_most", self.at_most), ("/at_least", self.at_least)] {
            if bound.is_some_and(|bound| !bound.is_finite()) {
                problem(checked, at, "this is no finite number", "write a number");
            }
        }
        if let (Some(most), Some(least)) = (self.at_most, self.at_least)
            && most < least
        {
            problem(checked, "/at_most", "no value is both", "`at_most` is below `at_least`");
        }
        if self.equals.is_some_and(|value| value.is_object() || value.is_array() || value.is_null())
        {
            let help = "write a number, a text or a boolean";
            problem(checked, "/equals", "nothing can be compared with this", help);
        }
    }

    /// Why a number does not hold; `None` where it does.
    pub(crate) fn wrong_number(&self, name: &str, value: f64) -> Option<String> {
        if self.at_most.is_some_and(|most| value > most) {
            return Some(format!("{name} is {value}, which is above {}", shown(self.at_most)));
        }
        if self.at_least.is_some_and(|least| value < least) {
            return Some(format!("{name} is {value}, which is below {}", shown(self.at_least)));
        }
        let other = self.equals.filter(|equals| number(equals) != Some(value));
        other.map(|equals| format!("{name} is {value}, not {equals}"))
    }

    /// Why a text does not hold; a text that is a number is taken as one where a number is asked.
    pub(crate) fn wrong_text(&self, name: &str, text: &str) -> Option<String> {
        let is_text = |equals: &Value| equals.is_string() || equals.is_boolean();
        if let Some(equals) = self.equals.filter(|equals| is_text(equals)) {
            let wanted = equals.as_str().map_or_else(|| equals.to_string(), str::to_owned);
            if wanted != text {
                return Some(format!("{name} is `{text}`, not `{wanted}`"));
            }
            if self.at_most.is_none() && self.at_least.is_none() {
                return None;
            }
        }
        match text.trim().parse::<f64>() {
            Ok(value) if value.is_finite() => {
                let equals = self.equals.filter(|equals| !is_text(equals));
                Bound { equals, ..*self }.wrong_number(name, value)
            }
            _ => Some(format!("{name} is `{text}`, which is no number")),
        }
    }
}

fn shown(bound: Option<f64>) -> String {
    bound.map(|bound| bound.to_string()).unwrap_or_default()
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_held_against_all_that_is_given() {
        let equals = json!("5");
        for (bound, text, holds) in [
            (Bound { at_most: Some(5.0), ..Bound::default() }, "5", true),
            (Bound { at_most: Some(5.0), ..Bound::default() }, "5.01", false),
            (Bound { at_least: Some(5.0), ..Bound::default() }, "4.99", false),
            (Bound { equals: Some(&equals), ..Bound::default() }, "5", true),
            (Bound { equals: Some(&equals), ..Bound::default() }, "5.0", false),
            (Bound { equals: Some(&equals), at_most: Some(4.0), at_least: None }, "5", false),
            (Bound { at_most: Some(5.0), ..Bound::default() }, "many", false),
            (Bound { at_most: Some(5.0), ..Bound::default() }, "NaN", false),
            (Bound { at_least: Some(5.0), ..Bound::default() }, "inf", false),
        ] {
            assert_eq!(bound.wrong_text("it", text).is_none(), holds, "{bound:?} {text}");
        }
        let (yes, five) = (json!(true), json!(5));
        let yes = Bound { equals: Some(&yes), ..Bound::default() };
        assert_eq!(yes.wrong_text("it", "true"), None);
        assert!(yes.wrong_text("it", "false").is_some());
        let five = Bound { equals: Some(&five), ..Bound::default() };
        assert_eq!(five.wrong_text("it", "5.000"), None);
        assert!(five.wrong_number("it", 5.1).is_some());
    }

    proptest! {
        #[test]
        fn any_text_is_held_against_any_bound(
            text in ".{0,20}",
            at_most in proptest::option::of(any::<f64>()),
            at_least in proptest::option::of(any::<f64>()),
        ) {
            let bound = Bound { at_most, at_least, equals: None };
            let finite = text.trim().parse::<f64>().is_ok_and(f64::is_finite);
            // What is no number never holds.
            prop_assert!(finite || bound.wrong_text("it", &text).is_some());
        }
    }
}

//! go-feature-flag's files in TOML.

use backout_plugin_api::{Outcome, Satisfied};
use serde_json::{Value, json};

use super::{Folder, TOML, action, call, context, prepare};

async fn turned_off(text: &str, flag: &str) -> Result<String, String> {
    let folder = Folder::new("flags.toml", text);
    let input = json!({"file": folder.file(), "flag": flag});
    let off = action("flags.off");
    let prepared = prepare(&*off, &input).await.map_err(|why| why.reason().to_owned())?;
    let outcome = off.apply(&context(folder.dir.path()), &call(&input, prepared, 1)).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{text}: {outcome:?}");
    let again = prepare(&*off, &input).await.unwrap();
    assert_eq!(again.effects[0].satisfied, Satisfied::Yes, "{}", folder.text());
    Ok(folder.text())
}

#[tokio::test]
async fn every_other_byte_stays() {
    let (head, rest) = TOML.split_once("[new_checkout]\n").unwrap();
    let (_, tail) = rest.split_once("# last\n").unwrap();
    let wanted = "[new_checkout]
version = \"7\"

[new_checkout.variations]
on = true
off = false

# everybody else
[new_checkout.defaultRule]
variation = \"off\"

# last
";
    let off = turned_off(TOML, "new_checkout").await.unwrap();
    assert!(off.starts_with(head) && off.ends_with(tail), "{off}");
    let middle = off.strip_prefix(head).unwrap().strip_suffix(tail).unwrap();
    let said: Vec<_> = middle.lines().filter(|line| !line.is_empty()).collect();
    let wanted: Vec<_> = wanted
        .lines()
        .filter(|line| !line.is_empty())
        .flat_map(|line| match line {
            // What stood above a table that goes stays: it may be about more.
            "# everybody else" => vec!["# beta users first", line],
            line => vec![line],
        })
        .collect();
    assert_eq!(said, wanted);
}

#[tokio::test]
async fn each_way_to_write_a_default_rule() {
    let cases = [
        (
            "[f]\nvariations = {on = 1, off = 2}\ndefaultRule = {variation = \"on\"}\n",
            "{variation = \"off\"}",
        ),
        (
            "[f]\nvariations = {on = 1, off = 2}\ndefaultRule.variation = 'on' # c\n",
            "defaultRule.variation = \"off\" # c",
        ),
        (
            "[f]\nvariations = {on = 1, off = 2}\ndefaultRule.percentage.on = 3\ndefaultRule.percentage.off = 97\n",
            "defaultRule.variation = \"off\"",
        ),
        (
            "[f]\nvariations = {on = 1, off = 2}\ndefaultRule = { percentage = {on = 3, off = 97} }\n",
            "{ variation = \"off\" }",
        ),
        (
            "[f.variations]\non = 1\noff = 2\n[f.defaultRule]\nname = \"x\"\n[f.defaultRule.percentage]\non = 100\n",
            "[f.defaultRule]\nvariation = \"off\"\nname",
        ),
        (
            "[f.variations]\r\non = 1\r\noff = 2\r\n[f.defaultRule.progressiveRollout.initial]\r\nvariation = 'on'\r\n",
            "[f.defaultRule]\r\nvariation = \"off\"\r\n",
        ),
        (
            "f.variations = {on = 1, off = 2}\nf.defaultRule.variation = \"on\"\n",
            "f.defaultRule.variation = \"off\"",
        ),
        (
            "f = {variations = {on = 1, off = 2}, disable = true, defaultRule = {variation = \"on\"}}\n",
            "{variations = {on = 1, off = 2}, defaultRule = {variation = \"off\"}}",
        ),
    ];
    for (text, wanted) in cases {
        let off = turned_off(text, "f").await.unwrap_or_else(|why| panic!("{text}: {why}"));
        assert!(off.contains(wanted), "{text}\n->\n{off}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_truly_is_refused() {
    let cases = [
        ("f = 1\n", "no map"),
        ("[f]\na = \n", "TOML"),
        ("[f]\nvariations = {off = 1}\n", "no `defaultRule`"),
        (
            "[f.variations]\noff = 1\non = 2\n[g]\na = 1\n[f.defaultRule]\nvariation = \"on\"\n",
            "stand between",
        ),
    ];
    for (text, why) in cases {
        let reason = turned_off(text, "f").await.unwrap_err();
        assert!(reason.contains(why), "{text}: {reason}");
    }
    let folder = Folder::new("flags.toml", TOML);
    let mut input = folder.off();
    input["system"] = Value::from("flagd");
    let failure = prepare(&*action("flags.off"), &input).await.unwrap_err();
    assert!(failure.reason().contains("flagd does not read"), "{}", failure.reason());
}

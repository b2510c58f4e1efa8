//! The document of the API is as the routes are.

use std::path::Path;

use serde_json::Value;

use crate::world::{World, ok};

#[test]
fn the_document_is_the_one_that_is_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/openapi.json");
    let mut text = serde_json::to_string_pretty(&backout_server::openapi()).unwrap();
    text.push('\n');
    if std::env::var_os("BACKOUT_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let place = path.display();
    assert!(text == kept, "{place} is not up to date: BACKOUT_BLESS=1 writes it");
}

#[test]
fn every_reference_leads_somewhere() {
    let document = backout_server::openapi();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let world = World::new().await;
    let document = ok(world.get("/openapi.json")).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["paths"]["/api/v1/runs/{run}/ask"]["post"]["operationId"], "ask");
}

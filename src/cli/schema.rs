//! `muster schema`: the JSON Schema of each thing that `-o json` writes.
//!
//! They stand in files, written by hand: what a script relies on is a promise, not what the code happens to do.
//! Tests hold real output against them (`tests/e2e/contract.rs`), and them against what they once promised
//! (`tests/contract/fields.txt`): a field that was there stays, with its meaning.

use serde_json::json;

use super::{
    arguments::Schema,
    dispatch::Context,
    failure::{ExitCode, Explain as _, Failure},
};
use crate::{
    control::did_you_mean,
    terminal::{Column, Format, Kind, Sheet},
};

/// By name, in order.
const SCHEMAS: &[(&str, &str)] = &[
    ("audit", include_str!("schemas/audit.json")),
    ("audit-record", include_str!("schemas/audit-record.json")),
    ("config", include_str!("schemas/config.json")),
    ("context", include_str!("schemas/context.json")),
    ("demo", include_str!("schemas/demo.json")),
    ("demo-event", include_str!("schemas/demo-event.json")),
    ("doctor", include_str!("schemas/doctor.json")),
    ("fleet", include_str!("schemas/fleet.json")),
    ("group", include_str!("schemas/group.json")),
    ("group-change", include_str!("schemas/group-change.json")),
    ("host", include_str!("schemas/host.json")),
    ("host-change", include_str!("schemas/host-change.json")),
    ("inventory", include_str!("schemas/inventory.json")),
    ("inventory-compare", include_str!("schemas/inventory-compare.json")),
    ("inventory-count", include_str!("schemas/inventory-count.json")),
    ("inventory-count-change", include_str!("schemas/inventory-count-change.json")),
    ("inventory-host", include_str!("schemas/inventory-host.json")),
    ("inventory-host-change", include_str!("schemas/inventory-host-change.json")),
    ("inventory-row", include_str!("schemas/inventory-row.json")),
    ("inventory-table", include_str!("schemas/inventory-table.json")),
    ("inventory-type", include_str!("schemas/inventory-type.json")),
    ("inventory-type-change", include_str!("schemas/inventory-type-change.json")),
    ("job", include_str!("schemas/job.json")),
    ("job-change", include_str!("schemas/job-change.json")),
    ("job-event", include_str!("schemas/job-event.json")),
    ("job-host", include_str!("schemas/job-host.json")),
    ("joined", include_str!("schemas/joined.json")),
    ("key", include_str!("schemas/key.json")),
    ("key-export", include_str!("schemas/key-export.json")),
    ("operator", include_str!("schemas/operator.json")),
    ("operator-change", include_str!("schemas/operator-change.json")),
    ("operator-explain", include_str!("schemas/operator-explain.json")),
    ("operator-request", include_str!("schemas/operator-request.json")),
    ("ping", include_str!("schemas/ping.json")),
    ("plan", include_str!("schemas/plan.json")),
    ("scenario", include_str!("schemas/scenario.json")),
    ("scenario-event", include_str!("schemas/scenario-event.json")),
    ("schema", include_str!("schemas/schema.json")),
    ("select-part", include_str!("schemas/select-part.json")),
    ("status", include_str!("schemas/status.json")),
    ("store-check", include_str!("schemas/store-check.json")),
    ("token", include_str!("schemas/token.json")),
    ("version", include_str!("schemas/version.json")),
];

/// The names of all things.
pub(super) fn things() -> impl Iterator<Item = &'static str> {
    SCHEMAS.iter().map(|(thing, _)| *thing)
}

const SHEET: Sheet = Sheet {
    thing: "schema",
    columns: &[Column::new("THING", "thing", Kind::Ours), Column::new("WHAT", "what", Kind::Ours)],
};

/// Lists them, or prints one. One is JSON whatever was asked for.
pub(super) fn schema(context: &mut Context, schema: &Schema) -> Result<ExitCode, Failure> {
    let Some(thing) = &schema.thing else {
        let row = |(thing, text): &(&str, &str)| {
            let schema: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
            json!({ "thing": thing, "what": schema.get("description") })
        };
        let rows: Vec<_> = SCHEMAS.iter().map(row).collect();
        context.output.rows(&SHEET, &rows).map_err(|error| error.explain(&context.site))?;
        return Ok(ExitCode::Success);
    };
    // Also as it stands in a document: muster.host/v1.
    let short = thing.strip_prefix("muster.").unwrap_or(thing);
    let short = short.strip_suffix("/v1").unwrap_or(short);
    let Some((_, text)) = SCHEMAS.iter().find(|(name, _)| *name == short) else {
        let failure = Failure::usage(format!("there is no schema of {thing:?}"));
        let failure = match did_you_mean(short, things()) {
            Some(near) => failure.hint(format!("did you mean {near}?")),
            None => failure,
        };
        return Err(failure.hint("those that there are: muster schema"));
    };
    if matches!(context.output.format(), Format::Csv | Format::Name) {
        return Err(Failure::usage("a schema is JSON, whatever -o says")
            .hint(format!("leave -o out: muster schema {short}")));
    }
    context.output.text(text).map_err(|error| error.explain(&context.site))?;
    Ok(ExitCode::Success)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Every field that a schema promises, with its type, as a line.
    fn fields(thing: &str, schema: &Value, defs: &Value, path: &str, lines: &mut BTreeSet<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            return fields(thing, &defs[name.trim_start_matches("#/$defs/")], defs, path, lines);
        }
        for branch in schema["anyOf"].as_array().into_iter().flatten() {
            fields(thing, branch, defs, path, lines);
        }
        let always: Vec<&Value> = schema["required"].as_array().into_iter().flatten().collect();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let kind = match (&field["type"], &field["enum"], &field["const"]) {
                (Value::String(kind), ..) => kind.clone(),
                (Value::Array(kinds), ..) => {
                    kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|")
                }
                // A line for each word: there may be more of them later.
                (_, Value::Array(words), _) => {
                    let words = words.iter().filter_map(Value::as_str);
                    lines.extend(words.map(|word| format!("{thing} {path}.{name} = {word}")));
                    "word".to_owned()
                }
                (.., Value::String(word)) => word.clone(),
                _ => "any".to_owned(),
            };
            let some = if always.iter().any(|known| *known == name) { "" } else { "?" };
            let path = format!("{path}.{name}");
            lines.insert(format!("{thing} {path}{some} {kind}"));
            fields(thing, field, defs, &path, lines);
        }
        if schema["items"].is_object() {
            fields(thing, &schema["items"], defs, &format!("{path}[]"), lines);
        }
        if schema["additionalProperties"].is_object() {
            fields(thing, &schema["additionalProperties"], defs, &format!("{path}.*"), lines);
        }
    }

    #[test]
    fn a_field_that_was_promised_once_is_promised_still() {
        let golden = include_str!("../../tests/contract/fields.txt");
        let golden: BTreeSet<String> =
            golden.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        let mut promised = BTreeSet::new();
        for (thing, text) in SCHEMAS {
            let schema: Value = serde_json::from_str(text).unwrap();
            fields(thing, &schema, &schema["$defs"], "", &mut promised);
        }
        if std::env::var_os("MUSTER_WRITE_GOLDEN").is_some() {
            let all: Vec<&str> = promised.union(&golden).map(String::as_str).collect();
            let head = "# What `muster schema` promises, a field a line. Lines are added, never changed or taken away.\n";
            std::fs::write("tests/contract/fields.txt", format!("{head}{}\n", all.join("\n"))).unwrap();
            return;
        }
        let gone: Vec<&String> = golden.difference(&promised).collect();
        assert!(gone.is_empty(), "scripts rely on these; they may not go: {gone:#?}");
        let new: Vec<&String> = promised.difference(&golden).collect();
        assert!(new.is_empty(), "add these to tests/contract/fields.txt: {new:#?}");
    }

    #[test]
    fn schemas_are_in_order_and_say_whose_they_are() {
        assert!(SCHEMAS.is_sorted_by_key(|(thing, _)| *thing));
        for (thing, text) in SCHEMAS {
            let schema: Value = serde_json::from_str(text).unwrap();
            assert_eq!(schema["title"], format!("muster.{thing}/v1"));
            assert!(schema["description"].is_string(), "{thing}");
        }
    }
}

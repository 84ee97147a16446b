//! Whether a document is what its schema says: the part of JSON Schema that this project's schemas use, and one
//! rule more: a field that the schema does not name is a fault, since somebody will rely on it.

use serde_json::Value;

/// What is wrong with `value`, if anything.
pub(crate) fn fault(schema: &Value, value: &Value) -> Option<String> {
    check(schema, schema, value, "").err()
}

fn check(schema: &Value, root: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = &root["$defs"][name.trim_start_matches("#/$defs/")];
        return check(target, root, value, at);
    }
    if let Some(branches) = schema["anyOf"].as_array() {
        let mut faults = Vec::new();
        for branch in branches {
            match check(branch, root, value, at) {
                Ok(()) => return Ok(()),
                Err(fault) => faults.push(fault),
            }
        }
        return Err(faults.join(", or "));
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        return Err(format!("{at}: {value} where {} should be", schema["const"]));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{at}: {value} is none of {words:?}"));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !kinds.is_empty() && !kinds.contains(&kind) {
        return Err(format!("{at}: {value} is {kind}, not {}", kinds.join(" or ")));
    }
    if schema["format"] == "date-time"
        && let Some(text) = value.as_str()
        && !(text.ends_with('Z') && text.len() >= 20 && text.as_bytes().get(10) == Some(&b'T'))
    {
        return Err(format!("{at}: {text} is no time in UTC"));
    }
    if let Some(items) = value.as_array()
        && schema["items"].is_object()
    {
        for (place, item) in items.iter().enumerate() {
            check(&schema["items"], root, item, &format!("{at}[{place}]"))?;
        }
    }
    let Some(fields) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            return Err(format!("{at}.{name} is missing"));
        }
    }
    if !schema["properties"].is_object() && !schema["additionalProperties"].is_object() {
        return Ok(());
    }
    for (name, field) in fields {
        let at = format!("{at}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) => return Err(format!("{at} is in no schema")),
            (Value::Null, other) => check(other, root, field, &at)?,
            (known, _) => check(known, root, field, &at)?,
        }
    }
    Ok(())
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"],
        "properties": {"a": {"type": ["integer", "null"]}, "b": {"enum": ["x"]}, "t": {"type": "string", "format": "date-time"},
            "l": {"type": "array", "items": {"$ref": "#/$defs/s"}}},
        "$defs": {"s": {"type": "string"}}
    });
    let ok = |text: &str| fault(&schema, &serde_json::from_str(text).expect("json")).is_none();
    assert!(ok(r#"{"a": 1, "b": "x", "t": "2026-01-01T00:00:00Z", "l": ["y"]}"#) && ok(r#"{"a": null}"#));
    for wrong in [
        "{}",
        r#"{"a": "1"}"#,
        r#"{"a": 1, "b": "y"}"#,
        r#"{"a": 1, "c": 1}"#,
        r#"{"a": 1, "l": [1]}"#,
        r#"{"a": 1, "t": "yesterday"}"#,
        "[]",
    ] {
        assert!(!ok(wrong), "{wrong}");
    }
}

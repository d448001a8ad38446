//! The JSON Schema in `docs/` describes what is written, key by key.

use serde_json::Value;

use super::example;

const SCHEMA: &str = include_str!("../../docs/certificate.schema.json");

/// Checks a value against the part of JSON Schema that ours uses; `seen` collects the pointers of the
/// properties that were met with a value that isn't null.
fn validate(root: &Value, schema: &Value, value: &Value, at: &str, seen: &mut Vec<String>) -> Result<(), String> {
    for keyword in schema.as_object().unwrap().keys() {
        let known = [
            "$ref",
            "$schema",
            "$defs",
            "title",
            "description",
            "type",
            "const",
            "enum",
            "anyOf",
            "items",
            "properties",
            "required",
            "additionalProperties",
            "minimum",
            "pattern",
        ];
        assert!(known.contains(&keyword.as_str()), "{keyword} is not understood here");
    }
    if let Some(Value::String(r)) = schema.get("$ref") {
        let name = r.strip_prefix("#/$defs/").unwrap();
        return validate(root, &root["$defs"][name], value, at, seen);
    }
    if let Some(Value::Array(any)) = schema.get("anyOf") {
        let failures: Vec<String> = any.iter().map_while(|s| validate(root, s, value, at, seen).err()).collect();
        return if failures.len() < any.len() { Ok(()) } else { Err(failures.join(" and ")) };
    }
    if let Some(c) = schema.get("const")
        && c != value
    {
        return Err(format!("{at} is {value}, not {c}"));
    }
    if let Some(Value::Array(e)) = schema.get("enum")
        && !e.contains(value)
    {
        return Err(format!("{at} is {value}, none of {e:?}"));
    }
    if let Some(t) = schema.get("type") {
        let types: Vec<&str> = match t {
            Value::Array(ts) => ts.iter().map(|t| t.as_str().unwrap()).collect(),
            t => vec![t.as_str().unwrap()],
        };
        if !types.iter().any(|t| is(t, value)) {
            return Err(format!("{at} is {value}, not of type {types:?}"));
        }
    }
    if let (Some(min), Some(x)) = (schema.get("minimum"), value.as_f64())
        && x < min.as_f64().unwrap()
    {
        return Err(format!("{at} is {x}, below {min}"));
    }
    if let (Some(items), Value::Array(values)) = (schema.get("items"), value) {
        for (i, v) in values.iter().enumerate() {
            validate(root, items, v, &format!("{at}/{i}"), seen)?;
        }
    }
    let Value::Object(fields) = value else { return Ok(()) };
    let properties = schema["properties"].as_object().unwrap();
    for (key, v) in fields {
        let Some(p) = properties.get(key) else { return Err(format!("{at} has \"{key}\", which is not described")) };
        if !v.is_null() {
            seen.push(p["description"].as_str().map_or_else(|| key.clone(), |d| format!("{key}: {d}")));
        }
        validate(root, p, v, &format!("{at}/{key}"), seen)?;
    }
    for key in schema["required"].as_array().unwrap() {
        if !fields.contains_key(key.as_str().unwrap()) {
            return Err(format!("{at} lacks {key}"));
        }
    }
    Ok(())
}

fn is(t: &str, v: &Value) -> bool {
    match t {
        "null" => v.is_null(),
        "string" => v.is_string(),
        "boolean" => v.is_boolean(),
        "integer" => v.is_u64() || v.is_i64(),
        "number" => v.is_number(),
        "array" => v.is_array(),
        "object" => v.is_object(),
        other => panic!("{other} is no type"),
    }
}

fn check(value: &Value) -> Result<Vec<String>, String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut seen = Vec::new();
    validate(&schema, &schema, value, "", &mut seen)?;
    Ok(seen)
}

/// Every property of the schema, as `validate` names them.
fn described(schema: &Value, into: &mut Vec<String>) {
    match schema {
        Value::Object(o) => {
            if let Some(Value::Object(properties)) = o.get("properties") {
                for (key, p) in properties {
                    let text = p["description"].as_str().unwrap_or_else(|| panic!("{key} has no description"));
                    into.push(format!("{key}: {text}"));
                }
            }
            o.values().for_each(|v| described(v, into));
        }
        Value::Array(a) => a.iter().for_each(|v| described(v, into)),
        _ => {}
    }
}

#[test]
fn the_schema_describes_every_key_and_no_other() {
    let mut seen = Vec::new();
    for c in [example::certified(), example::not_certified(), example::hostile()] {
        let value: Value = serde_json::from_str(&c.to_json()).unwrap();
        seen.extend(check(&value).unwrap());
    }
    // Every property that is described was met, so that none is left over from an earlier version.
    let mut all = Vec::new();
    described(&serde_json::from_str(SCHEMA).unwrap(), &mut all);
    let unmet: Vec<&String> = all.iter().filter(|d| !seen.contains(d)).collect();
    assert!(unmet.is_empty(), "described, but never written: {unmet:#?}");
}

#[test]
fn the_schema_refuses_what_is_no_certificate() {
    let good: Value = serde_json::from_str(&example::certified().to_json()).unwrap();
    let broken = |pointer: &str, value: Value| {
        let mut v = good.clone();
        *v.pointer_mut(pointer).unwrap() = value;
        check(&v).unwrap_err()
    };
    assert!(broken("/schema", "certify/certificate/v2".into()).contains("/schema"));
    assert!(broken("/verdict", "fine".into()).contains("/verdict"));
    assert!(broken("/gradients/3/max_abs", Value::Null).contains("/gradients/3/max_abs"));
    assert!(broken("/gradients/0/shape/0", (-1).into()).contains("below"));
    assert!(broken("/gradients/0/bounds/literal/standing", "sound".into()).contains("standing"));
    let mut extra = good.clone();
    extra["gates"]["more"] = 1.into();
    assert!(check(&extra).unwrap_err().contains("not described"));
    let mut less = good;
    less.as_object_mut().unwrap().remove("loss");
    assert!(check(&less).unwrap_err().contains("lacks"));
}

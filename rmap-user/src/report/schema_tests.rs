//! The JSON Schemas of the report and of histories, made from the types.
//!
//! Comes in: the types, and the JSON among the golden files. Goes out: `docs/*.schema.json`, written
//! anew if `RMAP_BLESS` is set, and the proof that every golden JSON is valid by them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};
use serde_json::Value;

use super::heap::{HEAP_SCHEMA, HeapReport};
use super::{Address, Explanation, Named, Report, SCHEMA, story::STORY_SCHEMA};
use crate::terms::Term;

impl<T: Term> JsonSchema for Named<T> {
    fn schema_name() -> Cow<'static, str> {
        T::KIND.replace(' ', "_").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let known: Vec<Value> = T::ALL
            .iter()
            .map(|term| serde_json::json!({"const": term.name(), "description": term.meaning()}))
            .collect();
        json_schema!({
            "description": format!("A {}. Another version may know other names.", T::KIND),
            "anyOf": [{"oneOf": known}, {"type": "string"}]
        })
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An address: lower-case hex with 0x.",
            "type": "string",
            "pattern": "^0x[0-9a-f]{1,16}$"
        })
    }
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Holds `docs` to the schema, or writes it there.
fn kept(schema: &Schema, name: &str) {
    let path = here("../docs").join(format!("{}.schema.json", name.trim_end_matches("/1")));
    let text = serde_json::to_string_pretty(schema).unwrap() + "\n";
    if std::env::var_os("RMAP_BLESS").is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    let is = fs::read_to_string(&path).unwrap_or_default();
    assert!(is == text, "{} is out of date; cargo xtask golden writes it", path.display());
}

#[test]
fn schemas_in_docs_are_those_of_the_types() {
    kept(&schema_for!(Report), SCHEMA);
    kept(&schema_for!(Explanation), STORY_SCHEMA);
    kept(&schema_for!(HeapReport), HEAP_SCHEMA);
}

#[test]
fn every_golden_json_is_valid_by_its_schema() {
    let report = schema_for!(Report).to_value();
    let story = schema_for!(Explanation).to_value();
    let mut seen = BTreeSet::new();
    for folder in ["tests/view/golden", "tests/view/golden/recorded"] {
        for entry in fs::read_dir(here(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let (name, schema) = match value["schema"].as_str() {
                Some(SCHEMA) => (SCHEMA, &report),
                Some(STORY_SCHEMA) => (STORY_SCHEMA, &story),
                _ => continue,
            };
            seen.insert(name);
            if let Err(error) = check(schema, schema, &value, "$") {
                panic!("{}: {error}", path.display());
            }
        }
    }
    assert_eq!(seen, BTreeSet::from([SCHEMA, STORY_SCHEMA]), "no golden JSON of some schema");
}

#[test]
fn what_a_schema_does_not_allow_is_refused() {
    let schema = schema_for!(Report).to_value();
    let text = include_str!("../../tests/view/golden/article.json");
    let sound: Value = serde_json::from_str(text).unwrap();
    assert_eq!(check(&schema, &schema, &sound, "$"), Ok(()));
    for (place, wrong) in [
        ("/processes/0/segments/0/start", Value::from("7f00")),
        ("/processes/0/segments/0/size_bytes", Value::from("4096")),
        ("/processes/0/snapshot", Value::from("yesterday")),
        ("/stacks/0/id", Value::from(-1)),
        ("/host", serde_json::json!({"kernel": "6.18"})),
        ("/session", serde_json::json!({"odd": 1})),
    ] {
        let mut value = sound.clone();
        *value.pointer_mut(place).unwrap() = wrong;
        assert!(check(&schema, &schema, &value, "$").is_err(), "{place}");
    }
}

/// What `insight` adds where a report is written; the types of the report do not have it.
const ANSWERS: [&str; 4] = ["advice", "groups", "owner", "class"];

/// Checks a value by the keywords that schemars uses; any other keyword is an error. Properties
/// that the schema does not name are errors too: the golden files hold none of other versions.
fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(keywords) = schema.as_object() else {
        return if schema == &Value::Bool(true) { Ok(()) } else { Err(format!("{at}: forbidden")) };
    };
    let all = |branches: &Value| -> Vec<Result<(), String>> {
        let branches = branches.as_array().into_iter().flatten();
        branches.map(|branch| check(root, branch, value, at)).collect()
    };
    for (keyword, rule) in keywords {
        let holds = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "format" => true,
            "$ref" => {
                let place = rule.as_str().and_then(|r| r.strip_prefix('#')).unwrap();
                check(root, root.pointer(place).unwrap(), value, at)?;
                true
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|one| is(value, one)),
                one => is(value, one),
            },
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            // Of addresses alone.
            "pattern" => value.as_str().is_none_or(|text| text.parse::<Address>().is_ok()),
            "anyOf" => all(rule).iter().any(Result::is_ok),
            "oneOf" => all(rule).iter().filter(|one| one.is_ok()).count() == 1,
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    let Some(rule) = rule.get(name) else {
                        if ANSWERS.contains(&name.as_str()) {
                            continue;
                        }
                        return Err(format!("{at}.{name} is in no schema"));
                    };
                    check(root, rule, inner, &format!("{at}.{name}"))?;
                }
                true
            }
            "additionalProperties" => {
                let known = keywords.get("properties");
                for (name, inner) in value.as_object().into_iter().flatten() {
                    if known.and_then(|known| known.get(name)).is_none() {
                        check(root, rule, inner, &format!("{at}.{name}"))?;
                    }
                }
                true
            }
            "items" => {
                for (number, inner) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, inner, &format!("{at}[{number}]"))?;
                }
                true
            }
            other => return Err(format!("{at}: the keyword {other} is not known here")),
        };
        if !holds {
            return Err(format!("{at}: {value} is not {keyword} {rule}"));
        }
    }
    Ok(())
}

fn is(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}

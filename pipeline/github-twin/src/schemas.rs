//! GitHub's own description: which operations there are, what they take and what they give.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

static GITHUB: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../schemas/github.json")).unwrap());

/// The validators that were asked for so far, by the JSON pointer of their schema: building one
/// takes longer than using it.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// The operation that a request names, with the values of the path's parameters.
pub(crate) struct Route {
    pub operation: &'static str,
    pub path: BTreeMap<String, String>,
}

/// Operations of `path`: the one with `method`, or the methods that GitHub knows there.
pub(crate) fn route(method: &str, path: &str) -> Result<Route, Vec<&'static str>> {
    let operations = GITHUB["operations"].as_object().unwrap();
    let mut methods = Vec::new();
    let mut best: Option<(usize, Route)> = None;
    for (operation, known) in operations {
        let Some(parameters) = path_parameters(known["path"].as_str().unwrap(), path) else {
            continue;
        };
        let known_method = known["method"].as_str().unwrap();
        methods.push(known_method);
        let fewer = best.as_ref().is_none_or(|(count, _)| parameters.len() < *count);
        if known_method == method && fewer {
            best = Some((parameters.len(), Route { operation, path: parameters }));
        }
    }
    methods.sort_unstable();
    best.map(|(_, route)| route).ok_or(methods)
}

/// The values that `path` gives to a template's parameters, or none where it is another path. The
/// path of a file is the one parameter with slashes.
fn path_parameters(template: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    let mut segments = path.split('/');
    for part in template.split('/') {
        let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
            if segments.next() != Some(part) {
                return None;
            }
            continue;
        };
        let mut value = segments.next()?.to_string();
        if name == "path" {
            for rest in segments.by_ref() {
                value = format!("{value}/{rest}");
            }
        }
        if value.is_empty() {
            return None;
        }
        values.insert(name.to_string(), decode(&value));
    }
    segments.next().is_none().then_some(values)
}

fn decode(segment: &str) -> String {
    let pair = format!("v={}", segment.replace('+', "%2B"));
    let decoded = url::form_urlencoded::parse(pair.as_bytes()).next();
    decoded.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// What is wrong with a request to `operation`, all of it.
pub(crate) fn request_mistakes(
    route: &Route,
    query: &[(String, String)],
    body: &Option<Value>,
) -> Vec<String> {
    let operation = &GITHUB["operations"][route.operation];
    let pointer = format!("/operations/{}", route.operation.replace('/', "~1"));
    let mut mistakes = Vec::new();
    for (name, value) in &route.path {
        let schema = format!("{pointer}/path_parameters/{name}");
        mistakes.extend(text_mistakes(&schema, &format!("path parameter {name}"), value));
    }
    for (name, value) in query {
        if operation["query_parameters"].get(name).is_none() {
            mistakes.push(format!("unknown query parameter {name}"));
            continue;
        }
        let schema = format!("{pointer}/query_parameters/{name}");
        mistakes.extend(text_mistakes(&schema, &format!("query parameter {name}"), value));
    }
    let schema = operation.get("body").filter(|schema| !schema.is_null());
    match (schema, body) {
        (None, Some(_)) => mistakes.push("a body where none is expected".to_string()),
        (Some(_), None) if operation["body_required"] == true => {
            mistakes.push("no body".to_string());
        }
        (Some(schema), Some(body)) => {
            mistakes.extend(validate(&format!("{pointer}/body"), body));
            let known = property_names(schema);
            let unknown = body.as_object().into_iter().flatten().map(|(name, _)| name);
            let unknown = unknown.filter(|name| !known.contains(&name.as_str()));
            mistakes.extend(unknown.map(|name| format!("unknown property {name} in the body")));
        }
        _ => {}
    }
    mistakes
}

/// The properties that a schema names, in all of its alternatives.
fn property_names(schema: &'static Value) -> Vec<&'static str> {
    let schema = resolve(schema);
    let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let parts = ["oneOf", "anyOf", "allOf"].into_iter();
    let parts = parts.filter_map(|part| schema[part].as_array()).flatten();
    own.chain(parts.flat_map(property_names)).collect()
}

/// What is wrong with a parameter that came as text.
fn text_mistakes(pointer: &str, name: &str, text: &str) -> Vec<String> {
    let schema = resolve(GITHUB.pointer(pointer).unwrap());
    let number = text.parse::<i64>().map(Value::from);
    let value = match schema["type"].as_str() {
        Some("integer") => number.unwrap_or_else(|_| text.into()),
        Some("boolean") => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
        Some("string") => text.into(),
        _ => number.unwrap_or_else(|_| text.into()),
    };
    let mistakes = validate(pointer, &value);
    mistakes.into_iter().map(|mistake| format!("{name}: {mistake}")).collect()
}

/// What is wrong with `body` as the reply to `operation` with this status. A status of success that
/// GitHub does not name is wrong; one of an error is let through, since GitHub names few of them.
pub(crate) fn reply_mistakes(operation: &str, status: u16, body: &Option<Value>) -> Vec<String> {
    let replies = &GITHUB["operations"][operation]["replies"];
    match (replies.get(status.to_string()), body) {
        (None, _) if status < 300 => vec![format!("GitHub never answers {status}")],
        (None, _) | (Some(Value::Null), None) => Vec::new(),
        (Some(Value::Null), Some(_)) if status < 300 => vec!["a body where none is due".into()],
        (Some(Value::Null), Some(_)) => Vec::new(),
        (Some(_), None) => vec!["no body".into()],
        (Some(_), Some(body)) => validate(&reply_pointer(operation, status), body),
    }
}

fn reply_pointer(operation: &str, status: u16) -> String {
    format!("/operations/{}/replies/{status}", operation.replace('/', "~1"))
}

/// Fills in what GitHub requires in the reply to `operation` and no test looks at.
pub(crate) fn complete_reply(operation: &str, status: u16, body: &mut Value, origin: &str) {
    if let Some(schema) = GITHUB.pointer(&reply_pointer(operation, status)) {
        complete(schema, body, origin);
    }
}

/// Fills in what GitHub requires in a delivery, and says what is wrong with the result.
pub(crate) fn complete_delivery(name: &str, body: &mut Value, origin: &str) -> Vec<String> {
    let pointer = format!("/deliveries/{name}");
    let Some(schema) = GITHUB.pointer(&pointer) else {
        return vec![format!("unknown delivery {name}")];
    };
    complete(schema, body, origin);
    validate(&pointer, body)
}

/// What is wrong with `value` by the schema that stands at `pointer`, all of it.
fn validate(pointer: &str, value: &Value) -> Vec<String> {
    let known = VALIDATORS.lock().unwrap().get(pointer).cloned();
    let validator = known.unwrap_or_else(|| {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": GITHUB["$defs"],
            "allOf": [GITHUB.pointer(pointer).unwrap()],
        });
        let options = jsonschema::options().should_validate_formats(true);
        let validator = Arc::new(options.build(&schema).unwrap());
        VALIDATORS.lock().unwrap().insert(pointer.to_string(), validator.clone());
        validator
    });
    let errors = validator.iter_errors(value);
    errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn resolve(mut schema: &'static Value) -> &'static Value {
    while let Some(reference) = schema["$ref"].as_str() {
        schema = GITHUB.pointer(reference.trim_start_matches('#')).unwrap();
    }
    schema
}

fn has_type(schema: &Value, name: &str) -> bool {
    match &schema["type"] {
        Value::String(only) => only == name,
        Value::Array(several) => several.iter().any(|one| one == name),
        _ => false,
    }
}

fn alternatives(schema: &'static Value) -> impl Iterator<Item = &'static Value> {
    let lists = ["anyOf", "oneOf"].into_iter().filter_map(|name| schema[name].as_array());
    lists.flatten().map(resolve)
}

fn complete(schema: &'static Value, value: &mut Value, origin: &str) {
    let schema = resolve(schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        complete(part, value, origin);
    }
    let wanted = if value.is_array() { "array" } else { "object" };
    let fits = |one: &&Value| {
        has_type(one, wanted) || one.get("properties").or(one.get("allOf")).is_some()
    };
    if let Some(one) = alternatives(schema).find(fits) {
        complete(one, value, origin);
    }
    if let Value::Array(items) = value {
        if let Some(schema) = schema.get("items") {
            items.iter_mut().for_each(|item| complete(schema, item, origin));
        }
        return;
    }
    let (Value::Object(object), Some(properties)) = (value, schema["properties"].as_object())
    else {
        return;
    };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if let (false, Some(schema)) = (object.contains_key(name), properties.get(name)) {
            object.insert(name.to_string(), filler(name, schema, origin));
        }
    }
    for (name, value) in object {
        if let Some(schema) = properties.get(name) {
            complete(schema, value, origin);
        }
    }
}

/// The value of a property that no test looks at.
fn filler(name: &str, schema: &'static Value, origin: &str) -> Value {
    let schema = resolve(schema);
    if has_type(schema, "null") || alternatives(schema).any(|one| has_type(one, "null")) {
        return Value::Null;
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    if let Some(first) = alternatives(schema).next() {
        return filler(name, first, origin);
    }
    match schema["type"].as_str() {
        Some("integer" | "number") => 0.into(),
        Some("boolean") => false.into(),
        Some("array") => json!([]),
        Some("string") => match schema["format"].as_str() {
            Some("date-time") => "2020-01-01T00:00:00Z".into(),
            Some(format) if format.starts_with("uri") => format!("{origin}/-/{name}").into(),
            _ if name.ends_with("url") => format!("{origin}/-/{name}").into(),
            _ => "".into(),
        },
        _ => Value::Object(Map::new()),
    }
}

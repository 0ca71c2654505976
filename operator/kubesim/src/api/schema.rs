//! The structural schema of a custom resource: defaults, pruning, validation with the texts of the API server, and CEL
//! rules. It looks at one object at a time and changes nothing but what defaults and pruning say.

use std::fmt;

use cel::{Context, Program};
use serde_json::{Map, Value};

use super::status::Cause;

/// See the module.
pub struct Schema {
    root: Value,
    rules: Vec<Rule>,
}

/// A CEL rule and where it holds.
struct Rule {
    path: Vec<String>,
    program: Option<Program>,
    message: String,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

impl Schema {
    /// Understands an `openAPIV3Schema`.
    #[must_use]
    pub fn new(root: &Value) -> Self {
        let mut rules = Vec::new();
        collect(root, &mut Vec::new(), &mut rules);
        Self { root: root.clone(), rules }
    }

    /// Fills in defaults and takes away what the schema does not know.
    pub fn shape(&self, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            for name in ["spec", "status"] {
                if let (Some(value), Some(schema)) = (fields.get_mut(name), self.root["properties"].get(name)) {
                    shape(value, schema);
                }
            }
            let known = |name: &str| {
                matches!(name, "apiVersion" | "kind" | "metadata") || self.root["properties"].get(name).is_some()
            };
            if !preserves(&self.root) {
                fields.retain(|name, _| known(name));
            }
        }
    }

    /// What is wrong with an object.
    #[must_use]
    pub fn check(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        check(object, &self.root, "", &mut causes);
        let blocks = |cause: &Cause| cause.reason != "FieldValueInvalid";
        if causes.iter().any(blocks) {
            if !self.rules.is_empty() {
                let message = "Invalid value: null: some validation rules were not checked because the object was invalid; \
                               correct the existing errors to complete validation";
                let field = "<nil>".to_owned();
                causes.push(Cause { reason: "FieldValueInvalid", field, message: message.to_owned() });
            }
        } else {
            for rule in &self.rules {
                let found = rule.path.iter().try_fold(object, |value, name| value.get(name));
                if let Some(value) = found
                    && !rule.holds(value)
                {
                    let field = rule.path.join(".");
                    let field = if field.is_empty() { "<nil>".to_owned() } else { field };
                    let message = format!("Invalid value: {}", rule.message);
                    causes.push(Cause { reason: "FieldValueInvalid", field, message });
                }
            }
        }
        causes
    }

    /// The keys by which the list at a dotted path is merged.
    #[must_use]
    pub fn list_keys(&self, path: &str) -> Option<Vec<String>> {
        let mut schema = &self.root;
        for part in path.split('.') {
            let name = part.trim_end_matches("[]");
            schema = schema["properties"].get(name)?;
            for _ in 0..part.matches("[]").count() {
                schema = &schema["items"];
            }
        }
        if schema["x-kubernetes-list-type"] != "map" {
            return None;
        }
        let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
        Some(keys.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect())
    }
}

impl Rule {
    /// A rule that cannot be understood or evaluated does not hold: the API server refuses such rules too.
    fn holds(&self, value: &Value) -> bool {
        let Some(program) = &self.program else { return false };
        let mut context = Context::default();
        if context.add_variable("self", value).is_err() {
            return false;
        }
        matches!(program.execute(&context), Ok(cel::Value::Bool(true)))
    }
}

/// Finds the rules of objects; those within lists and maps are not served.
fn collect(schema: &Value, path: &mut Vec<String>, rules: &mut Vec<Rule>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = rule["rule"].as_str().unwrap_or_default();
        rules.push(Rule {
            path: path.clone(),
            program: Program::compile(text).ok(),
            message: rule["message"].as_str().map_or_else(|| format!("failed rule: {text}"), str::to_owned),
        });
    }
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        path.push(name.clone());
        collect(below, path, rules);
        path.pop();
    }
}

fn preserves(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
}

fn shape(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            let properties = schema["properties"].as_object();
            let additional = schema.get("additionalProperties").filter(|additional| additional.is_object());
            if let Some(properties) = properties {
                if !preserves(schema) && additional.is_none() {
                    fields.retain(|name, _| properties.contains_key(name));
                }
                for (name, below) in properties {
                    if !fields.contains_key(name)
                        && let Some(default) = below.get("default")
                    {
                        fields.insert(name.clone(), default.clone());
                    }
                }
            }
            let nothing = Map::new();
            for (name, value) in fields.iter_mut() {
                if let Some(below) = properties.unwrap_or(&nothing).get(name).or(additional) {
                    shape(value, below);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = schema.get("items") {
                items.iter_mut().for_each(|item| shape(item, below));
            }
        }
        _ => {}
    }
}

fn check(value: &Value, schema: &Value, at: &str, causes: &mut Vec<Cause>) {
    let field = || if at.is_empty() { "<nil>".to_owned() } else { at.to_owned() };
    let mut bad = |reason, message: String| causes.push(Cause { reason, field: field(), message });
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let wanted = schema["type"].as_str().unwrap_or_default();
    let is_right = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => schema["x-kubernetes-int-or-string"] != true || value.is_string() || value.is_i64(),
    };
    if !is_right {
        let (is, shown) = (type_of(value), shown(value));
        bad(
            "FieldValueTypeInvalid",
            format!("Invalid value: {shown}: {} in body must be of type {wanted}: {is:?}", field()),
        );
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let names: Vec<_> = allowed.iter().map(shown).collect();
        bad(
            "FieldValueNotSupported",
            format!("Unsupported value: {}: supported values: {}", shown(value), names.join(", ")),
        );
    }
    if let Some(number) = value.as_f64() {
        if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
            let message = format!("{} in body should be greater than or equal to {least}", field());
            bad("FieldValueInvalid", format!("Invalid value: {}: {message}", shown(value)));
        }
        if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
            let message = format!("{} in body should be less than or equal to {most}", field());
            bad("FieldValueInvalid", format!("Invalid value: {}: {message}", shown(value)));
        }
    }
    if let Some(text) = value.as_str() {
        let length = text.chars().count() as u64;
        if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
            let message = format!("{} in body should be at least {least} chars long", field());
            bad("FieldValueInvalid", format!("Invalid value: {}: {message}", shown(value)));
        }
        if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            let message = format!("may not be more than {most} bytes");
            bad("FieldValueTooLong", format!("Too long: {message}"));
        }
    }
    if let Some(items) = value.as_array() {
        let count = items.len() as u64;
        if let Some(least) = schema["minItems"].as_u64().filter(|least| count < *least) {
            let message = format!("{} in body should have at least {least} items", field());
            bad("FieldValueInvalid", format!("Invalid value: {count}: {message}"));
        }
        if let Some(most) = schema["maxItems"].as_u64().filter(|most| count > *most) {
            bad("FieldValueTooMany", format!("Too many: {count}: must have at most {most} items"));
        }
        if let Some(below) = schema.get("items") {
            items.iter().enumerate().for_each(|(nth, item)| check(item, below, &format!("{at}[{nth}]"), causes));
        }
        return;
    }
    if let Some(fields) = value.as_object() {
        let within = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                let message = "Required value".to_owned();
                causes.push(Cause { reason: "FieldValueRequired", field: within(name), message });
            }
        }
        let additional = schema.get("additionalProperties").filter(|additional| additional.is_object());
        for (name, value) in fields {
            if let Some(below) = schema["properties"].get(name).or(additional) {
                check(value, below, &within(name), causes);
            }
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "\"object\"".to_owned(),
        Value::Array(_) => "\"array\"".to_owned(),
        other => other.to_string(),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

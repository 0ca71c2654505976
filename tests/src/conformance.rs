//! One list of API interactions, played against the simulated API server and against a real one: the answers must be equal
//! once what differs from run to run is masked (uids, versions, times). It sends what the list says and judges nothing else.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Context, ensure};
use kube::Client;
use kube::api::ListParams;
use kube::client::Body;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

/// The list, in the order in which it is played.
const INTERACTIONS: &str = include_str!("../conformance/interactions.yaml");
/// The product's resource types, which the list makes known under a group of its own.
const TYPES: &str = include_str!("../../deploy/crds/windlass.dev.yaml");
/// What a real server answered.
const RECORDED: &str = include_str!("../conformance/real-1.36.json");
/// How long an interaction with `until` is repeated.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two such repetitions.
const PAUSE: Duration = Duration::from_millis(100);

/// One request, and what of its answer is compared.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interaction {
    /// What it shows, as a sentence; unique.
    pub name: String,
    /// HTTP method.
    #[serde(default = "get")]
    pub method: String,
    /// Path and query, with `${name}` for what earlier answers have left.
    pub path: String,
    /// Content type of the body.
    #[serde(default = "json_type")]
    pub content_type: String,
    /// What is accepted as an answer.
    #[serde(default = "json_type")]
    pub accept: String,
    /// The body; a string is sent as it is.
    #[serde(default)]
    pub body: Option<Value>,
    /// Values to remember, by the pointer of where they are in the answer.
    #[serde(default)]
    pub keep: BTreeMap<String, String>,
    /// The parts of the answer that are compared, by pointer; all of it where none is named.
    #[serde(default)]
    pub look: Vec<String>,
    /// Parts that are not compared, by pointer.
    #[serde(default)]
    pub hide: Vec<String>,
    /// Whether `managedFields` are compared too.
    #[serde(default)]
    pub managed: bool,
    /// Ask again until this is the status.
    #[serde(default)]
    pub until: Option<u16>,
    /// The status that the real server must give, so that the list shows what it means to show.
    #[serde(default)]
    pub code: Option<u16>,
    /// Why the simulated server may answer differently. One that does not is an error: the reason is out of date.
    #[serde(default)]
    pub differs: Option<String>,
}

/// An answer with what differs from run to run masked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// The parts that are compared.
    pub body: Value,
}

/// The answers of two servers to one interaction.
#[derive(Debug)]
pub struct Row {
    /// What was asked.
    pub interaction: Interaction,
    /// What the simulated server said.
    pub simulated: Answer,
    /// What the real server said.
    pub real: Answer,
}

/// The answers of two servers to the whole list.
#[derive(Debug)]
pub struct Comparison {
    /// In the order of the list.
    pub rows: Vec<Row>,
}

impl Row {
    /// Whether both said the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.simulated == self.real
    }

    /// Whether it is as the list says: the status of the real one, and both equal, or different for a stated reason.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        self.is_equal() == self.interaction.differs.is_none() && self.has_code()
    }

    fn has_code(&self) -> bool {
        self.interaction.code.is_none_or(|code| code == self.real.code)
    }
}

impl Comparison {
    /// Answers that were given to the same list.
    #[must_use]
    pub fn of(list: Vec<Interaction>, simulated: Vec<Answer>, real: Vec<Answer>) -> Self {
        let rows = list.into_iter().zip(simulated).zip(real);
        Self { rows: rows.map(|((interaction, simulated), real)| Row { interaction, simulated, real }).collect() }
    }

    /// How many answers are equal.
    #[must_use]
    pub fn equal(&self) -> usize {
        self.rows.iter().filter(|row| row.is_equal()).count()
    }

    /// The rows that are not as the list says.
    pub fn surprises(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.is_expected())
    }
}

impl Comparison {
    /// A line for each interaction: its name, the status of both, and whether they are the same.
    #[must_use]
    pub fn table(&self) -> String {
        let line = |row: &Row| {
            let same = if row.is_equal() { "same" } else { "DIFFERS" };
            format!("{:<72} {:>4} {:>7}  {same}", row.interaction.name, row.real.code, row.simulated.code)
        };
        let rows = self.rows.iter().map(line);
        let head = format!("{:<72} {:>4} {:>7}", "interaction", "real", "kubesim");
        std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} of {} answers are equal", self.equal(), self.rows.len())?;
        for row in self.rows.iter().filter(|row| row.interaction.differs.is_some()) {
            let why = row.interaction.differs.as_deref().unwrap_or_default();
            writeln!(f, "known difference: {}: {why}", row.interaction.name)?;
        }
        self.surprises().try_for_each(|row| write!(f, "{row}"))
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({} {})", self.interaction.name, self.interaction.method, self.interaction.path)?;
        if !self.has_code() {
            let wanted = self.interaction.code.unwrap_or_default();
            writeln!(f, "  the real server says {} and not {wanted}: mend the list", self.real.code)?;
        }
        if self.is_equal() && self.interaction.differs.is_some() {
            return writeln!(f, "  equal, although the list says that it differs");
        }
        let mut found = Vec::new();
        let whole = |answer: &Answer| json!({"code": answer.code, "body": answer.body});
        difference("", &whole(&self.simulated), &whole(&self.real), &mut found);
        found.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// The answers that a real server of Kubernetes 1.36 gave, masked, in the order of the list.
///
/// # Errors
/// When they cannot be read.
pub fn recorded() -> anyhow::Result<Vec<Answer>> {
    serde_json::from_str(RECORDED).context("conformance/real-1.36.json")
}

/// Answers as they are recorded: one a line.
///
/// # Errors
/// When they cannot be written as JSON.
pub fn record(answers: &[Answer]) -> anyhow::Result<String> {
    let lines = answers.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("[\n{}\n]\n", lines.join(",\n")))
}

/// The list.
///
/// # Errors
/// When it cannot be read, or a name is there twice.
pub fn interactions() -> anyhow::Result<Vec<Interaction>> {
    let list: Vec<Interaction> = serde_yaml_ng::from_str(INTERACTIONS).context("conformance/interactions.yaml")?;
    for (nth, interaction) in list.iter().enumerate() {
        let is_new = list[..nth].iter().all(|earlier| earlier.name != interaction.name);
        ensure!(is_new, "conformance/interactions.yaml: {:?} is there twice; give it another name", interaction.name);
    }
    Ok(list)
}

/// Plays the list against both servers, in a namespace and with resource types whose names contain `run`.
///
/// # Errors
/// When a server cannot be asked.
pub async fn compare(simulated: &Client, real: &Client, run: &str) -> anyhow::Result<Comparison> {
    let list = interactions()?;
    let simulated = play(simulated, &list, run).await.context("the simulated server")?;
    let real = play(real, &list, run).await.context("the real server")?;
    Ok(Comparison::of(list, simulated, real))
}

/// Plays a list against one server.
///
/// # Errors
/// When the server cannot be asked.
pub async fn play(client: &Client, list: &[Interaction], run: &str) -> anyhow::Result<Vec<Answer>> {
    let mut known = BTreeMap::from([("run".to_owned(), run.to_owned()), ("types".to_owned(), types(run)?)]);
    let mut answers = Vec::new();
    for interaction in list {
        let deadline = Instant::now() + PATIENCE;
        let (code, body) = loop {
            let answer = send(client, interaction, &known).await.with_context(|| interaction.name.clone())?;
            match interaction.until {
                Some(wanted) if wanted != answer.0 => {
                    ensure!(Instant::now() < deadline, "{}: still {} {}", interaction.name, answer.0, answer.1);
                    sleep(PAUSE).await;
                }
                _ => break answer,
            }
        };
        for (name, pointer) in &interaction.keep {
            // A server that gives another answer than it should is a difference here and may be one further down.
            let Some(value) = body.pointer(pointer) else { continue };
            known.insert(name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        answers.push(Answer { code, body: comparable(body, interaction, &known) });
    }
    Ok(answers)
}

/// The product's resource type as JSON, in the group `windlass.RUN.example`: the real ones may be there too.
fn types(run: &str) -> anyhow::Result<String> {
    let text = TYPES.replace("windlass.dev", &format!("windlass.{run}.example"));
    let documents = serde_yaml_ng::Deserializer::from_str(&text).map(Value::deserialize);
    let documents = documents.collect::<Result<Vec<_>, _>>()?;
    let types = documents.into_iter().find(|document| document["spec"]["names"]["kind"] == "ScaledObject");
    Ok(types.context("no ScaledObject")?.to_string())
}

async fn send(
    client: &Client,
    interaction: &Interaction,
    known: &BTreeMap<String, String>,
) -> anyhow::Result<(u16, Value)> {
    let body = match &interaction.body {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(body) => body.to_string(),
    };
    let mut request = kube::core::Request::new("/api").list(&ListParams::default())?;
    *request.method_mut() = interaction.method.parse()?;
    *request.uri_mut() =
        fill(&interaction.path, known).replace(' ', "%20").parse().with_context(|| interaction.path.clone())?;
    let headers = request.headers_mut();
    headers.insert("accept", interaction.accept.parse()?);
    headers.insert("user-agent", "conformance/1".parse()?);
    if !body.is_empty() {
        headers.insert("content-type", interaction.content_type.parse()?);
    }
    let request = request.map(|_| Body::from(fill(&body, known).into_bytes()));
    let response = client.send(request).await?;
    let code = response.status().as_u16();
    let body = response.into_body().collect_bytes().await?;
    let body = String::from_utf8_lossy(&body);
    // A watch is one JSON document a line; what is no JSON at all is compared as text.
    let lines = || body.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>().map(Value::Array);
    let body = serde_json::from_str(&body).or_else(|_| lines()).unwrap_or_else(|_| json!(body));
    Ok((code, body))
}

fn fill(text: &str, known: &BTreeMap<String, String>) -> String {
    known.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
}

/// The parts of an answer that are compared, masked.
fn comparable(mut body: Value, interaction: &Interaction, known: &BTreeMap<String, String>) -> Value {
    if body[0]["type"].is_string()
        && let Some(events) = body.as_array_mut()
    {
        // When bookmarks come is nobody's promise.
        events.retain(|event| event["type"] != "BOOKMARK");
    }
    mask("", &mut body, known, interaction.managed);
    for pointer in &interaction.hide {
        remove(&mut body, pointer);
    }
    if interaction.look.is_empty() {
        return body;
    }
    let found = interaction.look.iter().map(|pointer| (pointer.clone(), body.pointer(pointer).cloned()));
    Value::Object(found.map(|(pointer, value)| (pointer, value.unwrap_or_default())).collect())
}

fn remove(body: &mut Value, pointer: &str) {
    let Some((above, last)) = pointer.rsplit_once('/') else { return };
    if let Some(fields) = body.pointer_mut(above).and_then(Value::as_object_mut) {
        fields.remove(&last.replace("~1", "/").replace("~0", "~"));
    }
}

fn mask(key: &str, value: &mut Value, known: &BTreeMap<String, String>, managed: bool) {
    match value {
        Value::Object(fields) => {
            if !managed {
                fields.remove("managedFields");
            }
            for (name, value) in fields.iter_mut() {
                mask(name, value, known, managed);
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| mask(key, item, known, managed));
            if key == "managedFields" {
                items.sort_by_cached_key(ToString::to_string);
            }
            if key == "causes" {
                // In which order fields are looked at is an accident of both.
                items.sort_by_cached_key(ToString::to_string);
            }
        }
        Value::String(text) => *text = masked(key, text, known),
        _ => {}
    }
}

fn masked(key: &str, text: &str, known: &BTreeMap<String, String>) -> String {
    let is_opaque = matches!(key, "uid" | "resourceVersion" | "continue");
    // Whether a list is as new as what is in it depends on what else the server does.
    let mut told = known.iter().filter(|(name, _)| key != "resourceVersion" || !name.ends_with("list-version"));
    if let Some((name, _)) = told.find(|(_, value)| *value == text && (is_opaque || value.len() > 5)) {
        return format!("<{name}>");
    }
    match key {
        "uid" | "resourceVersion" | "continue" | "storageVersionHash" => return format!("<{key}>"),
        "creationTimestamp" | "deletionTimestamp" | "lastTransitionTime" | "lastUpdateTime" | "time" => {
            return "<time>".to_owned();
        }
        _ => {}
    }
    // Short values, such as versions, are within other texts by accident.
    let long = known.iter().filter(|(_, value)| value.len() > 5);
    let text = long.fold(text.to_owned(), |text, (name, value)| text.replace(value, &format!("<{name}>")));
    match text.split_once(" is invalid: [") {
        Some((what, why)) if key == "message" => format!("{what} is invalid: {}", in_order(why)),
        _ if text.contains("resource version") => without_numbers(&text),
        _ => text,
    }
}

/// Several causes in one text: the real server says them in another order each time.
fn in_order(causes: &str) -> String {
    let mut parts: Vec<&str> = causes.trim_end_matches(']').split(", ").collect();
    parts.sort_unstable();
    format!("[{}]", parts.join(", "))
}

fn without_numbers(text: &str) -> String {
    let mut said = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if said.ends_with('N') => {}
            '0'..='9' => said.push('N'),
            c => said.push(c),
        }
    }
    said
}

/// Where two values differ, a line each.
fn difference(at: &str, simulated: &Value, real: &Value, found: &mut Vec<String>) {
    match (simulated, real) {
        (Value::Object(one), Value::Object(other)) => {
            let nothing = |fields: &Map<String, Value>, name: &str| fields.get(name).cloned().unwrap_or_default();
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            names.for_each(|name| {
                difference(&format!("{at}/{name}"), &nothing(one, name), &nothing(other, name), found);
            });
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (nth, (one, other)) in one.iter().zip(other).enumerate() {
                difference(&format!("{at}/{nth}"), one, other, found);
            }
        }
        _ if simulated == real => {}
        _ => found.push(format!("{at}\n    simulated: {simulated}\n    real:      {real}")),
    }
}

fn get() -> String {
    "GET".to_owned()
}

fn json_type() -> String {
    "application/json".to_owned()
}

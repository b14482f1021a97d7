//! The OpenAPI document as the daemon serves it, and a watch that holds every answer of every test
//! against it (DOC-1).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::wire::{Answer, Request};

/// The closed list of error codes, each with its status.
pub const CODES: [(u16, &str); 57] = [
    (400, "malformed"),
    (401, "unauthenticated"),
    (401, "wrong-credentials"),
    (401, "wrong-code"),
    (401, "challenge-ended"),
    (401, "refresh-ended"),
    (401, "receipt-refused"),
    (403, "forbidden"),
    (403, "fresh-proof-required"),
    (403, "fresh-login-required"),
    (403, "me-without-user"),
    (404, "not-found"),
    (405, "method-not-allowed"),
    (409, "version"),
    (409, "name-taken"),
    (409, "email-taken"),
    (409, "id-taken"),
    (409, "secret-name-taken"),
    (409, "password-exists"),
    (409, "already-active"),
    (409, "no-factor"),
    (409, "too-many-secrets"),
    (409, "idempotency-conflict"),
    (409, "many-devices"),
    (409, "device-full"),
    (409, "touch-timeout"),
    (409, "touch-denied"),
    (409, "pin-required"),
    (409, "not-this-key"),
    (409, "device-changed"),
    (409, "unsupported"),
    (409, "device-in-use"),
    (409, "not-genuine"),
    (410, "expired"),
    (413, "body-too-large"),
    (414, "target-too-long"),
    (415, "unsupported-media-type"),
    (422, "wrong-code"),
    (422, "wrong-device-password"),
    (422, "pin-wrong"),
    (423, "factor-locked"),
    (423, "device-locked"),
    (423, "pin-blocked"),
    (429, "too-many-attempts"),
    (431, "headers-too-large"),
    (500, "internal"),
    (503, "busy"),
    (503, "storage-unavailable"),
    (503, "storage-damaged"),
    (503, "not-ready"),
    (503, "no-pcscd"),
    (503, "pcscd-denied"),
    (503, "hid-denied"),
    (503, "no-device"),
    (503, "device-busy"),
    (503, "device-removed"),
    (503, "device-failed"),
];

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

pub struct Contract {
    pub document: Value,
    pub operations: Vec<Operation>,
    /// What every path may answer besides.
    any_path: BTreeMap<String, Value>,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

pub struct Operation {
    pub method: String,
    pub template: String,
    /// Status as written in the document, and its response.
    pub responses: BTreeMap<String, Value>,
}

impl Operation {
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.template)
    }
}

impl Contract {
    /// The one contract of this process, read by whoever needs it first.
    pub fn once(read: impl FnOnce() -> Value) -> &'static Self {
        static CONTRACT: OnceLock<Contract> = OnceLock::new();
        CONTRACT.get_or_init(|| Self::new(read()))
    }

    fn new(document: Value) -> Self {
        let responses_in = |responses: &Value| {
            let responses = responses.as_object().expect("responses");
            responses.iter().map(|(status, response)| (status.clone(), resolved(&document, response))).collect()
        };
        let mut operations = Vec::new();
        for (template, item) in document["paths"].as_object().expect("paths") {
            for method in METHODS.iter().filter(|method| item.get(**method).is_some()) {
                let responses = responses_in(&item[*method]["responses"]);
                operations.push(Operation { method: method.to_uppercase(), template: template.clone(), responses });
            }
        }
        let any_path = responses_in(&document["x-any-path-responses"]);
        Self { operations, any_path, document, validators: Mutex::default() }
    }

    /// The documented operations on the path of `target`, of the template that says most about it.
    pub fn on_path(&self, target: &str) -> Vec<&Operation> {
        let path = target.split('?').next().unwrap_or_default();
        let path = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
        let fits = |operation: &&Operation| matches(&operation.template, path).is_some();
        let best = self.operations.iter().filter(fits).max_by_key(|operation| matches(&operation.template, path));
        let best = best.map(|operation| operation.template.as_str());
        self.operations.iter().filter(|operation| Some(operation.template.as_str()) == best).collect()
    }

    /// Whether the document knows such an answer of that operation.
    pub fn allows(&self, operation: &Operation, status: u16) -> bool {
        let status = status.to_string();
        operation.responses.contains_key(&status) || self.any_path.contains_key(&status)
    }

    /// Panics unless `answer` is one that the document allows; yields the operation and status.
    pub fn check(&self, request: &Request, answer: &Answer) -> Option<(String, u16)> {
        let on_path = self.on_path(&request.target);
        let operation = on_path.iter().find(|operation| operation.method == request.method);
        let status = answer.status.to_string();
        let Some(operation) = operation else {
            let here = format!("{} {}, which is not in the document, -> {status}", request.method, request.target);
            assert!((400..500).contains(&answer.status), "{here}");
            assert!(answer.status != 405 || !on_path.is_empty(), "{here}, as if its path were");
            if let Some(response) = self.any_path.get(&status).filter(|_| request.method != "HEAD") {
                self.check_response(&here, response, answer);
            }
            return None;
        };
        let here = format!("{} -> {status}", operation.name());
        let response = operation.responses.get(&status).or_else(|| self.any_path.get(&status));
        let response = response.unwrap_or_else(|| panic!("{here} is not documented: {}", answer.text()));
        self.check_response(&here, response, answer);
        Some((operation.name(), answer.status))
    }

    fn check_response(&self, here: &str, response: &Value, answer: &Answer) {
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let header = resolved(&self.document, header);
            let Some(text) = answer.header(name) else {
                assert!(header["required"] != json!(true), "{here} has no {name}");
                continue;
            };
            let value = text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number));
            self.validate(&format!("{here} {name}"), &header["schema"], &value);
        }
        self.check_body(here, response, answer);
    }

    fn check_body(&self, here: &str, response: &Value, answer: &Answer) {
        let Some(content) = response["content"].as_object() else {
            assert!(answer.body.is_empty(), "{here} has a body that is not documented: {}", answer.text());
            return;
        };
        let media_type = answer.media_type().unwrap_or_default();
        let documented = content.iter().find(|(name, _)| name.split(';').next() == Some(media_type));
        let (_, documented) =
            documented.unwrap_or_else(|| panic!("{here} is of type {media_type:?}, documented: {:?}", content.keys()));
        if media_type.ends_with("json") && documented.get("schema").is_some() {
            self.validate(&format!("{here} {media_type}"), &documented["schema"], &answer.json());
        }
    }

    fn validate(&self, name: &str, schema: &Value, value: &Value) {
        let validator = self.validator(schema);
        let faults: Vec<String> =
            validator.iter_errors(value).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{name} contradicts the document: {faults:#?}\n{value}");
    }

    fn validator(&self, schema: &Value) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        let validator = validators.entry(schema.to_string()).or_insert_with(|| {
            let root = json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "components": self.document["components"],
                "allOf": [schema],
            });
            let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
            Arc::new(options.build(&root).unwrap_or_else(|why| panic!("{schema} is no schema: {why}")))
        });
        Arc::clone(validator)
    }
}

/// Follows a `$ref` into the components.
fn resolved(document: &Value, value: &Value) -> Value {
    let Some(reference) = value["$ref"].as_str() else { return value.clone() };
    let pointer = reference.strip_prefix('#').expect("a reference into the document");
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere")).clone()
}

/// How many literal segments of the template the path has, if it fits.
fn matches(template: &str, path: &str) -> Option<usize> {
    let (wanted, found): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    if wanted.len() != found.len() {
        return None;
    }
    let mut literal = 0;
    for (wanted, found) in wanted.into_iter().zip(found) {
        if wanted == found {
            literal += 1;
        } else if !wanted.starts_with('{') || found.is_empty() {
            return None;
        }
    }
    Some(literal)
}

/// Holds the answers of one daemon against the contract and remembers which it has seen.
pub struct Watch {
    pub contract: &'static Contract,
    seen: Mutex<BTreeSet<(String, u16)>>,
}

impl Watch {
    pub fn new(contract: &'static Contract) -> Self {
        Self { contract, seen: Mutex::default() }
    }

    pub fn check(&self, request: &Request, answer: &Answer) {
        check_house_rules(request.method == "HEAD", answer);
        if let Some(pair) = self.contract.check(request, answer) {
            self.seen.lock().unwrap().insert(pair);
        }
    }

    pub fn seen(&self) -> BTreeSet<(String, u16)> {
        self.seen.lock().unwrap().clone()
    }
}

/// Checks the rules for every answer (HTTP-6, HTTP-7, and `info.description` in `docs/openapi.yaml`).
pub fn check_house_rules(to_head: bool, answer: &Answer) {
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    assert_eq!(answer.header("content-encoding"), None, "{answer:?}");
    let stream = matches!(answer.media_type(), Some("text/event-stream" | "application/octet-stream"));
    assert!(
        stream || answer.status == 204 || answer.header("content-length").is_some(),
        "no Content-Length: {answer:?}"
    );
    check_connection(answer);
    match answer.status {
        // Which of them is for the document to say.
        401 => assert!(
            matches!(
                answer.header("www-authenticate"),
                Some("Bearer realm=\"mfad\"" | "Basic realm=\"mfad\", charset=\"UTF-8\"")
            ),
            "{answer:?}"
        ),
        405 => assert!(answer.header("allow").is_some(), "{answer:?}"),
        429 | 503 => assert!(answer.retry_after().as_secs() > 0, "{answer:?}"),
        _ => {}
    }
    if answer.status >= 400 && !to_head {
        check_problem(answer);
    }
}

/// What every answer says of itself and of its connection.
fn check_connection(answer: &Answer) {
    assert!(answer.header("request-id").is_some_and(|id| id.len() == 36), "{answer:?}");
    assert!(answer.header("date").is_some_and(|date| date.len() == 29 && date.ends_with(" GMT")), "{answer:?}");
    let about = (answer.header("connection"), answer.header("keep-alive"));
    assert!(matches!(about, (Some("keep-alive"), Some("timeout=2")) | (Some("close"), None)), "{answer:?}");
}

fn check_problem(answer: &Answer) {
    assert_eq!(answer.media_type(), Some("application/problem+json"), "{answer:?}");
    let problem = answer.json();
    let code = problem["code"].as_str().unwrap_or_default();
    assert!(CODES.contains(&(answer.status, code)), "{} {code:?} is not in the list: {problem}", answer.status);
    assert_eq!(problem["type"], format!("urn:mfad:error:{code}"), "{problem}");
    assert_eq!(problem["status"], answer.status, "{problem}");
    for member in ["title", "detail", "requestId"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
    }
    assert_eq!(problem["requestId"].as_str(), answer.header("request-id"), "{problem}");
    if matches!(answer.status, 429 | 503) {
        assert_eq!(problem["retryAfter"], answer.retry_after().as_secs(), "{problem}");
    }
    let known = [
        "type",
        "title",
        "status",
        "detail",
        "code",
        "requestId",
        "retryAfter",
        "remaining",
        "diagnosis",
        "devices",
        "right",
        "holder",
        "keys",
    ];
    for member in problem.as_object().expect("an object").keys() {
        assert!(known.contains(&member.as_str()), "{member} is not a member of a problem: {problem}");
    }
    for inside in ["sqlite", "SQLITE", "SELECT ", "src/", ".rs:", "/tmp/", "panicked", "rusqlite", "serde", "hyper"] {
        assert!(!answer.text().contains(inside), "{inside:?} is nobody's business: {problem}");
    }
}

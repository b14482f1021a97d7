//! A user found by name, for those who know no id.

use serde_json::{Value, json};

use crate::host::Host;
use crate::wire::Request;

fn found(host: &Host, query: &str) -> Vec<Value> {
    let page = host.ask(&Request::get(format!("/users?name={query}"))).ok();
    assert_eq!(page["next"], Value::Null);
    page["users"].as_array().unwrap().clone()
}

#[test]
fn a_user_is_found_by_name_in_any_spelling_and_nobody_else_is() {
    let host = Host::start("");
    let anna = host.person("Anna Über");
    host.person("anna");
    host.ask(&Request::post("/users", &json!({"name": "bert", "email": "anna@example.org"}))).ok();

    for query in ["Anna%20%C3%9Cber", "anna%20%C3%BCber", "ANNA%20U%CC%88BER"] {
        let users = found(&host, query);
        assert_eq!((users.len(), &users[0]["uid"]), (1, &json!(anna.id)), "{query}");
    }
    for query in ["ann", "anna%40example.org", "%25", "a'b"] {
        assert!(found(&host, query).is_empty(), "{query}");
    }
    host.ask(&Request::get(format!("/users?name={}", anna.id))).refused(400, "malformed");
    for query in ["", "%FF", "%00", "a%0Ab", "anna&after=00000000-0000-0000-0000-000000000000", "anna&limit=1"] {
        host.ask(&Request::get(format!("/users?name={query}"))).refused(400, "malformed");
    }
}

//! The code that `docs/clients.md` prints, as it is printed there: clients that keep connections, and checks of tokens.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, SignatureError, Signer, SigningKey, Verifier, VerifyingKey};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, new_error};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::{Value, json};

use crate::host::Host;
use crate::interop::{python, python_has};
use crate::otp;
use crate::people::with;
use crate::wire::Request;

mod verify_token;

const DOCUMENT: &str = include_str!("../../docs/clients.md");
/// Connections at a time, and requests on each.
const LANES: usize = 100;
const REQUESTS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);

fn of_tree(name: &str) -> PathBuf {
    mfad_testkit::root().join(name)
}

/// The block of the document in this language that has the text.
fn block(language: &str, text: &str) -> &'static str {
    let fence = format!("\n```{language}\n");
    let blocks = DOCUMENT.split(fence.as_str()).skip(1).map(|rest| rest.split("\n```\n").next().unwrap());
    let found: Vec<&str> = blocks.filter(|block| block.contains(text)).collect();
    assert_eq!(found.len(), 1, "blocks of {language} with {text}");
    found[0]
}

/// Node.js with what Debian has of its packages. Says so when there is none, which a CI must not lack.
fn node(module: &str, test: &str) -> Option<Command> {
    let mut node = Command::new("node");
    node.env("NODE_PATH", "/usr/share/nodejs");
    let mut probe = Command::new("node");
    probe.env("NODE_PATH", "/usr/share/nodejs").args(["-e", &format!("require('{module}')")]);
    if probe.output().is_ok_and(|output| output.status.success()) {
        return Some(node);
    }
    assert!(std::env::var_os("CI").is_none(), "{test}: there is no Node.js with {module}");
    println!("{test}: skipped, there is no Node.js with {module}");
    None
}

fn read(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// How long the daemon says that it keeps an idle connection.
fn announced(host: &Host) -> f64 {
    let answer = host.ask(&Request::get("/health/live"));
    let announcement = answer.header("keep-alive").unwrap_or_else(|| panic!("no Keep-Alive: {answer:?}"));
    let seconds = announcement.split(',').find_map(|part| part.trim().strip_prefix("timeout="));
    seconds.unwrap_or_else(|| panic!("{announcement}")).parse().unwrap()
}

/// How long it does.
fn kept(host: &Host) -> f64 {
    let mut stream = UnixStream::connect(host.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&Request::get("/health/live").encode()).unwrap();
    let mut answer = [0; 4096];
    assert!(stream.read(&mut answer).unwrap() > 0);
    let answered = Instant::now();
    io::copy(&mut stream, &mut io::sink()).unwrap();
    answered.elapsed().as_secs_f64()
}

/// At once, and at each of these times and around it: 1 s, where the printed settings let go; as announced; as kept.
fn pauses(announced: f64, kept: f64) -> Value {
    let edges = [1.0, announced, kept].into_iter().flat_map(|at| [at - 0.05, at, at + 0.05]);
    let pauses: Vec<f64> = std::iter::once(0.0).chain(edges).collect();
    json!(pauses)
}

/// What became of the requests of one client.
fn calls(mut program: Command, script: &str, client: &str, host: &Host, pauses: &Value) -> Value {
    program.arg(of_tree(script)).arg(client).arg(host.socket());
    program.args([LANES.to_string(), REQUESTS.to_string(), pauses.to_string()]);
    read(&program.output().unwrap())
}

#[test]
fn no_client_that_is_set_as_printed_loses_a_request_at_the_edge_of_the_keep_alive() {
    const HERE: &str = "no_client_that_is_set_as_printed_loses_a_request_at_the_edge_of_the_keep_alive";
    if node("undici", HERE).is_none() || !python_has("aiohttp, httpx", HERE) {
        return;
    }
    let first = Host::start("");
    let (announced, kept) = (announced(&first), kept(&first));
    assert!(announced >= 1.0 && announced + 0.5 <= kept, "{announced} s are announced, {kept} s are kept");
    let pauses = pauses(announced, kept);

    let clients = ["aiohttp", "httpx", "agent", "undici", "naive"];
    let tallies: Vec<(&str, Value)> = thread::scope(|scope| {
        let work = clients.map(|client| {
            let pauses = &pauses;
            let is_node = matches!(client, "agent" | "undici");
            let script = if is_node { "tests/clients/keep_alive.js" } else { "tests/clients/keep_alive.py" };
            let program = if is_node { node("undici", HERE).unwrap() } else { python() };
            (client, scope.spawn(move || calls(program, script, client, &Host::start(""), pauses)))
        });
        work.into_iter().map(|(client, work)| (client, work.join().unwrap())).collect()
    });

    for (client, tally) in tallies {
        let lost = tally["lost"].as_array().unwrap().len();
        assert_eq!(tally["requests"], LANES * REQUESTS, "{client}");
        if client == "naive" {
            // It never looks, so the harness has to find what it loses.
            assert!(lost > 0, "{client}: {tally}");
        } else {
            assert_eq!(lost, 0, "{client}: {tally}");
            // Newer versions of undici take so much off the announced time that nothing is left of it.
            let is_kept = tally["reused"].as_u64() > Some(0);
            assert!(is_kept || client == "undici", "{client} kept no connection: {tally}");
        }
    }
}

/// A key that is none of the daemon's, but listed beside its own, to sign what the daemon never would.
struct Stranger(SigningKey);

const STRANGER: &str = "a-key-of-the-test";

impl Stranger {
    fn new() -> Self {
        Self(SigningKey::from_bytes(&[7; 32]))
    }

    fn jwk(&self) -> Value {
        let x = BASE64URL_NOPAD.encode(self.0.verifying_key().as_bytes());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": STRANGER, "x": x, "alg": "EdDSA", "use": "sig"})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let encoded = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.0.sign(signed.as_bytes()).to_bytes();
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

/// Tokens that no check may take, each with what is wrong with it.
fn bad_tokens(good: &str, challenge: &str) -> Vec<(&'static str, String)> {
    let stranger = Stranger::new();
    let header = json!({"alg": "EdDSA", "kid": STRANGER, "typ": "ACCESS"});
    let claims = crate::tokens::claims(good);
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        stranger.sign(&header, &claims)
    };
    let other = |changes: Value| stranger.sign(&header, &with(claims.clone(), &changes));
    let headed = |changes: Value| stranger.sign(&with(header.clone(), &changes), &claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let [head, body, _] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let more = BASE64URL_NOPAD.encode(with(claims.clone(), &json!({"roles": ["admin"]})).to_string().as_bytes());
    vec![
        ("a challenge", challenge.to_owned()),
        ("another signature", format!("{signed}.{first}{}", &signature[1..])),
        ("no signature", format!("{signed}.")),
        ("other claims under the signature", format!("{head}.{more}.{signature}")),
        ("two parts", format!("{head}.{body}")),
        ("alg none", headed(json!({"alg": "none"}))),
        ("alg HS256", headed(json!({"alg": "HS256"}))),
        ("an unknown key", headed(json!({"kid": "another-key"}))),
        ("typ CHALLENGE in the header", headed(json!({"typ": "CHALLENGE"}))),
        ("typ CHALLENGE in the claims", other(json!({"typ": "CHALLENGE"}))),
        ("without typ in the claims", without("typ")),
        ("another issuer", other(json!({"iss": "somebody"}))),
        ("without issuer", without("iss")),
        ("another audience", other(json!({"aud": "mfad:challenge"}))),
        ("without audience", without("aud")),
        ("expired", other(json!({"exp": otp::now() - 1}))),
        ("without expiry", without("exp")),
        ("without subject", without("sub")),
    ]
}

/// Has a check look at tokens: a good one, one of the stranger's that is as good, and the bad ones. `check` takes the
/// socket, the keys that are listed as well, and tokens, and yields the `sub` of each, or null.
fn holds(check: impl FnOnce(&Host, &Value, &[String]) -> Vec<Value>) {
    let host = Host::start("");
    let (person, _, _) = host.guarded("anna");
    let challenge = host.password(&person).ok();
    assert_eq!(challenge["type"], "CHALLENGE");
    let header = json!({"alg": "EdDSA", "kid": STRANGER, "typ": "ACCESS"});
    let as_good = Stranger::new().sign(&header, &crate::tokens::claims(&person.token));
    let bad = bad_tokens(&person.token, challenge["token"].as_str().unwrap());
    let mut tokens = vec![person.token.clone(), as_good];
    tokens.extend(bad.iter().map(|(_, token)| token.clone()));

    let seen = check(&host, &Stranger::new().jwk(), &tokens);

    assert_eq!(seen.len(), tokens.len());
    assert_eq!(seen[..2], [json!(person.id), json!(person.id)]);
    for ((what, _), seen) in bad.iter().zip(&seen[2..]) {
        assert_eq!(*seen, Value::Null, "{what} was taken");
    }
}

/// Runs a printed block with some lines behind it. Those read the order and write a list.
fn run(mut program: Command, ending: &str, printed: &str, lines: &str, order: &Value) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join(format!("printed.{ending}"));
    std::fs::write(&script, format!("{printed}\n{lines}\n")).unwrap();
    let output = program.arg(script).arg(order.to_string()).output().unwrap();
    read(&output).as_array().unwrap().clone()
}

#[test]
fn the_printed_python_takes_access_tokens_and_nothing_else() {
    if !python_has("jwt, cryptography", "the_printed_python_takes_access_tokens_and_nothing_else") {
        return;
    }
    let lines = "
import sys
order = json.loads(sys.argv[1])
keys = keys_of(order['socket'])
keys.keys.append(jwt.PyJWK(order['also']))
def seen(token):
    try:
        return claims_of(token, keys)['sub']
    except jwt.PyJWTError:
        return None
print(json.dumps([seen(token) for token in order['tokens']]))";

    holds(|host, also, tokens| {
        let order = json!({"socket": host.socket(), "also": also, "tokens": tokens});
        run(python(), "py", block("python", "def claims_of("), lines, &order)
    });
}

#[test]
fn the_printed_javascript_takes_access_tokens_and_nothing_else() {
    let Some(node) = node("node:crypto", "the_printed_javascript_takes_access_tokens_and_nothing_else") else { return };
    let lines = "
(async () => {
  const order = JSON.parse(process.argv[2]);
  const keys = [...await keysOf(order.socket), order.also];
  const seen = token => {
    try {
      return claimsOf(token, keys).sub;
    } catch {
      return null;
    }
  };
  console.log(JSON.stringify(order.tokens.map(seen)));
})();";

    holds(|host, also, tokens| {
        let order = json!({"socket": host.socket(), "also": also, "tokens": tokens});
        run(node, "js", block("js", "function claimsOf("), lines, &order)
    });
}

#[test]
fn the_printed_rust_takes_access_tokens_and_nothing_else() {
    assert_eq!(format!("{}\n", block("rust", "fn claims_of(")), include_str!("clients/verify_token.rs"));
    // A second call in this process changes nothing.
    let _ = PROVIDER.install_default();

    holds(|host, also, tokens| {
        let mut keys = verify_token::keys_of(host.socket().to_str().unwrap()).unwrap();
        keys.keys.push(serde_json::from_value(also.clone()).unwrap());
        let seen = tokens.iter().map(|token| match verify_token::claims_of(token, &keys) {
            Ok(claims) => {
                assert!(claims.amr.iter().any(|way| way == "mfa"), "{claims:?}");
                json!(claims.sub)
            }
            Err(_) => Value::Null,
        });
        seen.collect()
    });
}

/// The arithmetic of the feature `rust_crypto` that tokens need, by the crate that it takes too. The feature itself
/// wants another version of `rsa` than the one that webauthn-rs needs.
static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: no_signer, verifier_factory: ed25519, key_utils: KeyUtils::new_unimplemented() };

struct Ed25519(VerifyingKey);

impl Verifier<Vec<u8>> for Ed25519 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        self.0.verify_strict(message, &Signature::from_slice(signature)?)
    }
}

impl JwtVerifier for Ed25519 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

fn ed25519(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    if *algorithm != Algorithm::EdDSA {
        return Err(new_error(ErrorKind::UnsupportedAlgorithm));
    }
    let bytes: &[u8; 32] = key.try_get_as_bytes()?.try_into().map_err(|_| new_error(ErrorKind::InvalidEddsaKey))?;
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| new_error(ErrorKind::InvalidEddsaKey))?;
    Ok(Box::new(Ed25519(key)))
}

fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(new_error(ErrorKind::UnsupportedAlgorithm))
}

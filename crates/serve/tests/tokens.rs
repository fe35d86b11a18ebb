//! Tokens of an OpenID Connect issuer: whose are taken, and what is refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use subrosa_serve::{ApiKeys, Clients, Limits, NewKey, Tokens};
use support::{Running, mlps, serve_as};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "subrosa";

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = |part: &[u8]| {
        let bits = (0..3).fold(0u32, |all, i| all << 8 | u32::from(part.get(i).copied().unwrap_or(0)));
        let digit = |i: usize| char::from(DIGITS[(bits >> (18 - 6 * i)) as usize & 63]);
        (0..=part.len()).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(digits).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An issuer with two keys, and its file of them.
struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    keys: tempfile::NamedTempFile,
}

impl Issuer {
    fn new() -> Self {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let issuer = Self { rsa, ec, keys: tempfile::NamedTempFile::new().unwrap() };
        let secret = json!({ "kty": "oct", "kid": "shared", "alg": "HS256", "k": base64url(&[7; 32]) });
        let mut sealing = issuer.ec_key("sealing");
        sealing["use"] = "enc".into();
        let keys = [issuer.rsa_key("r"), issuer.ec_key("e"), secret, sealing, json!({ "kty": "new", "kid": "n" })];
        issuer.publish(&keys);
        issuer
    }

    fn publish(&self, keys: &[Value]) {
        std::fs::write(self.keys.path(), json!({ "keys": keys }).to_string()).unwrap();
    }

    fn modulus(&self) -> Vec<u8> {
        PublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key()).n
    }

    fn rsa_key(&self, kid: &str) -> Value {
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": base64url(&n), "e": base64url(&e) })
    }

    /// Without `alg` and `use`, which a key may leave out.
    fn ec_key(&self, kid: &str) -> Value {
        let point = self.ec.public_key().as_ref();
        json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": base64url(&point[1..33]), "y": base64url(&point[33..]) })
    }

    fn tokens(&self, rate: Option<f64>) -> Tokens {
        Tokens::read(ISSUER, AUDIENCE, self.keys.path(), rate).unwrap()
    }

    fn rs256(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", base64url(&signature))
    }

    fn es256(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", base64url(signature.as_ref()))
    }
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()))
}

fn hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    format!("{message}.{}", base64url(aws_lc_rs::hmac::sign(&key, message.as_bytes()).as_ref()))
}

/// Claims that hold, for a while.
fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now() + 600, "nbf": now() - 1, "iat": now() - 1 })
}

fn with(key: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[key] = value.into();
    claims
}

fn without(key: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(key);
    claims
}

fn serve(clients: Clients) -> Running {
    let limits = Limits::default();
    serve_as(mlps(None, &limits), limits, |server| server.only_for(clients))
}

fn ask(server: &Running, token: &str) -> support::Reply {
    server.ask(&format!("GET /v2 HTTP/1.1\r\nauthorization: Bearer {token}"), b"")
}

#[test]
fn tokens_of_the_issuer_are_taken_and_no_others() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let server = serve(Clients::new(None, Some(issuer.tokens(None))));
    let (rs, es) = (json!({ "alg": "RS256", "kid": "r", "typ": "at+jwt" }), json!({ "alg": "ES256", "kid": "e" }));
    for token in [
        issuer.rs256(&rs, &claims()),
        issuer.es256(&es, &claims()),
        issuer.es256(&es, &with("aud", json!(["other", AUDIENCE]))),
        issuer.es256(&es, &without("nbf")),
        // Within what clocks may differ by.
        issuer.es256(&es, &with("exp", now() - 20)),
        issuer.es256(&es, &with("nbf", now() + 20)),
        issuer.es256(&es, &with("sub", "s".repeat(255))),
    ] {
        let reply = ask(&server, &token);
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let good = issuer.es256(&es, &claims());
    let (parts, dot) = (good.split('.').collect::<Vec<_>>(), good.rfind('.').unwrap());
    let der = issuer.rsa.public_key().as_der().unwrap();
    let huge = with("padding", "x".repeat(12_000));
    for (why, token) in [
        ("another's key", stranger.rs256(&rs, &claims())),
        ("another's key", stranger.es256(&es, &claims())),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", good[..dot].to_owned()),
        ("four parts", format!("{good}.x")),
        ("a signature of other claims", format!("{}.{}", message(&es, &with("sub", "root")), parts[2])),
        ("alg none", format!("{}.", message(&json!({ "alg": "none" }), &claims()))),
        ("alg none with a kid", format!("{}.", message(&json!({ "alg": "none", "kid": "e" }), &claims()))),
        ("alg nOnE", format!("{}.", message(&json!({ "alg": "nOnE", "kid": "e" }), &claims()))),
        // The public key as a secret, in several spellings.
        ("confused", hs256(&issuer.modulus(), &json!({ "alg": "HS256", "kid": "r" }), &claims())),
        ("confused", hs256(der.as_ref(), &json!({ "alg": "HS256", "kid": "r" }), &claims())),
        ("confused", hs256(issuer.ec.public_key().as_ref(), &json!({ "alg": "HS256", "kid": "e" }), &claims())),
        ("a shared secret", hs256(&[7; 32], &json!({ "alg": "HS256", "kid": "shared" }), &claims())),
        ("the other key", issuer.rs256(&json!({ "alg": "RS256", "kid": "e" }), &claims())),
        ("the other algorithm", issuer.rs256(&json!({ "alg": "ES256", "kid": "r" }), &claims())),
        ("an algorithm that the key is not for", issuer.rs256(&json!({ "alg": "RS512", "kid": "r" }), &claims())),
        ("no kid where there are two", issuer.es256(&json!({ "alg": "ES256" }), &claims())),
        ("a kid that nobody has", issuer.es256(&json!({ "alg": "ES256", "kid": "x" }), &claims())),
        ("a key for sealing", issuer.es256(&json!({ "alg": "ES256", "kid": "sealing" }), &claims())),
        ("a key of its own", {
            issuer.es256(&json!({ "alg": "ES256", "jwk": stranger.ec_key("e"), "jku": "http://127.0.0.1/" }), &claims())
        }),
        ("a header that must be understood", {
            issuer.es256(&json!({ "alg": "ES256", "kid": "e", "crit": ["b"], "b": 1 }), &claims())
        }),
        ("expired", issuer.es256(&es, &with("exp", now() - 120))),
        ("no end", issuer.es256(&es, &without("exp"))),
        ("an end that is no number", issuer.es256(&es, &with("exp", "tomorrow"))),
        ("before its time", issuer.es256(&es, &with("nbf", now() + 120))),
        ("a beginning that is no number", issuer.es256(&es, &with("nbf", "x"))),
        ("another issuer", issuer.es256(&es, &with("iss", "https://issuer.example.org"))),
        ("several issuers", issuer.es256(&es, &with("iss", json!([ISSUER])))),
        ("no issuer", issuer.es256(&es, &without("iss"))),
        ("another audience", issuer.es256(&es, &with("aud", "subrosa2"))),
        ("no audience", issuer.es256(&es, &without("aud"))),
        ("audiences without this", issuer.es256(&es, &with("aud", json!(["a", "b"])))),
        ("no subject", issuer.es256(&es, &without("sub"))),
        ("an empty subject", issuer.es256(&es, &with("sub", ""))),
        ("a subject that is no text", issuer.es256(&es, &with("sub", 7))),
        ("too long a subject", issuer.es256(&es, &with("sub", "s".repeat(256)))),
        ("too long", issuer.es256(&es, &huge)),
        ("nothing", "..".to_owned()),
        ("no base64", "!.!.!".to_owned()),
        ("no token", "subrosa_00".to_owned()),
    ] {
        let reply = ask(&server, &token);
        assert!(
            reply.status == 401 && reply.head.contains("invalid_token"),
            "{why}: {} {}",
            reply.status,
            reply.text()
        );
        assert!(!reply.text().contains("alice"), "{why}");
    }
    assert_eq!(server.get("/v2").status, 401);
    let metrics = server.ask(&format!("GET /metrics HTTP/1.1\r\nauthorization: Bearer {good}"), b"").text();
    assert!(metrics.contains("key=\"sub:alice\",status=\"200\"} 6"), "{metrics}");
}

#[test]
fn the_rate_is_a_subjects_and_keys_go_on_beside_tokens() {
    let issuer = Issuer::new();
    issuer.publish(&[issuer.rsa_key("only")]);
    let key = NewKey::make("alice").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &key.line).unwrap();
    let keys = ApiKeys::read(file.path(), Some(0.01)).unwrap();
    let server = serve(Clients::new(Some(keys), Some(issuer.tokens(Some(0.01)))));
    // One key in the file: a token need not say which.
    let token = |subject: &str, id: u64| {
        let mut claims = with("sub", subject);
        claims["jti"] = id.into();
        issuer.rs256(&json!({ "alg": "RS256" }), &claims)
    };
    assert_eq!(ask(&server, &token("alice", 1)).status, 200);
    let often = ask(&server, &token("alice", 2));
    assert!(often.status == 429 && often.head.contains("retry-after"), "another token of the same subject");
    assert_eq!(ask(&server, &token("bob", 1)).status, 200);
    assert_eq!(ask(&server, &key.key).status, 200, "the key's alice is another");
    assert_eq!(ask(&server, &key.key).status, 429);
    // Other keys, while it runs.
    let other = Issuer::new();
    server.handle.admit_only(Clients::new(None, Some(other.tokens(None))));
    assert_eq!(ask(&server, &token("carol", 1)).status, 401);
    assert_eq!(ask(&server, &other.es256(&json!({ "alg": "ES256", "kid": "e" }), &claims())).status, 200);
}

#[test]
fn a_file_without_a_key_of_use_is_refused() {
    let issuer = Issuer::new();
    let refused = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Tokens::read(ISSUER, AUDIENCE, file.path(), None).err().map(|error| error.to_string())
    };
    let twice = json!({ "keys": [issuer.ec_key("a"), issuer.rsa_key("a")] }).to_string();
    let mut damaged = issuer.ec_key("a");
    damaged["x"] = "!".into();
    for (text, said) in [
        ("", "no JSON Web Key Set"),
        ("{}", "no JSON Web Key Set"),
        ("{\"keys\":[]}", "no key for RS256 or ES256"),
        ("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "no key for RS256 or ES256"),
        (&twice, "the same kid"),
        (&json!({ "keys": [damaged] }).to_string(), "is damaged"),
    ] {
        let error = refused(text).unwrap_or_else(|| panic!("taken: {text}"));
        assert!(error.contains(said), "{error}");
    }
    assert!(Tokens::read(ISSUER, AUDIENCE, std::path::Path::new("/none"), None).is_err());
}

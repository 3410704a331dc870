//! The policy that docs/queue.md gives for a host's credentials, tried on moto: what they may do with
//! each kind of object in the layout, and with what is nobody's.
//!
//! moto 5.2.5 holds a policy's actions and resources. Its conditions it passes over (`Null` and
//! `StringLike` are not among those that it knows), and it takes the removal of many objects in one
//! request, which is how dyno's client removes one, for an action on the bucket. So what is tried is
//! which names may be read, written and removed, each by a request of its own; not that a name is only
//! created, or replaced version by version, nor which names are listed.

use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};

use crate::LOOPBACK;
use crate::server::{S3Server, URL, ask};

/// The policy in docs/queue.md, for a host called `one`, of the bucket and prefix of [`URL`].
fn policy() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/queue.md");
    let text = std::fs::read_to_string(file).unwrap();
    let (_, rest) = text.split_once("```json\n").unwrap();
    let (policy, _) = rest.split_once("```").unwrap();
    let (bucket, prefix) = URL.strip_prefix("s3://").unwrap().split_once('/').unwrap();
    let policy = policy.replace("BUCKET", bucket).replace("PREFIX", prefix).replace("HOST", "one");
    assert!(policy.contains("arn:aws:s3:::dyno/store/queue/hosts/one.json"), "{policy}");
    policy
}

/// The headers by which moto takes a request for one to its IAM.
const IAM_HEADERS: &str = "content-type: application/x-www-form-urlencoded\r\n\
    authorization: AWS4-HMAC-SHA256 Credential=test/20250101/us-east-1/iam/aws4_request, \
    SignedHeaders=host, Signature=0\r\n";

/// Asks the server's IAM about the user `bench`; the whole answer.
fn iam(server: &S3Server, action: &str, more: &[(&str, &str)]) -> String {
    let fixed = [("Action", action), ("Version", "2010-05-08"), ("UserName", "bench")];
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", encoded(value));
    let form: Vec<String> = fixed.iter().chain(more).map(pair).collect();
    let answer = ask(&server.address, "POST", "/", IAM_HEADERS, &form.join("&")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{action}: {answer}");
    answer
}

/// The credentials of a user who may do what `policy` says; from here on the server asks for such.
fn credentials_under(server: &S3Server, policy: &str) -> AwsCredential {
    iam(server, "CreateUser", &[]);
    iam(server, "PutUserPolicy", &[("PolicyName", "host"), ("PolicyDocument", policy)]);
    let key = iam(server, "CreateAccessKey", &[]);
    let field = |name: &str| {
        let (_, rest) = key.split_once(&format!("<{name}>")).unwrap();
        rest.split_once("</").unwrap().0.to_string()
    };
    let (key_id, secret_key) = (field("AccessKeyId"), field("SecretAccessKey"));
    let held = ask(&server.address, "POST", "/moto-api/reset-auth", "", "0").unwrap();
    assert!(held.starts_with("HTTP/1.1 200 "), "{held}");
    AwsCredential { key_id, secret_key, token: None }
}

/// The answer to a request that is signed with the credentials.
fn answer(server: &S3Server, credential: &AwsCredential, method: &str, place: &str) -> String {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = format!("http://{}/{place}", server.address).parse().unwrap();
    AwsAuthorizer::new(credential, "s3", "us-east-1").authorize(&mut request, None);
    let headers = request.headers().iter();
    let headers: String =
        headers.map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
    ask(&server.address, method, &format!("/{place}"), &headers, "").unwrap()
}

/// Whether the request is allowed to whoever has the credentials.
fn is_allowed(server: &S3Server, credential: &AwsCredential, method: &str, place: &str) -> bool {
    let answer = answer(server, credential, method, place);
    let status = answer.split(' ').nth(1).unwrap_or_default();
    match status {
        "200" | "204" | "404" => true,
        "403" if answer.contains("<Code>AccessDenied</Code>") => false,
        _ => panic!("{method} {place}: {answer}"),
    }
}

/// Each kind of object: whether the host may read, write and remove it.
const RIGHTS: [(&str, [bool; 3]); 20] = [
    // What it measured it creates, and never removes.
    ("store/samples/arch=x86_64/month=2026-01/x.parquet", [true, true, false]),
    ("store/summaries/arch=x86_64/month=2026-01/x.parquet", [true, true, false]),
    ("store/units/arch=x86_64/month=2026-01/x.parquet", [true, true, false]),
    ("store/runs/arch=x86_64/month=2026-01/x.parquet", [true, true, false]),
    ("store/definitions/x.tar.zst", [true, true, false]),
    ("store/queue/results/x.json", [true, true, false]),
    // Any agent completes a request whose asker died.
    ("store/queue/requests/x.json", [true, true, false]),
    ("store/queue/open/x", [true, false, true]),
    ("store/queue/jobs/x.json", [true, true, true]),
    ("store/queue/claims/x.json", [true, true, true]),
    ("store/queue/probes/x", [true, true, true]),
    ("store/_writable", [true, true, true]),
    // Of the entries of hosts its own alone.
    ("store/queue/hosts/one.json", [true, true, false]),
    ("store/queue/hosts/two.json", [true, false, false]),
    ("store/queue/hosts/one.json.json", [true, false, false]),
    // Whoever asks writes bundles, and a host reads them.
    ("store/queue/bundles/x.bundle", [true, false, false]),
    ("store/queue/.lock", [true, false, false]),
    ("store/anything", [true, false, false]),
    ("elsewhere/runs/x.parquet", [false, false, false]),
    ("storehouse/runs/x.parquet", [false, false, false]),
];

#[tokio::test]
async fn a_host_writes_its_own_and_nothing_else() {
    let Some(server) = S3Server::moto(LOOPBACK) else { return };
    let host = credentials_under(&server, &policy());
    for (name, expected) in RIGHTS {
        let methods = ["GET", "PUT", "DELETE"];
        let found =
            methods.map(|method| is_allowed(&server, &host, method, &format!("dyno/{name}")));
        assert_eq!(found, expected, "{name}: {methods:?}");
    }
    assert!(is_allowed(&server, &host, "GET", "dyno?list-type=2&prefix=store"));
    for (method, place) in [("DELETE", "dyno"), ("PUT", "another"), ("PUT", "dyno?policy")] {
        assert!(!is_allowed(&server, &host, method, place), "{method} {place}");
    }
    let stranger = AwsCredential { secret_key: "wrong".into(), ..host };
    let refused = answer(&server, &stranger, "GET", "dyno/store/runs/x");
    assert!(refused.contains("<Code>SignatureDoesNotMatch</Code>"), "{refused}");
}

//! The cluster's administrator over one connection that stays: looks and bulk work that would take kubectl minutes.

use http::{Method, Request};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::support::*;

/// Requests that are under way at once in bulk work.
const PARALLEL: usize = 16;

pub struct Admin {
    runtime: Runtime,
    client: Client,
}

/// A request: method, path and body (null for none).
pub type Asked = (Method, String, Value);

async fn send(client: Client, (method, path, body): Asked) -> (u16, Value) {
    let kind = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).expect("JSON") };
    let request = Request::builder()
        .method(method.clone())
        .uri(&path)
        .header("Content-Type", kind)
        .body(Body::from(bytes))
        .expect("request");
    let answer = client.send(request).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.expect("body").to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

impl Default for Admin {
    fn default() -> Self {
        Self::new()
    }
}

impl Admin {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(bed("BENCH_KUBECONFIG")).expect("kubeconfig");
            let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .expect("configuration");
            Client::try_from(config).expect("client")
        });
        Self { runtime, client }
    }

    /// Status and answer.
    pub fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.runtime.block_on(send(self.client.clone(), (method, path.to_owned(), body)))
    }

    /// An answer that must be a success.
    pub fn done(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method.clone(), path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    pub fn get(&self, path: &str) -> Value {
        self.done(Method::GET, path, Value::Null)
    }

    /// Whether something is there.
    pub fn exists(&self, path: &str) -> bool {
        let (status, answer) = self.ask(Method::GET, path, Value::Null);
        assert!(status == 200 || status == 404, "{path}: {status} {answer}");
        status == 200
    }

    /// Sends many requests, some at once; every answer must be a success. Answers come in the order of the requests.
    pub fn all(&self, requests: impl IntoIterator<Item = Asked>) -> Vec<Value> {
        self.runtime.block_on(async {
            let mut answers = Vec::new();
            let mut running = JoinSet::new();
            let mut take = |(index, asked, (status, answer)): (usize, String, (u16, Value))| {
                assert!((200..300).contains(&status), "{asked}: {status} {answer}");
                if answers.len() <= index {
                    answers.resize(index + 1, Value::Null);
                }
                answers[index] = answer;
            };
            for (index, request) in requests.into_iter().enumerate() {
                if running.len() >= PARALLEL {
                    take(running.join_next().await.expect("one").expect("request"));
                }
                let client = self.client.clone();
                running.spawn(async move {
                    let asked = format!("{} {}", request.0, request.1);
                    (index, asked, send(client, request).await)
                });
            }
            while let Some(ended) = running.join_next().await {
                take(ended.expect("request"));
            }
            answers
        })
    }

    /// A namespace as an administrator prepares one, for `owner` (the canonical text of its annotation).
    pub fn namespace(&self, name: &str, owner: &Value) {
        self.done(
            Method::POST,
            "/api/v1/namespaces",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
                "name": name,
                "labels": {"spark-submit-as/managed": "true"},
                "annotations": {"spark-submit-as/owner": owner.to_string()},
            }}),
        );
        self.until_usable(name);
    }

    /// The cluster gives a new namespace its default account a moment later.
    pub fn until_usable(&self, namespace: &str) {
        until("the namespace has its own objects", || {
            self.exists(&format!("/api/v1/namespaces/{namespace}/serviceaccounts/default"))
                && self.exists(&format!("/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt"))
        });
    }
}

/// Path of a collection, or of one object in it.
pub fn path(resource: &str, namespace: &str, name: &str) -> String {
    let group = if resource == "rolebindings" { "/apis/rbac.authorization.k8s.io/v1" } else { "/api/v1" };
    let name = if name.is_empty() { String::new() } else { format!("/{name}") };
    format!("{group}/namespaces/{namespace}/{resource}{name}")
}

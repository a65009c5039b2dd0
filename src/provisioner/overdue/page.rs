//! The list of jobs' accounts, page by page. No more than one is held.

use http::StatusCode;
use serde::Deserialize;
use spark_submit_as::policy::names::NamespaceName;
use spark_submit_as::protocol::JOB_LABEL;

use super::candidate::Item;
use super::unusable;
use crate::api::{Answer, Api};
use crate::fault::Fault;
use crate::teardown::said;

/// Accounts in a page.
const LIMIT: u32 = 250;
/// Longest token for the next page.
const MAX_TOKEN: usize = 8 << 10;

/// A walk through the pages.
pub struct Pages {
    collection: String,
    /// What the next page is asked for with; none when there is none.
    next: Option<String>,
    limit: u32,
    restarted: bool,
}

/// What the next page is.
pub enum Page {
    /// Accounts.
    Accounts(Accounts),
    /// There is none.
    Last,
    /// RBAC refuses the list.
    NotAllowed(String),
}

/// Accounts, and
pub struct Accounts {
    /// in the order of their namespaces,
    pub items: Vec<Item>,
    /// the server's clock when it made the list.
    pub date: i64,
}

#[derive(Deserialize)]
struct List {
    kind: String,
    #[serde(default)]
    metadata: ListMetadata,
    /// `null` when there are none.
    items: Option<Vec<Item>>,
}

#[derive(Deserialize, Default)]
struct ListMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// A refusal that tells how to go on.
#[derive(Deserialize)]
struct Expired {
    #[serde(default)]
    metadata: ListMetadata,
}

impl Pages {
    /// Of one namespace, or of all.
    pub fn of(namespace: Option<&NamespaceName>) -> Self {
        let collection = match namespace {
            Some(namespace) => crate::objects::collection("serviceaccounts", namespace.as_str()),
            None => "/api/v1/serviceaccounts".to_owned(),
        };
        Self { collection, next: Some(String::new()), limit: LIMIT, restarted: false }
    }

    /// The next page.
    pub async fn next(&mut self, api: &Api) -> Result<Page, Fault> {
        loop {
            let Some(token) = &self.next else { return Ok(Page::Last) };
            let answer = match api.list(&self.path(token)).await {
                Ok(answer) => answer,
                // Annotations may be large, and whoever makes one such account must not keep the others from being seen.
                Err(fault) if fault.too_long && self.limit > 1 => {
                    self.limit = (self.limit / 8).max(1);
                    continue;
                }
                Err(fault) => return Err(fault.doing("list serviceaccounts")),
            };
            match answer.status {
                StatusCode::FORBIDDEN => {
                    return Ok(Page::NotAllowed(format!("list serviceaccounts: {}", said(&answer))));
                }
                StatusCode::GONE if !token.is_empty() => self.expired(&answer)?,
                _ => return self.page(answer).map(Page::Accounts),
            }
        }
    }

    fn path(&self, token: &str) -> String {
        let mut path = format!(
            "{}?labelSelector={}&limit={}",
            self.collection,
            JOB_LABEL.replace('/', "%2F"),
            self.limit
        );
        if !token.is_empty() {
            path.push_str("&continue=");
            for byte in token.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    path.push(char::from(byte));
                } else {
                    path.push_str(&format!("%{byte:02X}"));
                }
            }
        }
        path
    }

    /// The snapshot that the pages are from is gone. The server says how to go on in a new one; otherwise this begins
    /// again, once.
    fn expired(&mut self, answer: &Answer) -> Result<(), Fault> {
        let next = answer.object::<Expired>().ok().and_then(|expired| expired.metadata.next);
        match next {
            Some(next) => self.turn(Some(next)),
            None if self.restarted => Err(unusable("ends before the list does, again and again")),
            None => {
                self.restarted = true;
                self.next = Some(String::new());
                Ok(())
            }
        }
    }

    fn page(&mut self, answer: Answer) -> Result<Accounts, Fault> {
        let answer = answer.success("list serviceaccounts")?;
        let date = answer.date.ok_or_else(|| unusable("does not tell what time it is there"))?;
        let list: List = answer.object().map_err(|fault| fault.doing("list serviceaccounts"))?;
        if list.kind != "PartialObjectMetadataList" {
            return Err(unusable("is no such list"));
        }
        self.turn(list.metadata.next)?;
        self.limit = (self.limit * 2).min(LIMIT);
        Ok(Accounts { items: list.items.unwrap_or_default(), date })
    }

    fn turn(&mut self, next: Option<String>) -> Result<(), Fault> {
        let next = next.filter(|token| !token.is_empty());
        if next.is_some() && next == self.next {
            return Err(unusable("leads to itself"));
        }
        if next.as_ref().is_some_and(|token| token.len() > MAX_TOKEN) {
            return Err(unusable("has a token that is too long"));
        }
        self.next = next;
        Ok(())
    }
}

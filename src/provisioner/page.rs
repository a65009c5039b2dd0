//! A list of objects' metadata, page by page. No more than one is held.

use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use spark_submit_as::exit::ExitCode;

use crate::api::{Answer, Api};
use crate::fault::Fault;
use crate::teardown::said;

/// Objects in a page.
const LIMIT: u32 = 250;
/// Longest token for the next page.
const MAX_TOKEN: usize = 8 << 10;

/// A walk through the pages.
pub struct Pages {
    collection: String,
    selector: &'static str,
    what: String,
    /// What the next page is asked for with; none when there is none.
    next: Option<String>,
    limit: u32,
    restarted: bool,
}

/// What the next page is.
pub enum Page<T> {
    /// Objects.
    Objects(Objects<T>),
    /// There is none.
    Last,
    /// RBAC refuses the list.
    NotAllowed(String),
}

/// Objects, and
pub struct Objects<T> {
    /// in the order of their namespaces,
    pub items: Vec<T>,
    /// the server's clock when it made the list.
    pub date: i64,
}

#[derive(Deserialize)]
struct List<T> {
    kind: String,
    #[serde(default)]
    metadata: ListMetadata,
    /// `null` when there are none.
    items: Option<Vec<T>>,
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
    /// Of a collection, those that `selector` (escaped for a query) takes.
    pub fn of(collection: String, selector: &'static str) -> Self {
        let resource = collection.rsplit('/').next().unwrap_or_default();
        let what = format!("list {resource}");
        Self { collection, selector, what, next: Some(String::new()), limit: LIMIT, restarted: false }
    }

    /// The next page.
    pub async fn next<T: DeserializeOwned>(&mut self, api: &Api) -> Result<Page<T>, Fault> {
        loop {
            let Some(token) = &self.next else { return Ok(Page::Last) };
            let answer = match api.list(&self.path(token)).await {
                Ok(answer) => answer,
                // Annotations may be large, and whoever makes one such account must not keep the others from being seen.
                Err(fault) if fault.too_long && self.limit > 1 => {
                    self.limit = (self.limit / 8).max(1);
                    continue;
                }
                Err(fault) => return Err(fault.doing(&self.what)),
            };
            match answer.status {
                StatusCode::FORBIDDEN => {
                    return Ok(Page::NotAllowed(format!("{}: {}", self.what, said(&answer))));
                }
                StatusCode::GONE if !token.is_empty() => self.expired(&answer)?,
                _ => return self.page(answer).map(Page::Objects),
            }
        }
    }

    fn path(&self, token: &str) -> String {
        let mut path = format!("{}?labelSelector={}&limit={}", self.collection, self.selector, self.limit);
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
            None if self.restarted => Err(self.unusable("ends before the list does, again and again")),
            None => {
                self.restarted = true;
                self.next = Some(String::new());
                Ok(())
            }
        }
    }

    fn page<T: DeserializeOwned>(&mut self, answer: Answer) -> Result<Objects<T>, Fault> {
        let answer = answer.success(&self.what)?;
        let date = answer.date.ok_or_else(|| self.unusable("does not tell what time it is there"))?;
        let list: List<T> = answer.object().map_err(|fault| fault.doing(&self.what))?;
        if list.kind != "PartialObjectMetadataList" {
            return Err(self.unusable("is no such list"));
        }
        self.turn(list.metadata.next)?;
        self.limit = (self.limit * 2).min(LIMIT);
        Ok(Objects { items: list.items.unwrap_or_default(), date })
    }

    fn turn(&mut self, next: Option<String>) -> Result<(), Fault> {
        let next = next.filter(|token| !token.is_empty());
        if next.is_some() && next == self.next {
            return Err(self.unusable("leads to itself"));
        }
        if next.as_ref().is_some_and(|token| token.len() > MAX_TOKEN) {
            return Err(self.unusable("has a token that is too long"));
        }
        self.next = next;
        Ok(())
    }

    /// A page that cannot be used.
    fn unusable(&self, problem: &str) -> Fault {
        Fault::new(ExitCode::ClusterRefused, format!("{}: the API server's answer {problem}", self.what))
    }
}

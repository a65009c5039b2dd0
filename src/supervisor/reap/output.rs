//! What `reap` prints, job by job as it happens: ten thousand of them need no memory.

use std::io::Write;

use serde_json::Value;

/// The lists of the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Dead jobs of this host.
    Jobs,
    /// Overdue jobs of any host.
    Overdue,
}

/// Standard output. A reader that has gone does not stop a reap.
pub struct Output {
    json: bool,
    quiet: bool,
    section: Option<Section>,
    first: bool,
}

fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

impl Output {
    /// For people, or as one JSON object; quiet, only what stays.
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, section: None, first: true }
    }

    /// The jobs that follow belong to this list.
    pub fn begin(&mut self, section: Section) {
        if self.json {
            print(match section {
                Section::Jobs => "{\"jobs\":[",
                Section::Overdue => "\n],\"overdue\":[",
            });
        }
        self.section = Some(section);
        self.first = true;
    }

    /// One job.
    pub fn job(&mut self, told: &Value) {
        if self.json {
            print(&format!("{}\n{told}", if self.first { "" } else { "," }));
            self.first = false;
            return;
        }
        let failures: Vec<&str> = told
            .get("failures")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if self.quiet && failures.is_empty() {
            return;
        }
        let text = |key: &str| told.get(key).and_then(Value::as_str).unwrap_or_default();
        let what = match self.section {
            Some(Section::Overdue) => format!("overdue job {} of host {}", text("job"), text("host")),
            _ => format!("dead job {}", text("job")),
        };
        print(&format!("{} {what} in namespace {}\n", text("outcome"), text("namespace")));
        let tries = told.get("tries").and_then(Value::as_u64).map_or_else(String::new, |tries| {
            let age = told.get("failing_seconds").and_then(Value::as_u64).unwrap_or_default();
            format!(" (tried {tries} times in {age} s)")
        });
        for failure in failures {
            print(&format!("  {failure}{tries}\n"));
        }
    }

    /// The rest.
    pub fn end(&mut self, rest: &Value) {
        if self.json {
            let rest = rest.to_string();
            print(&format!("\n],{}\n", rest.strip_prefix('{').unwrap_or(&rest)));
            let _ = std::io::stdout().flush();
            return;
        }
        for key in ["quarantined", "failures"] {
            for line in
                rest.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
            {
                print(&format!("{key}: {line}\n"));
            }
        }
        if self.quiet {
            return;
        }
        let number = |key: &str| rest.get(key).and_then(Value::as_u64).unwrap_or_default();
        print(&format!("{} live jobs, {} old records forgotten\n", number("live"), number("forgotten")));
        let _ = std::io::stdout().flush();
    }
}

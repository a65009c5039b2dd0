//! What failed executors said, gathered and bounded.

use std::collections::BTreeSet;

use spark_submit_as::protocol::{Finding, MAX_FINDINGS};

use super::pod::Pod;

/// Pods that are known again, so that none is counted twice when a watch begins anew.
const MAX_KNOWN: usize = 1024;

/// Failures of a job's executors, the latest last.
#[derive(Default)]
pub struct Failures {
    known: BTreeSet<String>,
    findings: Vec<Finding>,
}

impl Failures {
    /// Takes note of a pod, if it has failed.
    pub fn note(&mut self, pod: &Pod) {
        if !pod.has_failed() {
            return;
        }
        if self.known.len() < MAX_KNOWN && !self.known.insert(pod.metadata.uid.clone()) {
            return;
        }
        let (trouble, text, lines) = pod.failed();
        let same = |found: &Finding| found.trouble == trouble && found.text == text;
        let pods = match self.findings.iter().position(same) {
            Some(at) => self.findings.remove(at).pods,
            None => 0,
        };
        if self.findings.len() >= MAX_FINDINGS {
            self.findings.remove(0);
        }
        self.findings.push(Finding { trouble, pods: pods.saturating_add(1), text, lines });
    }

    /// What there is so far.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.clone()
    }
}

//! `namespace …`: an administrator's work on managed namespaces, with a kubeconfig that the administrator names.
//!
//! Root decides here and asks a provisioner that holds that kubeconfig for one thing after the other. The cluster's own
//! identity may do none of it: it can neither list nor delete a namespace, nor change whose one is.

use std::time::Duration;

use super::cluster::{self, Session};
use super::events::Events;
use super::lookup::Record;
use super::startup::CallerUid;
use super::{Failure, Outcome, plan};
use crate::cli::{Administrator, NamespaceVerb, PoliciesVerb};
use crate::exit::ExitCode;
use crate::policy::config::{Cluster, Config, Profile};
use crate::policy::names::NamespaceName;
use crate::policy::owner::Owner;
use crate::protocol::namespaces::{Contents, LookInto, MAX_KINDS, MAX_NAMED, SeenNamespace};
use crate::protocol::{Reply, Request};

mod adopt;
mod list;
mod memory;
mod policies;
mod prune;
mod users;

/// For the list of all namespaces, and for one that has much in it.
const PATIENCE: Duration = Duration::from_secs(300);
/// Most problems of one reply of a provisioner that are told; it tells fewer.
const MAX_PROBLEMS: usize = 128;

/// Does what the command line says.
///
/// # Errors
/// The refusal or failure that ends the call.
pub fn dispatch(config: &Config, verb: &NamespaceVerb) -> Result<Outcome, Failure> {
    match verb {
        NamespaceVerb::List(args) => list::list(config, args),
        NamespaceVerb::Adopt(args) => adopt::adopt(config, args),
        NamespaceVerb::Policies(PoliciesVerb::Apply(args)) => policies::apply(config, args),
        NamespaceVerb::Prune(args) => prune::prune(config, args),
    }
}

/// Whose rights are used where.
struct Office<'a> {
    config: &'a Config,
    /// The cluster's name in the configuration.
    name: &'a str,
    /// The cluster with the administrator's kubeconfig in place of its own.
    cluster: Cluster,
    /// The account that holds it.
    holder: Record,
}

impl<'a> Office<'a> {
    fn new(config: &'a Config, administrator: &Administrator) -> Result<Self, Failure> {
        let (name, cluster) = chosen(config, administrator.cluster.as_deref())?;
        let cluster = Cluster {
            kubeconfig: administrator.kubeconfig.clone(),
            context: administrator.context.clone(),
            ..cluster.clone()
        };
        Ok(Self { config, name, cluster, holder: holder(config)? })
    }

    fn session(&self) -> Session<'_> {
        Session::new(self.config, &self.cluster, &self.holder)
    }

    /// Profiles of this cluster whose template gives a namespace for an owner, with their names.
    fn profiles<'b>(
        &'b self,
        owner: &'b Owner,
        name: &'b NamespaceName,
    ) -> impl Iterator<Item = (&'a str, &'a Profile)> + 'b {
        let ours = self.config.profiles.iter().filter(|(_, profile)| profile.cluster == self.name);
        ours.filter(|(_, profile)| owner.gives(&profile.namespace.template, name))
            .map(|(name, profile)| (name.as_str(), profile))
    }
}

/// The cluster that is meant.
fn chosen<'a>(config: &'a Config, name: Option<&str>) -> Result<(&'a str, &'a Cluster), Failure> {
    let mut all = config.clusters.iter();
    let found = match name {
        Some(name) => config.clusters.get_key_value(name),
        None => all.next().filter(|_| all.next().is_none()),
    };
    let rule = match name {
        Some(_) => "--cluster names no cluster of the configuration",
        None => "the configuration has several clusters; say which (--cluster)",
    };
    found.map(|(name, cluster)| (name.as_str(), cluster)).ok_or_else(|| Failure::new(ExitCode::Usage, rule))
}

/// The account that holds the administrator's credential. An account of the platform's could take it from there.
fn holder(config: &Config) -> Result<Record, Failure> {
    let (key, name) = match &config.namespaces.account {
        Some(name) => ("namespaces.account", name),
        None => ("provisioner", &config.provisioner),
    };
    let record = cluster::account(config, key, name)?;
    let calls = match plan::authorize_caller(config, CallerUid::Account(record.uid)) {
        Ok(_) => true,
        Err(failure) if failure.code == ExitCode::CallerRefused => false,
        Err(failure) => return Err(failure),
    };
    if calls {
        return Err(Failure::new(
            ExitCode::ConfigInvalid,
            format!(
                "`{key}` is a caller's account, and the platform could take the administrator's credential from its \
                 processes; name a system account of its own in `namespaces.account`"
            ),
        ));
    }
    Ok(record)
}

/// All managed namespaces, as a cluster told them.
struct Listed {
    namespaces: Vec<SeenNamespace>,
    date: i64,
    server: String,
    problems: Vec<String>,
}

fn listed(session: &mut Session<'_>, events: &mut Events) -> Result<Listed, Failure> {
    let mut namespaces = Vec::new();
    session.ask(events, &Request::ListNamespaces, PATIENCE, |reply| match reply {
        Reply::Namespace(namespace) => {
            namespaces.push(namespace);
            None
        }
        Reply::NamespacesDone { date, server, mut problems } => {
            problems.truncate(MAX_PROBLEMS);
            let namespaces = std::mem::take(&mut namespaces);
            Some(Listed { namespaces, date, server, problems })
        }
        _ => None,
    })
}

/// One namespace, and what is in it.
struct Looked {
    namespace: SeenNamespace,
    contents: Vec<Contents>,
    problems: Vec<String>,
    server: String,
}

fn looked_into(
    session: &mut Session<'_>,
    events: &mut Events,
    name: &NamespaceName,
    contents: bool,
) -> Result<Looked, Failure> {
    let request = Request::LookInto(LookInto { name: name.clone(), contents });
    let looked = session.ask(events, &request, PATIENCE, |reply| match reply {
        Reply::Inside { namespace, mut contents, mut problems, server } => {
            contents.truncate(MAX_KINDS);
            contents.iter_mut().for_each(|kind| kind.names.truncate(MAX_NAMED));
            problems.truncate(MAX_PROBLEMS);
            Some(Looked { namespace, contents, problems, server })
        }
        _ => None,
    })?;
    if looked.namespace.name == *name {
        Ok(looked)
    } else {
        Err(Failure::new(ExitCode::Provisioner, "the provisioner told about another namespace"))
    }
}

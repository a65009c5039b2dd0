//! Makes what a job needs: looks at the fence and at the namespace, then account, binding, secret, token.
//!
//! Each object is told to the supervisor as soon as it exists, so that it can be taken back whoever dies.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;
use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::{ClusterAccess, Kind, Provision, Reply, TearDown};

use crate::api::Api;
use crate::credential::Credential;
use crate::fault::Fault;
use crate::join::both;
use crate::namespace::Ensured;
use crate::objects;
use crate::wire::Wire;
use crate::{
    address, executors, expiry, fault, fence, isolation, namespace, network, policies, token, volume,
};

/// Makes everything. `made` says from the first request on that may have made something what is to be taken back.
pub async fn provision(
    api: &Api,
    access: &ClusterAccess,
    credential: &Credential,
    wanted: &Provision,
    wire: &mut Wire,
    made: &mut Option<TearDown>,
) -> Result<Reply, Fault> {
    let began = Instant::now();
    let servers = address::of_server(&credential.server, access).await?;
    let local_address = address::towards(&servers)?;
    let place = &wanted.namespace;
    let looked = async {
        let warning = fence::fence(api, access).await?;
        Ok::<_, Fault>((warning, namespace::look(api, place).await?))
    };
    // What policies keep is read beside that.
    let (looked, mut live) = both(looked, policies::read(api, place)).await;
    let (warning, found) = looked?;
    let mut namespace_created = false;
    let found = match found {
        Some(found) => found,
        None => match namespace::make(api, place, wire).await? {
            Ensured::Made(made) => {
                namespace_created = true;
                live = policies::Live::nothing(place);
                made
            }
            Ensured::There(found) => {
                live = policies::read(api, place).await;
                found
            }
        },
    };
    go_on(wire)?;
    let until = began + Duration::from_secs(wanted.quota_seconds);
    let mut mended = policies::keep(api, place, &found, live, until, wire).await?;
    go_on(wire)?;
    let namespace = place.name.as_str();
    mended.extend(executors::account(api, place, wire).await?);
    go_on(wire)?;

    let name = wanted.job.object_name();
    let mut job = TearDown {
        job: wanted.job.clone(),
        namespace: wanted.namespace.name.clone(),
        account_uid: None,
        binding_uid: None,
        seconds: 0,
    };
    let nonce = objects::nonce()?;
    let covered = expiry::covered(api, wanted.token_seconds);
    let account = objects::account(wanted, &nonce, covered.and_then(expiry::text));
    *made = Some(job.clone());
    let account_uid = match create(api, "serviceaccounts", namespace, &account).await {
        Ok(uid) => uid,
        Err(fault) => {
            if !fault.perhaps {
                *made = None;
            }
            return Err(fault);
        }
    };
    job.account_uid = Some(account_uid.clone());
    *made = Some(job.clone());
    created(wire, Kind::Account, &name, &account_uid).await?;
    go_on(wire)?;

    let binding = objects::binding(wanted, &access.driver_role, &account_uid);
    let binding_uid = create(api, "rolebindings", namespace, &binding).await?;
    job.binding_uid = Some(binding_uid.clone());
    *made = Some(job);
    created(wire, Kind::Binding, &name, &binding_uid).await?;
    go_on(wire)?;

    // All of this is the account's, so that it goes with it; and it is there before there is a token.
    let secret = async {
        match &wanted.auth_secret {
            Some(secret) => {
                // An executor has it in its environment, and may write that into its log.
                fault::hide(secret.0.expose());
                fault::hide(&objects::encoded(secret.0.expose()));
                let object = objects::secret(wanted, secret.0.expose(), &account_uid);
                create(api, "secrets", namespace, &object).await.map(Some)
            }
            None => Ok(None),
        }
    };
    let network = async {
        if let Some(network) = &wanted.network {
            let policy =
                network::policy(wanted, network, &account_uid, local_address, &servers, access).await?;
            create(api, "networkpolicies", namespace, &policy).await?;
        }
        Ok::<_, Fault>(())
    };
    let volume = async {
        match &wanted.volume {
            Some(claim) => volume::provide(api, wanted, claim, &account_uid).await,
            None => Ok(()),
        }
    };
    let (secret, (network, volume)) = both(secret, both(network, volume)).await;
    network.and(volume)?;
    if let Some(uid) = secret? {
        created(wire, Kind::Secret, &name, &uid).await?;
        go_on(wire)?;
    }
    let account = expiry::Account { namespace, job: &wanted.job, uid: Some(&account_uid) };
    let gone = || Fault::new(ExitCode::TokenRefused, format!("{name} is gone before it had a token"));
    let granted = token::request(api, &account, wanted.token_seconds).await?.ok_or_else(gone)?;
    if covered.is_none_or(|end| granted.expires_at > end) {
        expiry::postpone(api, &account, granted.expires_at).await?.ok_or_else(gone)?;
    }
    let mut warnings: Vec<String> = warning.into_iter().collect();
    if wanted.isolation_required {
        let job = credential.client_of_job(access, &granted.token.0)?;
        let warning =
            isolation::in_force(&job, api, &wanted.namespace, &wanted.job, &granted.audiences).await?;
        warnings.extend(warning);
    }
    Ok(Reply::Provisioned {
        server: credential.server.clone(),
        certificate_authority_data: credential.certificate_authority_data.clone(),
        tls_server_name: credential.tls_server_name.clone(),
        proxy_url: credential.proxy_url.clone(),
        local_address: local_address.to_string(),
        token: granted.token,
        expires_at: granted.expires_at,
        granted_at: granted.granted_at,
        namespace_created,
        warnings,
        mended,
    })
}

fn go_on(wire: &Wire) -> Result<(), Fault> {
    if wire.interrupted() {
        Err(Fault::new(ExitCode::Provisioner, "told to stop before everything was made"))
    } else {
        Ok(())
    }
}

async fn created(wire: &mut Wire, kind: Kind, name: &str, uid: &str) -> Result<(), Fault> {
    wire.reply(&Reply::Created { kind, name: name.to_owned(), uid: uid.to_owned() }).await
}

/// A text in an answer, empty when it is not there.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The refusal of an answer; what was asked for may have been done nevertheless.
pub fn unusable(what: &str) -> Fault {
    Fault::new(ExitCode::ClusterRefused, format!("the API server's answer cannot be used: {what}")).perhaps()
}

/// The uid of an object in an answer.
pub fn known_uid(object: &Value) -> Result<String, Fault> {
    match text(object, "/metadata/uid") {
        uid if (1..=64).contains(&uid.len())
            && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') =>
        {
            Ok(uid.to_owned())
        }
        _ => Err(unusable("it has no uid")),
    }
}

/// Creates an object of the job's and returns its uid.
///
/// Its name has 80 random bits, so one of that name that exists at the first try is a collision or an attack: nothing is
/// adopted [55]. After a try whose answer was lost it may be our own [54]: an account then carries this request's nonce,
/// a binding or a Secret is removed and made again.
pub async fn create(api: &Api, resource: &str, namespace: &str, object: &Value) -> Result<String, Fault> {
    let collection = objects::collection(resource, namespace);
    let right = match resource {
        "rolebindings" => "create rolebindings (with bind on the drivers' role)".to_owned(),
        "roles" => "create roles (with use on persistentvolumeclaims)".to_owned(),
        resource => format!("create {resource}"),
    };
    let name = text(object, "/metadata/name");
    let told = |fault: Fault| fault.doing(&right);
    let mut answer = api.post(&collection, object).await.map_err(told)?;
    if answer.status == StatusCode::CONFLICT && answer.repeated {
        let path = format!("{collection}/{name}");
        if resource == "serviceaccounts" {
            answer = api.get(&path).await?;
            let found: Value = answer.success("get serviceaccounts")?.object()?;
            let ours = [objects::nonce_pointer(), objects::label_pointer()];
            return match ours.iter().all(|at| found.pointer(at) == object.pointer(at)) {
                true => about(&found, name, namespace),
                false => Err(taken(name)),
            };
        }
        let gone = api.delete(&path, &objects::delete_options(None)).await?;
        if gone.status != StatusCode::NOT_FOUND {
            gone.success(&format!("delete {resource}"))?;
        }
        answer = api.post(&collection, object).await.map_err(told)?;
    }
    if answer.status == StatusCode::CONFLICT {
        return Err(taken(name));
    }
    about(&answer.success(&right)?.object()?, name, namespace)
}

fn taken(name: &str) -> Fault {
    Fault::new(
        ExitCode::ClusterRefused,
        format!("{name} exists already and was not made by this request; nothing is adopted, try again"),
    )
}

/// The uid in an answer about the object that was asked for; a server that answers with another is not believed [63].
fn about(found: &Value, name: &str, namespace: &str) -> Result<String, Fault> {
    if text(found, "/metadata/name") != name || text(found, "/metadata/namespace") != namespace {
        return Err(unusable("it is about another object"));
    }
    known_uid(found)
}

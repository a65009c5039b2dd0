//! Makes what a job needs: looks at the namespace and at the fence, then account, binding, secret, token.
//!
//! Each object is told to the supervisor as soon as it exists, so that it can be taken back whoever dies.

use std::net::{ToSocketAddrs, UdpSocket};

use http::StatusCode;
use serde_json::{Value, json};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::token::Token;
use spark_submit_as::protocol::{
    ClusterAccess, EXECUTOR_ACCOUNT, Kind, MANAGED_LABEL, NamespaceWanted, OWNER_ANNOTATION, Provision,
    Reply, TearDown, WireToken,
};

use crate::api::{Answer, Api, local_clock};
use crate::credential::Credential;
use crate::fault::Fault;
use crate::objects;
use crate::wire::Wire;

/// Account name of the fence's probe; it is never made.
const PROBE: &str = "ssa-fence-probe";

/// Makes everything.
pub async fn provision(
    api: &Api,
    access: &ClusterAccess,
    credential: &Credential,
    wanted: &Provision,
    wire: &mut Wire,
    made: &mut Option<TearDown>,
) -> Result<Reply, Fault> {
    let mut warnings = Vec::new();
    if let Some(warning) = fence(api, access).await? {
        warnings.push(warning);
    }
    let namespace_created = namespace(api, &wanted.namespace).await?;
    go_on(wire)?;
    executor_account(api, wanted.namespace.name.as_str(), wire).await?;
    go_on(wire)?;

    let name = wanted.job.object_name();
    let namespace = wanted.namespace.name.as_str();
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    let account_uid = create(api, &accounts, &objects::account(wanted), "create serviceaccounts").await?;
    if let Some(made) = made.as_mut() {
        made.account_uid = Some(account_uid.clone());
    }
    created(wire, Kind::Account, &name, &account_uid).await?;
    go_on(wire)?;

    let bindings = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings");
    let binding = objects::binding(wanted, &access.driver_role, &account_uid);
    let binding_uid =
        create(api, &bindings, &binding, "create rolebindings (with bind on the drivers' role)").await?;
    if let Some(made) = made.as_mut() {
        made.binding_uid = Some(binding_uid.clone());
    }
    created(wire, Kind::Binding, &name, &binding_uid).await?;
    go_on(wire)?;

    if let Some(secret) = &wanted.auth_secret {
        let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
        let object = objects::secret(wanted, secret.0.expose(), &account_uid);
        let uid = create(api, &secrets, &object, "create secrets").await?;
        created(wire, Kind::Secret, &name, &uid).await?;
        go_on(wire)?;
    }
    let granted = token(api, namespace, &name, wanted.token_seconds).await?;
    Ok(Reply::Provisioned {
        server: credential.server.clone(),
        certificate_authority_data: credential.certificate_authority_data.clone(),
        tls_server_name: credential.tls_server_name.clone(),
        proxy_url: credential.proxy_url.clone(),
        local_address: local_address(&credential.server)?,
        token: granted.token,
        expires_at: granted.expires_at,
        granted_at: granted.granted_at,
        namespace_created,
        warnings,
    })
}

/// A fresh token for the job's account.
pub async fn renew(api: &Api, made: &TearDown, seconds: u64) -> Result<Reply, Fault> {
    let granted = token(api, made.namespace.as_str(), &made.job.object_name(), seconds).await?;
    Ok(Reply::Renewed {
        token: granted.token,
        expires_at: granted.expires_at,
        granted_at: granted.granted_at,
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

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn unusable(what: &str) -> Fault {
    Fault::new(ExitCode::ClusterRefused, format!("the API server's answer cannot be used: {what}"))
}

/// Creates an object of the job's and returns its uid.
///
/// Its name has 80 random bits, so an object of that name that exists already is either our own, made by a try whose
/// answer was lost [54], or an attack; it counts as ours only if it is what was asked for, and nothing is adopted [55].
async fn create(api: &Api, collection: &str, object: &Value, right: &str) -> Result<String, Fault> {
    let name = text(object, "/metadata/name");
    let answer = api.post(collection, object).await?;
    let found: Value = if answer.status == StatusCode::CONFLICT {
        // Secrets are never read; the others are asked for by name. Where reading is not allowed this is a refusal.
        let existing = api.get(&format!("{collection}/{name}")).await?.success(right)?;
        let existing: Value = existing.object()?;
        let same = [
            "/metadata/labels",
            "/metadata/annotations",
            "/metadata/ownerReferences/0/uid",
            "/roleRef",
            "/subjects",
        ]
        .iter()
        .all(|pointer| {
            object.pointer(pointer).is_none_or(|wanted| existing.pointer(pointer) == Some(wanted))
        });
        if !same {
            return Err(Fault::new(
                ExitCode::ClusterRefused,
                format!("{name} exists already and is not this job's; nothing is adopted, try again"),
            ));
        }
        existing
    } else {
        answer.success(right)?.object()?
    };
    // A server that answers with another object is not believed [63].
    let namespace = collection.split('/').rev().nth(1).unwrap_or_default();
    if text(&found, "/metadata/name") != name || text(&found, "/metadata/namespace") != namespace {
        return Err(unusable("it is about another object"));
    }
    match text(&found, "/metadata/uid") {
        "" => Err(unusable("it has no uid")),
        uid => Ok(uid.to_owned()),
    }
}

/// Whether the namespace is there and ours to use; creates it where that is wanted.
async fn namespace(api: &Api, wanted: &NamespaceWanted) -> Result<bool, Fault> {
    let name = wanted.name.as_str();
    let path = format!("/api/v1/namespaces/{name}");
    let refused =
        |rule: String| Err(Fault::new(ExitCode::ClusterNamespace, format!("namespace {name} {rule}")));
    let mut answer = api.get(&path).await?;
    let mut made = false;
    if answer.status == StatusCode::NOT_FOUND {
        if !wanted.create {
            return refused(
                "does not exist, and the profile does not create it; ask the cluster's administrator".into(),
            );
        }
        answer = api.post("/api/v1/namespaces", &objects::namespace(wanted)).await?;
        made = answer.status.is_success();
        if answer.status == StatusCode::CONFLICT {
            answer = api.get(&path).await?; // another job of the same user was quicker
        }
        answer = answer.success("create namespaces")?;
    } else {
        answer = answer.success("get namespaces")?;
    }
    let found: Value = answer.object()?;
    if text(&found, "/metadata/name") != name {
        return Err(unusable("it is about another namespace"));
    }
    if text(&found, "/status/phase") == "Terminating"
        || found.pointer("/metadata/deletionTimestamp").is_some()
    {
        return refused("is being deleted; try again when it is gone".into());
    }
    let key = |key: &str| key.replace('~', "~0").replace('/', "~1");
    if text(&found, &format!("/metadata/labels/{}", key(MANAGED_LABEL))) != "true" {
        return refused(format!("is not managed; an administrator can label it: {MANAGED_LABEL}=true"));
    }
    match found.pointer(&format!("/metadata/annotations/{}", key(OWNER_ANNOTATION))).and_then(Value::as_str) {
        Some(owner) if owner == wanted.owner => Ok(made),
        // Whose it is stays untold [25].
        Some(_) => refused("belongs to somebody else".into()),
        None => refused(format!(
            "has no owner; an administrator can annotate it: {OWNER_ANNOTATION}='{}'",
            wanted.owner
        )),
    }
}

/// Executors run under an account without rights and without token.
async fn executor_account(api: &Api, namespace: &str, wire: &mut Wire) -> Result<(), Fault> {
    let collection = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    let path = format!("{collection}/{EXECUTOR_ACCOUNT}");
    let mut answer = api.get(&path).await?;
    if answer.status == StatusCode::NOT_FOUND {
        answer = api.post(&collection, &objects::executor_account()).await?;
        if answer.status.is_success() {
            let made: Value = answer.object()?;
            created(wire, Kind::ExecutorAccount, EXECUTOR_ACCOUNT, text(&made, "/metadata/uid")).await?;
        } else if answer.status == StatusCode::CONFLICT {
            answer = api.get(&path).await?;
        }
    }
    let found: Value = answer.success("get and create serviceaccounts")?.object()?;
    if found.pointer("/automountServiceAccountToken") == Some(&json!(false)) {
        Ok(())
    } else {
        Err(Fault::new(
            ExitCode::ClusterNamespace,
            format!(
                "account {namespace}/{EXECUTOR_ACCOUNT} would mount a token; set automountServiceAccountToken: false"
            ),
        ))
    }
}

/// Looks at the fence by what it does: the right to make an account in kube-system must not exist.
///
/// Without the fence, the right to create tokens everywhere is cluster-admin in disguise (DESIGN, section 5).
/// A warning when it is missing and the configuration accepts that.
pub async fn fence(api: &Api, access: &ClusterAccess) -> Result<Option<String>, Fault> {
    let probe = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": PROBE}});
    let answer = api.post("/api/v1/namespaces/kube-system/serviceaccounts?dryRun=All", &probe).await?;
    let open = match answer.status {
        StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY if by_admission(&answer) => false,
        // RBAC says no: a provisioner for prepared namespaces. It must not be able to mint tokens there either.
        StatusCode::FORBIDDEN => {
            let right = Right {
                namespace: Some("kube-system"),
                group: "",
                resource: "serviceaccounts",
                subresource: "token",
                name: "",
                verb: "create",
            };
            may(api, &right).await?
        }
        status if status.is_success() => true,
        _ => {
            answer.success("probe the fence")?;
            true
        }
    };
    if !open {
        return Ok(None);
    }
    let problem = "the fence is missing: this provisioner could make itself cluster-admin; apply \
                   packaging/kubernetes/fence.yaml";
    if access.accept_missing_fence {
        return Ok(Some(format!("{problem} (accepted by accept_missing_fence)")));
    }
    Err(Fault::new(
        ExitCode::FenceMissing,
        format!("{problem}, or set accept_missing_fence for this cluster"),
    ))
}

/// Whether a refusal came from a ValidatingAdmissionPolicy (its message names it) and not from RBAC.
pub fn by_admission(answer: &Answer) -> bool {
    answer.message().contains("ValidatingAdmissionPolicy")
}

/// What SelfSubjectAccessReview asks.
pub struct Right<'a> {
    /// Namespace; none for cluster-wide.
    pub namespace: Option<&'a str>,
    /// API group.
    pub group: &'a str,
    /// Resource.
    pub resource: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Object's name, or empty.
    pub name: &'a str,
    /// Verb.
    pub verb: &'a str,
}

/// Whether the provisioner has a right.
pub async fn may(api: &Api, right: &Right<'_>) -> Result<bool, Fault> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "namespace": right.namespace.unwrap_or_default(),
            "group": right.group,
            "resource": right.resource,
            "subresource": right.subresource,
            "name": right.name,
            "verb": right.verb,
        }},
    });
    let answer = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await?;
    let answer: Value = answer.success("create selfsubjectaccessreviews")?.object()?;
    Ok(answer.pointer("/status/allowed") == Some(&json!(true)))
}

struct Granted {
    token: WireToken,
    expires_at: i64,
    granted_at: i64,
}

async fn token(api: &Api, namespace: &str, name: &str, seconds: u64) -> Result<Granted, Fault> {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let answer =
        api.post(&path, &objects::token_request(seconds)).await?.success("create serviceaccounts/token")?;
    let granted_at = answer.date.unwrap_or_else(local_clock);
    let granted: Value = answer.object()?;
    let refused = |rule: &str| Fault::new(ExitCode::TokenRefused, format!("the cluster granted {rule}"));
    let token = Token::new(text(&granted, "/status/token").to_owned()).ok_or_else(|| refused("no token"))?;
    let ends: jiff::Timestamp = text(&granted, "/status/expirationTimestamp")
        .parse()
        .map_err(|_| refused("a token without an end"))?;
    if ends.as_second() <= granted_at {
        return Err(refused("a token that has ended already; look at the API server's clock"));
    }
    Ok(Granted { token: WireToken(token), expires_at: ends.as_second(), granted_at })
}

/// This host's address on the way to the API server: connect(2) on a datagram socket chooses one and sends nothing.
fn local_address(server: &str) -> Result<String, Fault> {
    let failed =
        |_| Fault::new(ExitCode::ClusterUnreachable, "no address of this host leads to the API server");
    let authority: http::Uri = server.parse().map_err(|_| unusable("its address"))?;
    let host = authority.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let target = (host.as_str(), authority.port_u16().unwrap_or(443));
    let target = target.to_socket_addrs().map_err(failed)?.next();
    let target = target.ok_or_else(|| unusable("its address"))?;
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).map_err(failed)?;
    socket.connect(target).map_err(failed)?;
    Ok(socket.local_addr().map_err(failed)?.ip().to_string())
}

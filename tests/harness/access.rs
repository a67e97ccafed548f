//! Access to the API server: kubeconfig files, clients, `kubectl`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use kube::{Client, Config};
use serde_json::json;

use crate::kubernetes::Kubernetes;
use crate::workplace::Workplace;

/// The address of an API server and the administrator's kubeconfig for it.
#[derive(Clone, Debug)]
pub struct Access {
    url: String,
    kubeconfig: PathBuf,
}

impl Access {
    /// The token of the administrator, a member of `system:masters`.
    pub(crate) const ADMIN_TOKEN: &'static str = "admin-token";

    pub(crate) fn new(workplace: &Workplace, url: String) -> Result<Self> {
        let kubeconfig = workplace.write("kubeconfig", kubeconfig(&url, Self::ADMIN_TOKEN))?;
        Ok(Self { url, kubeconfig })
    }

    /// The base URL, as `https://ADDRESS:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path of the administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Creates a client with the administrator's rights.
    ///
    /// It belongs to the runtime that creates it.
    pub fn admin(&self) -> Result<Client> {
        self.with_token(Self::ADMIN_TOKEN.to_owned())
    }

    /// Creates a client with the rights of a service account, which must exist.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<Client> {
        self.with_token(self.token(namespace, name, None).await?)
    }

    /// Writes a kubeconfig with the rights of a service account, which must exist.
    ///
    /// For a separate program.
    pub async fn kubeconfig_of(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let path = self.kubeconfig.with_file_name(format!("kubeconfig-{name}"));
        std::fs::write(
            &path,
            kubeconfig(&self.url, &self.token(namespace, name, None).await?),
        )?;
        Ok(path)
    }

    /// A new client with the rights of the agent on a node.
    pub async fn agent(&self, node: &str) -> Result<Client> {
        self.with_token(self.agent_token(node).await?)
    }

    /// A kubeconfig with the rights of the agent on a node; for a program of its own.
    pub async fn kubeconfig_of_agent(&self, node: &str) -> Result<PathBuf> {
        let path = self
            .kubeconfig
            .with_file_name(format!("kubeconfig-agent-{node}"));
        std::fs::write(&path, kubeconfig(&self.url, &self.agent_token(node).await?))?;
        Ok(path)
    }

    /// A token of the agents' account, bound to a pod on the node as the kubelet requests it. The
    /// pod is an object alone; no kubelet starts it.
    pub async fn agent_token(&self, node: &str) -> Result<String> {
        const NAMESPACE: &str = "flexlvm-system";
        const ACCOUNT: &str = "flexlvm-agent";
        let pods: Api<Pod> = Api::namespaced(self.admin()?, NAMESPACE);
        let name = format!("agent-{node}");
        let found = pods.get_opt(&name).await?;
        let pod = if let Some(pod) = found {
            pod
        } else {
            let spec = json!({"nodeName": node, "serviceAccountName": ACCOUNT,
                "automountServiceAccountToken": false, "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "agent", "image": "none"}]});
            let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
            pods.create(&PostParams::default(), &pod).await?
        };
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(name),
            uid: pod.metadata.uid,
        };
        self.token(NAMESPACE, ACCOUNT, Some(bound)).await
    }

    async fn token(
        &self,
        namespace: &str,
        name: &str,
        bound: Option<BoundObjectReference>,
    ) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin()?, namespace);
        let spec = TokenRequestSpec {
            expiration_seconds: Some(86400),
            bound_object_ref: bound,
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest {
            spec: Some(spec),
            ..TokenRequest::default()
        };
        let answer: TokenRequest = accounts
            .create_subresource("token", name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for the service account {namespace}/{name}"))?;
        answer
            .status
            .and_then(|status| status.token)
            .context("the server returned no token")
    }

    fn with_token(&self, token: String) -> Result<Client> {
        let mut config = Config::new(self.url.parse()?);
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(token.into());
        Ok(Client::try_from(config)?)
    }

    /// Runs `kubectl` as administrator and returns its stdout; an error contains its stderr.
    pub fn kubectl(&self, kubernetes: &Kubernetes, arguments: &[&str]) -> Result<String> {
        let output = self.run_kubectl(kubernetes, arguments)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Applies a kustomization as administrator and returns the stderr of `kubectl`.
    pub(crate) fn apply(&self, kubernetes: &Kubernetes, folder: &str) -> Result<String> {
        let output = self.run_kubectl(kubernetes, &["apply", "-k", folder])?;
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn run_kubectl(&self, kubernetes: &Kubernetes, arguments: &[&str]) -> Result<Output> {
        let cache = self.kubeconfig.with_file_name("kubectl-cache");
        let output = Command::new(kubernetes.program("kubectl"))
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("--cache-dir={}", cache.display()))
            .args(arguments)
            .output()
            .context("cannot run kubectl")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "kubectl {}: {complaint}",
            arguments.join(" ")
        );
        Ok(output)
    }
}

fn kubeconfig(url: &str, token: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "flexlvm", "cluster": {"server": url, "insecure-skip-tls-verify": true}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "flexlvm", "context": {"cluster": "flexlvm", "user": "user"}}],
        "current-context": "flexlvm",
    })
    .to_string()
}

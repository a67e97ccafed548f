//! Access to the API server: kubeconfig files, clients, `kubectl`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
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
        self.with_token(self.token(namespace, name).await?)
    }

    /// Writes a kubeconfig with the rights of a service account, which must exist.
    ///
    /// For a separate program.
    pub async fn kubeconfig_of(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let path = self.kubeconfig.with_file_name(format!("kubeconfig-{name}"));
        std::fs::write(
            &path,
            kubeconfig(&self.url, &self.token(namespace, name).await?),
        )?;
        Ok(path)
    }

    async fn token(&self, namespace: &str, name: &str) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin()?, namespace);
        let spec = TokenRequestSpec {
            expiration_seconds: Some(86400),
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

//! Leader election on a Lease: of several controllers, only the holder works.
//!
//! A candidate takes the Lease by replacing the object that it read, so that of two candidates the
//! API server lets one win. Expiry is measured by the local clock, from when the record last
//! changed: clocks of two machines are never compared.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout_at};

use crate::kube::error::ApiError;

/// Time without renewal after which other candidates may take the Lease.
const DURATION: Duration = Duration::from_secs(15);

/// Time without renewal after which the holder stops its work: well before another candidate may
/// start.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// Time between two attempts to acquire or to renew.
const PERIOD: Duration = Duration::from_secs(2);

/// A Lease, and this process's identity.
#[derive(Clone)]
pub struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
}

/// Since when (by the local clock) the Lease has had its current record.
#[derive(Default)]
struct ObservedRecord {
    version: Option<String>,
    since: Option<Instant>,
}

impl ObservedRecord {
    /// Returns true if the record has not changed for the Lease's whole duration.
    fn expired(&mut self, lease: &Lease, now: Instant) -> bool {
        if self.version != lease.metadata.resource_version || self.since.is_none() {
            self.version.clone_from(&lease.metadata.resource_version);
            self.since = Some(now);
        }
        self.since
            .is_some_and(|since| now.duration_since(since) >= DURATION)
    }
}

impl Election {
    /// Creates a candidate for the Lease `name` in `namespace`; `identity` differs between
    /// candidates (a pod's name).
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
        }
    }

    /// Returns once this process holds the Lease.
    pub async fn acquire(&self) {
        let mut record = ObservedRecord::default();
        loop {
            match self.try_acquire(&mut record).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) if error.is_conflict() => {}
                Err(error) => tracing::warn!(
                    error = host::error::chain(&error),
                    "failed to acquire the Lease"
                ),
            }
            sleep(PERIOD).await;
        }
    }

    /// Renews the Lease; returns when it is lost. Work must then stop at once.
    pub async fn keep(&self) {
        let mut deadline = Instant::now() + RENEW_DEADLINE;
        loop {
            sleep(PERIOD).await;
            // Other candidates count from when the API server writes the record: never earlier than
            // this.
            let started = Instant::now();
            match timeout_at(deadline, self.renew()).await {
                Ok(Ok(true)) => deadline = started + RENEW_DEADLINE,
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(error)) => tracing::warn!(
                    error = host::error::chain(&error),
                    "failed to renew the Lease"
                ),
            }
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Releases the Lease, so that the next holder need not wait for it to expire.
    pub async fn release(&self) {
        if let Ok(Some(mut lease)) = self.leases.get_opt(&self.name).await
            && self.holds(&lease)
        {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            let _ = self
                .leases
                .replace(&self.name, &PostParams::default(), &lease)
                .await;
        }
    }

    async fn try_acquire(&self, record: &mut ObservedRecord) -> Result<bool, ApiError> {
        let Some(lease) = self.read().await? else {
            let lease = self.as_held(&Lease::default());
            let created = self.leases.create(&PostParams::default(), &lease).await;
            return created
                .map(|_| true)
                .map_err(ApiError::of("create", "Lease", &self.name));
        };
        let is_free = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref())
            .is_none_or(str::is_empty);
        if !(self.holds(&lease) || is_free || record.expired(&lease, Instant::now())) {
            return Ok(false);
        }
        self.write(&self.as_held(&lease)).await.map(|()| true)
    }

    /// Returns true if the Lease was renewed, false if another candidate holds it.
    async fn renew(&self) -> Result<bool, ApiError> {
        match self.read().await? {
            Some(lease) if self.holds(&lease) => match self.write(&self.as_held(&lease)).await {
                Err(error) if error.is_conflict() => Ok(true), // read again at the next attempt
                result => result.map(|()| true),
            },
            _ => Ok(false),
        }
    }

    async fn read(&self) -> Result<Option<Lease>, ApiError> {
        self.leases
            .get_opt(&self.name)
            .await
            .map_err(ApiError::of("get", "Lease", &self.name))
    }

    async fn write(&self, lease: &Lease) -> Result<(), ApiError> {
        let replaced = self
            .leases
            .replace(&self.name, &PostParams::default(), lease)
            .await;
        replaced
            .map(|_| ())
            .map_err(ApiError::of("update", "Lease", &self.name))
    }

    fn holds(&self, lease: &Lease) -> bool {
        lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref())
            == Some(self.identity.as_str())
    }

    /// Returns the Lease as held by this process and renewed now.
    fn as_held(&self, lease: &Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = lease.spec.clone().unwrap_or_default();
        let is_held = self.holds(lease);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: lease.metadata.resource_version.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: if is_held {
                    old.acquire_time
                } else {
                    Some(now.clone())
                },
                renew_time: Some(now),
                lease_transitions: Some(old.lease_transitions.unwrap_or(0) + i32::from(!is_held)),
                ..LeaseSpec::default()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DURATION, ObservedRecord, PERIOD, RENEW_DEADLINE};
    use k8s_openapi::api::coordination::v1::Lease;
    use std::time::Duration;
    use tokio::time::Instant;

    fn lease(version: &str) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[test]
    fn record_expires_after_the_duration_without_change() {
        let start = Instant::now();
        let mut record = ObservedRecord::default();
        assert!(!record.expired(&lease("1"), start));
        assert!(!record.expired(&lease("1"), start + DURATION - Duration::from_millis(1)));
        assert!(!record.expired(&lease("2"), start + DURATION));
        assert!(!record.expired(&lease("2"), start + DURATION + Duration::from_secs(14)));
        assert!(record.expired(&lease("2"), start + DURATION * 2));
    }

    #[test]
    fn holder_stops_before_the_lease_expires() {
        assert!(RENEW_DEADLINE + PERIOD < DURATION);
    }
}

//! Leader election on a Lease: of several controllers, one works.
//!
//! A lease is taken by replacing the object that was read, so that of two claimants the API server
//! lets one win. Whether another holder is gone is judged by our own clock, from when its record
//! last changed here: clocks of two machines are never compared.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout_at};

use crate::kube::error::ApiError;

/// Others may take a lease that was not renewed for so long.
const DURATION: Duration = Duration::from_secs(15);

/// A holder that could not renew for so long stops its work: well before anyone else may begin.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// Between two attempts to take or to renew.
const PERIOD: Duration = Duration::from_secs(2);

/// One lease, and who we are.
#[derive(Clone)]
pub struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
}

/// Since when (by our clock) the lease has had the record that we see.
#[derive(Default)]
struct ObservedRecord {
    version: Option<String>,
    since: Option<Instant>,
}

impl ObservedRecord {
    /// True when the record has not changed for the lease's whole duration.
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
    /// An election in `namespace` for the lease `name`; `identity` differs between claimants (a
    /// pod's name).
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
        }
    }

    /// Returns once we hold the lease.
    pub async fn acquire(&self) {
        let mut sighting = ObservedRecord::default();
        loop {
            match self.try_acquire(&mut sighting).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) if error.is_conflict() => {}
                Err(error) => tracing::warn!(
                    error = host::error::chain(&error),
                    "the lease could not be asked for"
                ),
            }
            sleep(PERIOD).await;
        }
    }

    /// Renews the lease for as long as that works; returns when it is lost, and work must stop at
    /// once.
    pub async fn keep(&self) {
        let mut deadline = Instant::now() + RENEW_DEADLINE;
        loop {
            sleep(PERIOD).await;
            // Others count from when the server writes it: never earlier than this.
            let asked = Instant::now();
            match timeout_at(deadline, self.renew()).await {
                Ok(Ok(true)) => deadline = asked + RENEW_DEADLINE,
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(error)) => tracing::warn!(
                    error = host::error::chain(&error),
                    "the lease could not be renewed"
                ),
            }
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Gives the lease back, so that the next one need not wait for it to expire.
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

    async fn try_acquire(&self, sighting: &mut ObservedRecord) -> Result<bool, ApiError> {
        let Some(lease) = self.read().await? else {
            let lease = self.taken(&Lease::default());
            let created = self.leases.create(&PostParams::default(), &lease).await;
            return created
                .map(|_| true)
                .map_err(ApiError::of("create", "Lease", &self.name));
        };
        let free = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref())
            .is_none_or(str::is_empty);
        if !(self.holds(&lease) || free || sighting.expired(&lease, Instant::now())) {
            return Ok(false);
        }
        self.write(&self.taken(&lease)).await.map(|()| true)
    }

    /// True when the lease was renewed, false when it is somebody else's.
    async fn renew(&self) -> Result<bool, ApiError> {
        match self.read().await? {
            Some(lease) if self.holds(&lease) => match self.write(&self.taken(&lease)).await {
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

    /// The lease as it is when we hold it, renewed now.
    fn taken(&self, lease: &Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = lease.spec.clone().unwrap_or_default();
        let mine = self.holds(lease);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: lease.metadata.resource_version.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: if mine {
                    old.acquire_time
                } else {
                    Some(now.clone())
                },
                renew_time: Some(now),
                lease_transitions: Some(old.lease_transitions.unwrap_or(0) + i32::from(!mine)),
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
    fn a_holder_expires_by_our_clock_only_when_its_record_stands_still() {
        let start = Instant::now();
        let mut sighting = ObservedRecord::default();
        assert!(!sighting.expired(&lease("1"), start));
        assert!(!sighting.expired(&lease("1"), start + DURATION - Duration::from_millis(1)));
        assert!(!sighting.expired(&lease("2"), start + DURATION));
        assert!(!sighting.expired(&lease("2"), start + DURATION + Duration::from_secs(14)));
        assert!(sighting.expired(&lease("2"), start + DURATION * 2));
    }

    #[test]
    fn work_stops_before_anyone_else_may_begin() {
        assert!(RENEW_DEADLINE + PERIOD < DURATION);
    }
}

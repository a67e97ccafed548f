//! What can go wrong between the operator and the API server.

/// A request to the API server that failed.
#[derive(Debug, thiserror::Error)]
#[error("{action} {kind} {name}")]
pub struct ApiError {
    /// What was attempted: "create", "patch", …
    pub action: &'static str,
    /// The kind of the object.
    pub kind: &'static str,
    /// The object's name, with its namespace if it has one.
    pub name: String,
    /// What the API server, or the way there, said.
    #[source]
    pub source: Box<kube::Error>,
}

impl ApiError {
    /// Turns kube's error into ours: `map_err(ApiError::of("create", "LogicalVolume", &name))`.
    pub fn of(
        action: &'static str,
        kind: &'static str,
        name: &str,
    ) -> impl FnOnce(kube::Error) -> Self {
        let name = name.to_owned();
        move |source| Self {
            action,
            kind,
            name,
            source: Box::new(source),
        }
    }

    /// The status of the answer, if there was one.
    fn code(&self) -> Option<u16> {
        match &*self.source {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        }
    }

    /// True when the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// True when the object was there already (on create), or changed meanwhile (on update).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }
}

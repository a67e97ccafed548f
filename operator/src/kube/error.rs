//! Errors of requests to the API server.

/// A request to the API server that failed.
#[derive(Debug, thiserror::Error)]
#[error("{action} {kind} {name}")]
pub struct ApiError {
    /// The verb: "create", "patch", …
    pub action: &'static str,
    /// The kind of the object.
    pub kind: &'static str,
    /// The object's name, with its namespace if it has one.
    pub name: String,
    /// The response of the API server, or the error of the connection.
    #[source]
    pub source: Box<kube::Error>,
}

impl ApiError {
    /// Adds the context to kube's error: `map_err(ApiError::of("create", "LogicalVolume", &name))`.
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

    /// Returns the HTTP status of the response, if there was one.
    fn code(&self) -> Option<u16> {
        match &*self.source {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        }
    }

    /// Returns true if the object doesn't exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Returns true if the API server rejects the object's content.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.code() == Some(422)
    }

    /// Returns true if the object exists already (on create), or has changed meanwhile (on update).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }
}

//! The error about a setting that its author has to correct. Pure.

use std::fmt;

/// A setting that is not valid: the field, what is wrong with it, and how to correct it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationError {
    /// Path of the field below `spec`, as in `layout.stripes`; after the object's kind and name if
    /// the reader can't know them. Only these if the problem names the field.
    pub field: String,
    /// What is wrong, with the value.
    pub problem: String,
    /// What to do about it; `None` if the problem shows it.
    pub hint: Option<String>,
}

impl ValidationError {
    /// Creates an error without a hint.
    #[must_use]
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
            hint: None,
        }
    }

    /// Adds what to do about the problem.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Adds the object that has the field, as in `StorageBackend fast`.
    #[must_use]
    pub fn of(self, object: &str) -> Self {
        Self {
            field: format!("{object}: {}", self.field),
            ..self
        }
    }
}

impl fmt::Display for ValidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ValidationError {}

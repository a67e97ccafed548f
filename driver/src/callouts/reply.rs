//! What the driver answers: one JSON object, as the kubelet parses it.
//! Pure.

use serde_json::json;

/// Longer sentences are cut: they end in Events.
const LONGEST: usize = 1000;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Success,
    /// Not done, and why, in one sentence.
    Failure(String),
    /// A call-out that this driver doesn't have. The kubelet never asks again: not for what may
    /// work another time.
    NotSupported,
    /// What this driver can do.
    Capabilities {
        /// Whether Kubernetes is to attach volumes before it mounts them.
        attach: bool,
    },
    /// Done, and the volume's device is this.
    Device(String),
    /// Whether the volume is attached.
    Attached(bool),
    /// How the volume is called.
    VolumeName(String),
}

impl Reply {
    /// A failure with this sentence.
    #[must_use]
    pub fn failure(sentence: &str) -> Self {
        let line: String = sentence
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(LONGEST)
            .collect();
        Self::Failure(line)
    }

    /// As the kubelet reads it.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Success => json!({"status": "Success"}),
            Self::Failure(message) => json!({"status": "Failure", "message": message}),
            Self::NotSupported => json!({"status": "Not supported"}),
            // All five, always: the kubelet has its own defaults for those that are missing, and a
            // null crashes it.
            Self::Device(path) => json!({"status": "Success", "device": path}),
            // A bool: the text "true" would fail the call.
            Self::Attached(attached) => json!({"status": "Success", "attached": attached}),
            Self::VolumeName(name) => json!({"status": "Success", "volumeName": name}),
            Self::Capabilities { attach } => json!({
                "status": "Success",
                "capabilities": {
                    "attach": attach,
                    "selinuxRelabel": true,
                    "supportsMetrics": true,
                    "fsGroup": true,
                    "requiresFSResize": true,
                },
            }),
        }
        .to_string()
    }

    /// The answer in a word, for the log.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Success
            | Self::Capabilities { .. }
            | Self::Device(_)
            | Self::Attached(_)
            | Self::VolumeName(_) => "Success",
            Self::Failure(_) => "Failure",
            Self::NotSupported => "Not supported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reply;
    use proptest::prelude::*;

    #[test]
    fn answers_are_what_the_kubelet_parses() {
        assert_eq!(Reply::Success.to_json(), r#"{"status":"Success"}"#);
        assert_eq!(
            Reply::NotSupported.to_json(),
            r#"{"status":"Not supported"}"#
        );
        let expected = r#"{"capabilities":{"attach":false,"fsGroup":true,"requiresFSResize":true,"selinuxRelabel":true,"supportsMetrics":true},"status":"Success"}"#;
        assert_eq!(Reply::Capabilities { attach: false }.to_json(), expected);
        assert!(
            Reply::Capabilities { attach: true }
                .to_json()
                .contains(r#""attach":true"#)
        );
        let device = Reply::Device("/dev/mapper/a-b".to_owned());
        assert_eq!(
            device.to_json(),
            r#"{"device":"/dev/mapper/a-b","status":"Success"}"#
        );
        assert_eq!(
            Reply::Attached(true).to_json(),
            r#"{"attached":true,"status":"Success"}"#
        );
        let name = Reply::VolumeName("pvc-1".to_owned());
        assert_eq!(
            name.to_json(),
            r#"{"status":"Success","volumeName":"pvc-1"}"#
        );
    }

    proptest! {
        #[test]
        fn a_failure_is_one_line_of_bounded_length(text in any::<String>(), times in 1..50_usize) {
            let json = Reply::failure(&text.repeat(times)).to_json();
            prop_assert!(!json.contains('\n') && json.len() < 12_000);
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&value["status"], "Failure");
        }
    }
}

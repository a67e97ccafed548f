//! The driver's reply: one JSON object, as the kubelet parses it. Pure.

use serde_json::json;

/// Maximum length of a message in characters, since messages become Events.
const LONGEST: usize = 1000;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The call-out succeeded.
    Success,
    /// The call-out failed, with the reason in one sentence.
    Failure(String),
    /// The driver does not have this call-out. The kubelet never repeats it, so this is not for
    /// temporary failures.
    NotSupported,
    /// The driver's capabilities.
    Capabilities {
        /// Whether Kubernetes must attach volumes before it mounts them.
        attach: bool,
    },
    /// The call-out succeeded, and the volume has this device.
    Device(String),
    /// Whether the volume is attached.
    Attached(bool),
    /// The name of the volume.
    VolumeName(String),
}

impl Reply {
    /// Returns a failure with this message on one line, truncated.
    #[must_use]
    pub fn failure(sentence: &str) -> Self {
        let line: String = sentence
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(LONGEST)
            .collect();
        Self::Failure(line)
    }

    /// Returns the JSON that the kubelet parses.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Success => json!({"status": "Success"}),
            Self::Failure(message) => json!({"status": "Failure", "message": message}),
            Self::NotSupported => json!({"status": "Not supported"}),
            // Always all five: the kubelet has its own defaults for missing ones, and a null makes
            // it crash.
            Self::Device(path) => json!({"status": "Success", "device": path}),
            // A boolean: the string "true" would make the call fail.
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

    /// Returns the status, for the log.
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
    fn replies_have_the_kubelets_format() {
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

//! The kubelet's flags that determine its plugin folder, as the kubelet parses them (pflag): of
//! several equal ones the last counts, and `_` equals `-`. Pure.

/// The values of the flags; `None` for those that are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeletFlags {
    /// `--volume-plugin-dir`.
    pub volume_plugin_dir: Option<String>,
    /// `--config`.
    pub config: Option<String>,
    /// `--config-dir`.
    pub config_dir: Option<String>,
}

/// Parses the kubelet's arguments.
#[must_use]
pub fn parse(arguments: &[impl AsRef<str>]) -> KubeletFlags {
    KubeletFlags {
        volume_plugin_dir: values(arguments, "volume-plugin-dir").pop(),
        config: values(arguments, "config").pop(),
        config_dir: values(arguments, "config-dir").pop(),
    }
}

/// Returns the values of all flags of this name, in the forms `--name=value` and `--name value`.
#[must_use]
pub fn values(arguments: &[impl AsRef<str>], name: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut arguments = arguments.iter().map(AsRef::as_ref);
    while let Some(argument) = arguments.next() {
        let Some(flag) = argument.strip_prefix("--") else {
            continue;
        };
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (flag, None),
        };
        if flag.replace('_', "-") == name {
            values.extend(value.or_else(|| arguments.next()).map(str::to_owned));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::{KubeletFlags, parse};

    #[test]
    fn flags_are_parsed_as_the_kubelet_does() {
        let volume_plugin_dir = |line: &str| {
            let arguments: Vec<&str> = line.split(' ').collect();
            parse(&arguments).volume_plugin_dir
        };
        for (line, folder) in [
            ("--volume-plugin-dir=/a", Some("/a")),
            ("--volume-plugin-dir /a --v=2", Some("/a")),
            ("--v 2 --volume_plugin_dir=/a=b", Some("/a=b")),
            (
                "--volume-plugin-dir=/a --volume-plugin-dir /b --v=2",
                Some("/b"),
            ),
            ("--volume-plugin-dir=", Some("")),
            ("--volume-plugin-dir", None),
            ("--volume-plugin-directory=/a", None),
            ("-volume-plugin-dir=/a", None),
            ("--flex-volume-plugin-dir=/a", None),
            ("", None),
        ] {
            assert_eq!(volume_plugin_dir(line).as_deref(), folder, "{line}");
        }
        let flags = parse(&[
            "kubelet",
            "--config=/etc/k.yaml",
            "--config-dir",
            "/etc/k.d",
        ]);
        assert_eq!(
            flags,
            KubeletFlags {
                volume_plugin_dir: None,
                config: Some("/etc/k.yaml".to_owned()),
                config_dir: Some("/etc/k.d".to_owned()),
            }
        );
    }
}

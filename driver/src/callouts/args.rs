//! Parses the arguments after the program's name, as the kubelet passes them. Pure.

use std::ffi::{OsStr, OsString};

/// A call-out with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    /// Report the driver's capabilities.
    Init,
    /// Return the volume's name.
    GetVolumeName {
        /// The volume's options, or just its name.
        options: &'a str,
    },
    /// Activate the volume's device on a node.
    Attach {
        /// The volume's options.
        options: &'a str,
        /// Name of the node.
        node: &'a str,
    },
    /// Deactivate the volume's device on a node.
    Detach {
        /// Name of the PersistentVolume, or of the pod's inline volume.
        volume: &'a OsStr,
        /// Name of the node.
        node: &'a str,
    },
    /// Ensure that the volume's device is active on this node.
    WaitForAttach {
        /// The device, according to the kubelet.
        device: &'a OsStr,
        /// The volume's options.
        options: &'a str,
    },
    /// Report whether the volume's device is active on a node.
    IsAttached {
        /// The volume's options.
        options: &'a str,
        /// Name of the node.
        node: &'a str,
    },
    /// Mount the volume once, for all pods of this node.
    MountDevice {
        /// The folder shared by all pods.
        folder: &'a OsStr,
        /// The device, according to the kubelet.
        device: &'a OsStr,
        /// The volume's options.
        options: &'a str,
    },
    /// Unmount the folder shared by all pods.
    UnmountDevice {
        /// The folder shared by all pods.
        folder: &'a OsStr,
    },
    /// Mount a volume on a pod's folder.
    Mount {
        /// The pod's folder.
        folder: &'a OsStr,
        /// The device, according to an old kubelet; later ones omit it.
        device: Option<&'a OsStr>,
        /// The volume's options.
        options: &'a str,
    },
    /// Unmount everything from a pod's folder.
    Unmount {
        /// The pod's folder.
        folder: &'a OsStr,
    },
    /// Check that the logical volume has been extended.
    ExpandVolume {
        /// The volume's options.
        options: &'a str,
        /// Requested size in bytes.
        size: u64,
    },
    /// Resize the file system of a mounted volume.
    ExpandFs {
        /// The volume's options.
        options: &'a str,
        /// The folder on which it is mounted.
        folder: &'a OsStr,
        /// Requested size in bytes.
        size: u64,
    },
    /// A call-out that this driver does not support.
    NotSupported,
}

/// Why the arguments are invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// There are no arguments.
    #[error("no call-out given; this program is a FlexVolume driver that the kubelet runs")]
    None,
    /// There are too few or too many arguments.
    #[error("{call} takes {expected}, but got {given} argument(s)")]
    Count {
        /// The call-out.
        call: String,
        /// The arguments that it takes.
        expected: &'static str,
        /// Number of arguments that were given.
        given: usize,
    },
    /// An argument is not valid UTF-8.
    #[error("{what} not UTF-8")]
    Encoding {
        /// Which argument, with its verb.
        what: &'static str,
    },
    /// A size is not a number.
    #[error("{what} is not a number of bytes")]
    Size {
        /// Which argument.
        what: &'static str,
    },
}

/// Parses a call-out and its arguments.
///
/// # Errors
/// When the driver supports the call-out, and its arguments are invalid.
pub(crate) fn parse(args: &[OsString]) -> Result<Call<'_>, CallError> {
    let Some((verb, args)) = args.split_first() else {
        return Err(CallError::None);
    };
    let verb = verb.to_str().unwrap_or_default();
    Ok(match verb {
        // Further arguments of a later kubelet are ignored: `init` must never fail.
        "init" => Call::Init,
        "getvolumename" => {
            let [options] = take(verb, "options", args)?;
            Call::GetVolumeName {
                options: json(options)?,
            }
        }
        "attach" => attach(verb, args)?,
        "detach" => detach(verb, args)?,
        "waitforattach" => wait_for_attach(verb, args)?,
        "isattached" => is_attached(verb, args)?,
        "mountdevice" => mount_device(verb, args)?,
        "mount" => mount(verb, args)?,
        "unmountdevice" => {
            take(verb, "a folder", args).map(|[folder]| Call::UnmountDevice { folder })?
        }
        "unmount" => take(verb, "a folder", args).map(|[folder]| Call::Unmount { folder })?,
        "expandvolume" => expand_volume(verb, args)?,
        "expandfs" => expand_fs(verb, args)?,
        _ => Call::NotSupported,
    })
}

fn attach<'a>(verb: &str, args: &'a [OsString]) -> Result<Call<'a>, CallError> {
    let [options, node] = take(verb, "options and a node", args)?;
    Ok(Call::Attach {
        options: json(options)?,
        node: name(node)?,
    })
}

fn detach<'a>(verb: &str, args: &'a [OsString]) -> Result<Call<'a>, CallError> {
    let [volume, node] = take(verb, "a volume and a node", args)?;
    Ok(Call::Detach {
        volume,
        node: name(node)?,
    })
}

fn wait_for_attach<'a>(verb: &str, args: &'a [OsString]) -> Result<Call<'a>, CallError> {
    let [device, options] = take(verb, "a device and options", args)?;
    Ok(Call::WaitForAttach {
        device,
        options: json(options)?,
    })
}

fn is_attached<'a>(verb: &str, args: &'a [OsString]) -> Result<Call<'a>, CallError> {
    let [options, node] = take(verb, "options and a node", args)?;
    Ok(Call::IsAttached {
        options: json(options)?,
        node: name(node)?,
    })
}

fn mount_device<'a>(verb: &str, args: &'a [OsString]) -> Result<Call<'a>, CallError> {
    let [folder, device, options] = take(verb, "a folder, a device and options", args)?;
    Ok(Call::MountDevice {
        folder,
        device,
        options: json(options)?,
    })
}

fn expand_volume<'a>(verb: &str, args: &'a [OsString]) -> Result<Call<'a>, CallError> {
    let [options, _folder, new, old] =
        take(verb, "options, a folder, the new and the old size", args)?;
    Ok(Call::ExpandVolume {
        options: json(options)?,
        size: sizes(new, old)?,
    })
}

fn expand_fs<'a>(verb: &str, args: &'a [OsString]) -> Result<Call<'a>, CallError> {
    let expected = "options, a device, a folder, the new and the old size";
    let [options, _device, folder, new, old] = take(verb, expected, args)?;
    Ok(Call::ExpandFs {
        options: json(options)?,
        folder,
        size: sizes(new, old)?,
    })
}

/// Parses `mount`, the one call-out with two forms.
fn mount<'a>(verb: &str, args: &'a [OsString]) -> Result<Call<'a>, CallError> {
    if let [folder, options] = args {
        return Ok(Call::Mount {
            folder,
            device: None,
            options: json(options)?,
        });
    }
    let [folder, device, options] = take(verb, "a folder, perhaps a device, and options", args)?;
    Ok(Call::Mount {
        folder,
        device: Some(device),
        options: json(options)?,
    })
}

/// Returns the arguments, if there are exactly `N`.
fn take<'a, const N: usize>(
    call: &str,
    expected: &'static str,
    args: &'a [OsString],
) -> Result<[&'a OsStr; N], CallError> {
    let args: &[OsString; N] = args.try_into().map_err(|_| CallError::Count {
        call: call.to_owned(),
        expected,
        given: args.len(),
    })?;
    Ok(args.each_ref().map(OsString::as_os_str))
}

fn json(arg: &OsStr) -> Result<&str, CallError> {
    arg.to_str().ok_or(CallError::Encoding {
        what: "the options are",
    })
}

fn name(arg: &OsStr) -> Result<&str, CallError> {
    arg.to_str().ok_or(CallError::Encoding {
        what: "the node's name is",
    })
}

/// Returns the new size in bytes; the old one must be a number, too.
fn sizes(new: &OsStr, old: &OsStr) -> Result<u64, CallError> {
    bytes(old, "the old size")?;
    bytes(new, "the new size")
}

fn bytes(arg: &OsStr, what: &'static str) -> Result<u64, CallError> {
    let digits = arg
        .to_str()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|text| text.parse().ok())
        .ok_or(CallError::Size { what })
}

#[cfg(test)]
mod tests;

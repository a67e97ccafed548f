//! Which call-out it is: the arguments after the program's name, as the kubelet gives them.
//! Pure.

use std::ffi::{OsStr, OsString};

/// A call-out that this driver has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    /// What can the driver do?
    Init,
    /// How is the volume called?
    GetVolumeName {
        /// The volume's options, or nothing but its name.
        options: &'a str,
    },
    /// Make the volume's device on a node.
    Attach {
        /// The volume's options.
        options: &'a str,
        /// The node's name.
        node: &'a str,
    },
    /// Take the volume's device away from a node.
    Detach {
        /// The name of the PersistentVolume, or of the pod's volume.
        volume: &'a OsStr,
        /// The node's name.
        node: &'a str,
    },
    /// See to it that the volume's device is here.
    WaitForAttach {
        /// What the kubelet takes for the device.
        device: &'a OsStr,
        /// The volume's options.
        options: &'a str,
    },
    /// Is the volume's device on that node?
    IsAttached {
        /// The volume's options.
        options: &'a str,
        /// The node's name.
        node: &'a str,
    },
    /// Mount the volume once, for all pods of this node.
    MountDevice {
        /// The folder for all pods.
        folder: &'a OsStr,
        /// What the kubelet takes for the device.
        device: &'a OsStr,
        /// The volume's options.
        options: &'a str,
    },
    /// Unmount the folder for all pods.
    UnmountDevice {
        /// The folder.
        folder: &'a OsStr,
    },
    /// Mount a volume on a pod's folder.
    Mount {
        /// The folder.
        folder: &'a OsStr,
        /// What an old kubelet takes for the device; later ones don't say.
        device: Option<&'a OsStr>,
        /// The volume's options.
        options: &'a str,
    },
    /// Unmount a pod's folder, whatever is mounted there.
    Unmount {
        /// The folder.
        folder: &'a OsStr,
    },
    /// Extend the logical volume.
    ExpandVolume {
        /// The volume's options.
        options: &'a str,
        /// How large the volume is to be.
        size: u64,
    },
    /// Grow the file system of a mounted volume.
    ExpandFs {
        /// The volume's options.
        options: &'a str,
        /// Where it is mounted.
        folder: &'a OsStr,
        /// How large the volume is to be.
        size: u64,
    },
    /// One that this driver doesn't have.
    NotSupported,
}

/// What is wrong with the arguments.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// There is no argument at all.
    #[error("no call-out is named; this program is a FlexVolume driver and run by the kubelet")]
    None,
    /// Too few or too many.
    #[error("{call} takes {wanted}, and was given {given} argument(s)")]
    Count {
        /// The call-out.
        call: String,
        /// What it takes.
        wanted: &'static str,
        /// How many there were.
        given: usize,
    },
    /// An argument is no text.
    #[error("{what} not UTF-8")]
    Encoding {
        /// Which one, with its verb.
        what: &'static str,
    },
    /// A size is no number.
    #[error("{what} is not a number of bytes")]
    Size {
        /// Which one.
        what: &'static str,
    },
}

/// The call-out that `args` ask for.
///
/// # Errors
/// When it is one of ours and its arguments are not what it takes.
pub(crate) fn parse(args: &[OsString]) -> Result<Call<'_>, CallError> {
    let Some((verb, args)) = args.split_first() else {
        return Err(CallError::None);
    };
    let verb = verb.to_str().unwrap_or_default();
    Ok(match verb {
        // Whatever else a later kubelet adds: this answer must never fail.
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
    let wanted = "options, a device, a folder, the new and the old size";
    let [options, _device, folder, new, old] = take(verb, wanted, args)?;
    Ok(Call::ExpandFs {
        options: json(options)?,
        folder,
        size: sizes(new, old)?,
    })
}

/// The one that has two forms.
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

/// So many arguments as the call-out takes.
fn take<'a, const N: usize>(
    call: &str,
    wanted: &'static str,
    args: &'a [OsString],
) -> Result<[&'a OsStr; N], CallError> {
    let args: &[OsString; N] = args.try_into().map_err(|_| CallError::Count {
        call: call.to_owned(),
        wanted,
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

/// The new size; the old one has to be a number, too.
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

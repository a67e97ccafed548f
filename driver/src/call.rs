//! Which call-out it is: the arguments after the program's name, as the kubelet gives them.
//! Pure.

use std::ffi::{OsStr, OsString};

/// A call-out that this driver has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    /// What can the driver do?
    Init,
    /// Mount a volume on a folder.
    Mount {
        /// The folder.
        folder: &'a OsStr,
        /// The volume's options.
        options: &'a str,
    },
    /// Unmount a folder, whatever is mounted there.
    Unmount {
        /// The folder.
        folder: &'a OsStr,
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
        call: &'static str,
        /// What it takes.
        wanted: &'static str,
        /// How many there were.
        given: usize,
    },
    /// The options are no text.
    #[error("the options are not UTF-8")]
    Encoding,
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
    let Some((verb, rest)) = args.split_first() else {
        return Err(CallError::None);
    };
    match (verb.to_str().unwrap_or_default(), rest) {
        // Whatever else a later kubelet adds: this answer must never fail.
        ("init", _) => Ok(Call::Init),
        ("mount", [folder, options]) => Ok(Call::Mount { folder, options: text(options)? }),
        ("mount", _) => Err(count("mount", "a folder and options", rest)),
        ("unmount", [folder]) => Ok(Call::Unmount { folder }),
        ("unmount", _) => Err(count("unmount", "a folder", rest)),
        ("expandfs", [options, _device, folder, new, old]) => {
            bytes(old, "the old size")?;
            Ok(Call::ExpandFs { options: text(options)?, folder, size: bytes(new, "the new size")? })
        }
        ("expandfs", _) => Err(count("expandfs", "options, a device, a folder, the new and the old size", rest)),
        _ => Ok(Call::NotSupported),
    }
}

fn text(arg: &OsStr) -> Result<&str, CallError> {
    arg.to_str().ok_or(CallError::Encoding)
}

fn bytes(arg: &OsStr, what: &'static str) -> Result<u64, CallError> {
    let digits = arg.to_str().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or(CallError::Size { what })
}

fn count(call: &'static str, wanted: &'static str, rest: &[OsString]) -> CallError {
    CallError::Count { call, wanted, given: rest.len() }
}

#[cfg(test)]
mod tests {
    use super::{Call, CallError, parse};
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStringExt;

    fn args(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn call_outs_are_known_by_their_place() {
        let folder = OsStr::new("/f");
        assert_eq!(parse(&args(&["init"])), Ok(Call::Init));
        assert_eq!(parse(&args(&["init", "more"])), Ok(Call::Init));
        assert_eq!(parse(&args(&["mount", "/f", "{}"])), Ok(Call::Mount { folder, options: "{}" }));
        assert_eq!(parse(&args(&["unmount", "/f"])), Ok(Call::Unmount { folder }));
        let expand = Call::ExpandFs { options: "{}", folder, size: 20 };
        assert_eq!(parse(&args(&["expandfs", "{}", "", "/f", "20", "10"])), Ok(expand));
    }

    #[test]
    fn all_others_are_not_supported() {
        let others = "getvolumename attach detach waitforattach isattached mountdevice unmountdevice expandvolume \
                      Init INIT --help x";
        for verb in others.split_whitespace().chain([""]) {
            assert_eq!(parse(&args(&[verb, "a", "b"])), Ok(Call::NotSupported), "{verb:?}");
        }
        assert_eq!(parse(&[OsString::from_vec(vec![0xff])]), Ok(Call::NotSupported));
    }

    #[test]
    fn wrong_arguments_are_named() {
        assert_eq!(parse(&[]), Err(CallError::None));
        for bad in [&["mount"][..], &["mount", "/f"], &["unmount"], &["unmount", "a", "b"], &["expandfs", "{}"]] {
            assert!(matches!(parse(&args(bad)), Err(CallError::Count { .. })), "{bad:?}");
        }
        for size in ["", "-1", "+1", "1.5", "1Gi", "99999999999999999999"] {
            let error = parse(&args(&["expandfs", "{}", "", "/f", size, "0"])).unwrap_err();
            assert_eq!(error, CallError::Size { what: "the new size" });
        }
        let invalid = OsString::from_vec(vec![b'{', 0xff, b'}']);
        assert_eq!(parse(&["mount".into(), "/f".into(), invalid]), Err(CallError::Encoding));
    }
}

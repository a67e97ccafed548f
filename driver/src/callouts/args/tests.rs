//! Tests of the parser: valid call-outs, unsupported ones, invalid arguments.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use super::{Call, CallError, parse};

fn args(args: &[&str]) -> Vec<OsString> {
    args.iter().map(OsString::from).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn parses_every_call_out() {
    let folder = OsStr::new("/f");
    assert_eq!(parse(&args(&["init"])), Ok(Call::Init));
    assert_eq!(parse(&args(&["init", "more"])), Ok(Call::Init));
    let device = OsStr::new("/dev/x");
    for (line, call) in [
        (
            &["getvolumename", "{}"][..],
            Call::GetVolumeName { options: "{}" },
        ),
        (
            &["attach", "{}", "n"],
            Call::Attach {
                options: "{}",
                node: "n",
            },
        ),
        (
            &["detach", "pv", "n"],
            Call::Detach {
                volume: OsStr::new("pv"),
                node: "n",
            },
        ),
        (
            &["waitforattach", "/dev/x", "{}"],
            Call::WaitForAttach {
                device,
                options: "{}",
            },
        ),
        (
            &["isattached", "{}", "n"],
            Call::IsAttached {
                options: "{}",
                node: "n",
            },
        ),
        (
            &["mountdevice", "/f", "/dev/x", "{}"],
            Call::MountDevice {
                folder,
                device,
                options: "{}",
            },
        ),
        (&["unmountdevice", "/f"], Call::UnmountDevice { folder }),
        (
            &["mount", "/f", "{}"],
            Call::Mount {
                folder,
                device: None,
                options: "{}",
            },
        ),
        (
            &["mount", "/f", "/dev/x", "{}"],
            Call::Mount {
                folder,
                device: Some(device),
                options: "{}",
            },
        ),
        (&["unmount", "/f"], Call::Unmount { folder }),
        (
            &["expandvolume", "{}", "/f", "20", "10"],
            Call::ExpandVolume {
                options: "{}",
                size: 20,
            },
        ),
        (
            &["expandfs", "{}", "", "/f", "20", "10"],
            Call::ExpandFs {
                options: "{}",
                folder,
                size: 20,
            },
        ),
    ] {
        assert_eq!(parse(&args(line)), Ok(call));
    }
}

#[test]
fn unknown_call_outs_are_not_supported() {
    for verb in [
        "",
        "Init",
        "INIT",
        "Mount",
        "--help",
        "x",
        "provision",
        "getvolumenames",
        "mountdevice ",
    ] {
        assert_eq!(
            parse(&args(&[verb, "a", "b"])),
            Ok(Call::NotSupported),
            "{verb:?}"
        );
    }
    assert_eq!(
        parse(&[OsString::from_vec(vec![0xff])]),
        Ok(Call::NotSupported)
    );
}

#[test]
fn errors_name_the_invalid_argument() {
    assert_eq!(parse(&[]), Err(CallError::None));
    for verb in "getvolumename attach detach waitforattach isattached mountdevice unmountdevice mount unmount \
                 expandvolume expandfs"
        .split_whitespace()
    {
        for more in [&[][..], &["a"; 6]] {
            let line = [&[verb], more].concat();
            let error = parse(&args(&line)).unwrap_err();
            assert!(matches!(&error, CallError::Count { call, .. } if call == verb), "{line:?}: {error}");
        }
    }
    for size in ["", "-1", "+1", "1.5", "1Gi", "99999999999999999999"] {
        let error = parse(&args(&["expandfs", "{}", "", "/f", size, "0"])).unwrap_err();
        assert_eq!(
            error,
            CallError::Size {
                what: "the new size"
            }
        );
    }
    let invalid = OsString::from_vec(vec![b'{', 0xff, b'}']);
    assert_eq!(
        parse(&["mount".into(), "/f".into(), invalid]),
        Err(CallError::Encoding {
            what: "the options are"
        })
    );
}

//! Checks a file system before it is mounted, if its superblock requires that. Only ext4's does:
//! XFS and btrfs recover at mount time, and further damage needs an admin.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Kind};
use crate::process::{Cmd, Exec};

/// Repairs an unmounted ext4 with `e2fsck -p`, as far as that is safe.
///
/// `shown` is the device's path for messages. An interrupted check loses nothing: the superblock
/// still requires one, and the next call starts it again.
///
/// # Errors
/// When there is damage that `e2fsck -p` can't repair, or it fails or times out; the message names
/// the next step for the admin.
pub fn fsck(exec: &dyn Exec, path: &Path, shown: &Path, time: Duration) -> Result<(), Error> {
    let cmd = Cmd::new("e2fsck")
        .arg("-p")
        .arg(path.display().to_string())
        .timeout(time);
    let shown = shown.display();
    match exec.exec(&cmd) {
        // 0: no error; 1: errors, all repaired. See e2fsck(8).
        Ok(output) if matches!(output.code, Some(0 | 1)) => Ok(()),
        Ok(output) if output.code.is_some_and(|code| code & !0b111 == 0) => {
            Err(Error::failed(format!(
                "the ext4 on {shown} is damaged, and `e2fsck -p` can't repair it: copy the volume if possible, \
                 then run `e2fsck -f {shown}` on the node; output: {}",
                output.summary()
            )))
        }
        Ok(output) => Err(output.failed(&cmd, Kind::Failed)),
        Err(Error::Deadline { command, limit }) => Err(Error::failed(format!(
            "{command} timed out after {} s and was killed; the next attempt starts over. If this repeats, run \
                 `e2fsck -p {shown}` on the node by hand: then the volume is mounted without a check",
            limit.as_secs()
        ))),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{Cmd, Duration, Error, Exec, Kind, Path, fsck};
    use crate::process::Output;

    /// Exits with this status; times out without one.
    struct Fake(Option<i32>);

    impl Exec for Fake {
        fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
            assert_eq!(cmd.line(), "e2fsck -p /dev/dm-3");
            let Some(code) = self.0 else {
                return Err(Error::Deadline {
                    command: cmd.line(),
                    limit: cmd.limit(),
                });
            };
            let code = (code >= 0).then_some(code);
            Ok(Output {
                code,
                stdout: b"RUN fsck MANUALLY".to_vec(),
                stderr: Vec::new(),
            })
        }
    }

    #[test]
    fn fsck_accepts_only_clean_or_repaired_file_system() {
        let check = |code| {
            fsck(
                &Fake(code),
                Path::new("/dev/dm-3"),
                Path::new("/dev/mapper/a-b"),
                Duration::ZERO,
            )
        };
        assert!(check(Some(0)).is_ok() && check(Some(1)).is_ok());
        for code in [Some(2), Some(3), Some(4), Some(5), Some(6), Some(7)] {
            let text = check(code).unwrap_err().to_string();
            assert!(
                text.contains("`e2fsck -f /dev/mapper/a-b`") && text.contains("MANUALLY"),
                "{code:?}: {text}"
            );
        }
        for code in [Some(8), Some(12), Some(16), Some(32), Some(128), Some(-1)] {
            assert_eq!(check(code).unwrap_err().kind(), Kind::Failed, "{code:?}");
        }
        let error = check(None).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("timed out after") && text.contains("`e2fsck -p /dev/mapper/a-b`"),
            "{text}"
        );
    }
}

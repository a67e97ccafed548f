//! A secret that a program reads from its standard input.

use std::fmt;
use std::sync::Arc;

/// Bytes that reach the standard input of one program and nothing else: no argument, no message, no
/// log. `Debug` prints their number; there is no way to display, compare or serialize them.
#[derive(Clone)]
pub struct Secret(Arc<Wiped>);

impl Secret {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Wiped(bytes)))
    }

    /// Returns the bytes. Only the process room calls it, to write them into a pipe.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret({} bytes)", self.0.0.len())
    }
}

/// Overwrites the bytes when the last owner drops them, so that they don't stay in freed memory.
/// Without `unsafe` that is the best effort: the compiler may omit a write that nothing reads, so
/// the zeros are read once more through [`std::hint::black_box`].
struct Wiped(Vec<u8>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;
    use crate::process::{Cmd, Exec, System};
    use std::time::Duration;

    const TEXT: &str = "correct-horse-battery-staple";

    fn secret() -> Secret {
        Secret::new(TEXT.into())
    }

    fn sh(script: &str) -> Cmd {
        Cmd::new("sh").args(["-c", script]).stdin(secret())
    }

    #[test]
    fn secret_reaches_standard_input_completely() {
        let output = System::current().exec(&sh("cat")).unwrap();
        assert_eq!(output.stdout, TEXT.as_bytes());
        let large = Secret::new(vec![b'x'; 3 << 20]);
        let count = Cmd::new("wc").arg("-c").stdin(large);
        let output = System::current().exec(&count).unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap().trim(),
            (3 << 20).to_string()
        );
    }

    #[test]
    fn secret_is_in_no_argument_and_no_environment() {
        let script = "tr '\\0' ' ' </proc/$$/cmdline; tr '\\0' ' ' </proc/$$/environ";
        let output = System::current().exec(&sh(script)).unwrap();
        assert!(output.success() && !output.stdout.is_empty());
        assert!(!String::from_utf8(output.stdout).unwrap().contains(TEXT));
    }

    #[test]
    fn secret_is_in_no_debug_output_no_line_and_no_error() {
        let cmd = sh("exit 3");
        let failed = System::current()
            .exec(&cmd)
            .unwrap()
            .failed(&cmd, crate::error::Kind::Failed);
        let late = System::current()
            .exec(&sh("sleep 5").timeout(Duration::from_millis(50)))
            .unwrap_err();
        let missing = System::current()
            .exec(&Cmd::new("no-such-program").stdin(secret()))
            .unwrap_err();
        let texts = [
            format!("{:?}", secret()),
            format!("{cmd:?} {}", cmd.line()),
            format!("{failed:?} {failed}"),
            format!("{late:?} {late}"),
            format!("{missing:?} {}", crate::error::chain(&missing)),
        ];
        for text in texts {
            assert!(!text.contains(TEXT), "{text}");
        }
    }

    #[test]
    fn program_that_reads_nothing_is_not_waited_for() {
        let large = Secret::new(vec![0; 3 << 20]);
        let cmd = Cmd::new("true")
            .stdin(large)
            .timeout(Duration::from_secs(20));
        assert!(System::current().exec(&cmd).unwrap().success());
    }
}

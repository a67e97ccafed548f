//! The suite's programs, which `cluster/prepare e2e` builds, and the images that its pods run,
//! packed from busybox and agnhost.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use harness::kubernetes::Kubernetes;

/// Images of which the specs only run shell scripts, by the ends of their names.
const SHELL_IMAGES: &[&str] = &["/busybox", "/glibc-dns-testing", "/nginx"];

/// The image of Kubernetes' test program, which also needs a shell.
const AGNHOST: &str = "/agnhost";

/// The folder of e2e.test, ginkgo and agnhost.
#[derive(Debug)]
pub(crate) struct Programs(PathBuf);

impl Programs {
    /// The programs of this version of Kubernetes, whose folder is next to that of Kubernetes.
    pub(crate) fn of(kubernetes: &Kubernetes) -> Result<Self> {
        let mut folder = kubernetes.folder().as_os_str().to_owned();
        folder.push("-e2e");
        let folder = PathBuf::from(folder);
        ensure!(
            folder.is_dir(),
            "{} is missing: `tests/cluster/prepare e2e` builds it for Kubernetes 1.37",
            folder.display()
        );
        Ok(Self(folder))
    }

    pub(crate) fn path(&self, program: &str) -> PathBuf {
        self.0.join(program)
    }

    /// Packs the images, and returns their archives.
    pub(crate) fn pack_images(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let output = Command::new(self.path("e2e.test"))
            .arg("--list-images")
            .current_dir(folder)
            .output()
            .context("cannot run e2e.test")?;
        ensure!(output.status.success(), "e2e.test --list-images failed");
        let all = String::from_utf8(output.stdout)?;
        let named = |ends: &[&str]| -> Vec<&str> {
            all.lines()
                .filter(|image| {
                    image
                        .rsplit_once(':')
                        .is_some_and(|(name, _)| ends.iter().any(|end| name.ends_with(end)))
                })
                .collect()
        };
        let (shell, agnhost) = (folder.join("shell.tar"), folder.join("agnhost.tar"));
        pack(&shell, &[], &named(SHELL_IMAGES))?;
        let program = self.path("agnhost").display().to_string();
        pack(&agnhost, &["--entrypoint", &program], &named(&[AGNHOST]))?;
        Ok(vec![shell, agnhost])
    }
}

fn pack(archive: &Path, options: &[&str], names: &[&str]) -> Result<()> {
    ensure!(
        !names.is_empty(),
        "e2e.test --list-images has no image for {}",
        archive.display()
    );
    let status = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/pod-image"))
        .arg(archive)
        .args(options)
        .args(names)
        .status()
        .context("cannot run pod-image")?;
    ensure!(status.success(), "cannot pack {}", archive.display());
    Ok(())
}

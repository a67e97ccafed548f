//! FlexLVM's FlexVolume driver: the call-outs that the kubelet makes, and what the controller has to know of them.

mod allowed;
mod call;
mod driver_name;
mod error;
mod expandfs;
mod folder;
mod fsck;
mod grow;
mod guard;
pub mod log;
pub mod mkfs_options;
mod mkfs_table;
mod mount;
pub mod mount_options;
mod mount_table;
mod node;
pub mod options;
mod plan;
mod prepare;
mod reply;
pub mod settings;
mod twin;
mod unmount;
mod volume_folder;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use host::Bytes;

pub use allowed::OptionError;
pub use driver_name::{DriverName, DriverNameError};
pub use fsck::Fsck;
pub use guard::guarded;
pub use node::Node;
pub use options::VolumeOptions;
pub use reply::Reply;
pub use settings::Settings;
pub use volume_folder::VolumeFolder;

use call::Call;
use error::Error;

/// The vendor's part of the driver's name.
pub const VENDOR: &str = "flexlvm.dev";
/// The driver's part of its name, and the name of its file.
pub const NAME: &str = "lvm";
/// The driver's name, as PersistentVolumes spell it.
pub const DRIVER: &str = "flexlvm.dev/lvm";
/// The name of the driver's folder in the kubelet's plugin folder, and of its folders among a pod's volumes.
pub const FOLDER: &str = "flexlvm.dev~lvm";

/// Carries out the call-out that the arguments (without the program's name) ask for. The second value is a word for the
/// log about what went well, but not as it should.
#[must_use]
pub fn run(args: &[OsString], node: &Node<'_>) -> (Reply, Option<String>) {
    let done = |result: Result<Option<String>, Error>| match result {
        Ok(remark) => (Reply::Success, remark),
        Err(error) => (Reply::failure(&host::error::chain(&error)), None),
    };
    match call::parse(args) {
        Ok(Call::Init) => (Reply::Capabilities, None),
        Ok(Call::NotSupported) => (Reply::NotSupported, None),
        Ok(Call::Mount { folder, options }) => done(mount::mount(node, folder, options)),
        Ok(Call::Unmount { folder }) => done(unmount::unmount(node, folder).map(|()| None)),
        Ok(Call::ExpandFs { options, folder, size }) => {
            done(expandfs::expandfs(node, options, folder, Bytes(size)).map(|()| None))
        }
        Err(error) => done(Err(error.into())),
    }
}

/// Which volume the arguments are about, for the log: the last part of the folder, if that looks like a name.
fn volume_of(args: &[OsString]) -> Option<&str> {
    let folder: &OsStr = match args {
        [verb, folder, ..] if verb == "mount" || verb == "unmount" => folder,
        [verb, _, _, folder, ..] if verb == "expandfs" => folder,
        _ => return None,
    };
    // Anything else in its place may hold a secret.
    let name = Path::new(folder).is_absolute().then(|| Path::new(folder).file_name())??.to_str()?;
    (name.len() <= 253 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))).then_some(name)
}

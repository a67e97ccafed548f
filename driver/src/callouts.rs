//! The call-outs: [`args`] parses the arguments, one module per call-out carries it out, [`reply`]
//! is what `main` prints, [`log`] is the log line, and [`panic`] turns a panic into a reply.

pub(crate) mod args;
mod attach;
mod bind;
mod detach;
mod expandfs;
mod expandvolume;
mod init;
mod isattached;
pub mod log;
mod mount;
pub mod panic;
pub mod reply;
mod unmount;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use flexvolume::settings::DriverSettings;
use flexvolume::{kubelet_path, options};
use host::Bytes;

use crate::error::Error;
use crate::mounting::target_dir::FolderScope;
use crate::note::Note;
use crate::volume::context::Node;
use args::Call;
use reply::Reply;

/// The result of a call-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the kubelet gets.
    pub reply: Reply,
    /// What the log gets in addition.
    pub note: Option<Note>,
}

impl Outcome {
    fn success(note: Option<Note>) -> Self {
        Self {
            reply: Reply::Success,
            note,
        }
    }

    fn failure(error: &dyn std::error::Error) -> Self {
        Reply::failure(&host::error::chain(error)).into()
    }
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        Self { reply, note: None }
    }
}

/// Carries out the call-out in the arguments (without the program's name).
#[must_use]
pub fn run(args: &[OsString], node: &Node<'_>) -> Outcome {
    let settings = DriverSettings::read(&node.settings);
    match args::parse(args) {
        Ok(Call::Init) => init::init(node, settings),
        Ok(Call::NotSupported) => Reply::NotSupported.into(),
        Ok(call) => settings
            .map_err(Error::from)
            .and_then(|settings| carry_out(call, node, &settings))
            .unwrap_or_else(|error| Outcome::failure(&error)),
        Err(error) => Outcome::failure(&error),
    }
}

fn carry_out(call: Call<'_>, node: &Node<'_>, settings: &DriverSettings) -> Result<Outcome, Error> {
    Ok(match call {
        Call::Init | Call::NotSupported => Reply::NotSupported.into(),
        Call::GetVolumeName { options } => Reply::VolumeName(options::name(options)?).into(),
        Call::Attach {
            options,
            node: name,
        } => Reply::Device(attach::attach(node, settings, options, name)?).into(),
        Call::Detach { volume, node: name } => {
            Outcome::success(detach::detach(node, settings, volume, name)?)
        }
        Call::WaitForAttach { device, options } => {
            Reply::Device(attach::wait_for_attach(node, device, options)?).into()
        }
        Call::IsAttached {
            options,
            node: name,
        } => Reply::Attached(isattached::is_attached(node, settings, options, name)?).into(),
        Call::MountDevice {
            folder,
            device,
            options,
        } => Outcome::success(mount::mount_for_all(node, folder, device, options)?),
        Call::UnmountDevice { folder } => {
            Outcome::success(unmount::unmount_device(node, settings, folder)?)
        }
        Call::Mount {
            folder,
            device,
            options,
        } => Outcome::success(mount(node, settings, folder, device, options)?),
        Call::Unmount { folder } => {
            unmount::unmount(node, folder, FolderScope::OnePod)?;
            Reply::Success.into()
        }
        Call::ExpandVolume { options, size } => {
            expandvolume::expandvolume(node, options, Bytes(size))?;
            Reply::Success.into()
        }
        Call::ExpandFs {
            options,
            folder,
            size,
        } => {
            expandfs::expandfs(node, options, folder, Bytes(size))?;
            Reply::Success.into()
        }
    })
}

/// Carries out `mount`: in attach mode without a device, the volume is mounted for all pods already.
fn mount(
    node: &Node<'_>,
    settings: &DriverSettings,
    folder: &OsStr,
    device: Option<&OsStr>,
    options: &str,
) -> Result<Option<Note>, Error> {
    if device.is_none() && settings.attach {
        bind::bind(node, folder, options)?;
        return Ok(None);
    }
    mount::mount(node, folder, device.unwrap_or_default(), options)
}

/// Returns the name of the volume that the arguments are about, for the log.
///
/// It is the last part of the folder, or the volume's name, if it has the form of one. Nothing else
/// of the arguments is logged: they may hold a secret.
fn volume_of(args: &[OsString]) -> Option<String> {
    let (verb, rest) = args.split_first()?;
    let name = match (verb.to_str()?, rest) {
        ("mount" | "unmount" | "mountdevice" | "unmountdevice", [folder, ..])
        | ("expandfs", [_, _, folder, ..]) => name_of_folder(folder),
        ("getvolumename" | "attach" | "isattached" | "expandvolume", [options, ..])
        | ("waitforattach", [_, options, ..]) => options::name(options.to_str()?).ok(),
        ("detach", [name, ..]) => name.to_str().map(str::to_owned),
        _ => None,
    }?;
    kubelet_path::is_plain(name.as_bytes()).then_some(name)
}

fn name_of_folder(folder: &OsStr) -> Option<String> {
    let folder = Path::new(folder);
    if !folder.is_absolute() {
        return None;
    }
    Some(folder.file_name()?.to_str()?.to_owned())
}

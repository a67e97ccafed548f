//! The call-outs: [`args`] parses the arguments, one module per call-out carries it out, [`reply`]
//! is what `main` prints, [`log`] is the log line, and [`panic`] turns a panic into a reply.

pub(crate) mod args;
mod attach;
mod bind;
mod detach;
mod expandfs;
mod expandvolume;
mod isattached;
pub mod log;
mod mount;
pub mod panic;
pub mod reply;
mod unmount;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use flexvolume::settings::{DriverSettings, SettingsError};
use flexvolume::{kubelet_path, options};
use host::Bytes;

use crate::error::Error;
use crate::mounting::target_dir::FolderScope;
use crate::volume::context::Node;
use args::Call;
use reply::Reply;

/// A reply, and a note for the log about a deviation that is not a failure.
type Outcome = (Reply, Option<String>);

/// Carries out the call-out in the arguments (without the program's name).
///
/// The second value is a note for the log about a deviation that is not a failure.
#[must_use]
pub fn run(args: &[OsString], node: &Node<'_>) -> (Reply, Option<String>) {
    let settings = DriverSettings::read(&node.settings);
    let result = match args::parse(args) {
        Ok(Call::Init) => Ok(init(settings)),
        Ok(Call::NotSupported) => Ok((Reply::NotSupported, None)),
        Ok(call) => settings
            .map_err(Error::from)
            .and_then(|settings| carry_out(call, node, &settings)),
        Err(error) => Err(error.into()),
    };
    result.unwrap_or_else(|error| (Reply::failure(&host::error::chain(&error)), None))
}

/// Replies to `init`. Never fails: the kubelet does not load drivers whose `init` fails.
fn init(settings: Result<DriverSettings, SettingsError>) -> Outcome {
    let (settings, note) = match settings {
        Ok(settings) => (settings, None),
        Err(error) => (DriverSettings::default(), Some(host::error::chain(&error))),
    };
    (
        Reply::Capabilities {
            attach: settings.attach,
        },
        note,
    )
}

fn carry_out(call: Call<'_>, node: &Node<'_>, settings: &DriverSettings) -> Result<Outcome, Error> {
    let noted = |note| (Reply::Success, note);
    let done = |()| (Reply::Success, None);
    let answer = |reply| (reply, None);
    match call {
        Call::Init | Call::NotSupported => Ok(answer(Reply::NotSupported)),
        Call::GetVolumeName { options } => Ok(answer(Reply::VolumeName(options::name(options)?))),
        Call::Attach {
            options,
            node: name,
        } => attach::attach(node, settings, options, name)
            .map(Reply::Device)
            .map(answer),
        Call::Detach { volume, node: name } => {
            detach::detach(node, settings, volume, name).map(noted)
        }
        Call::WaitForAttach { device, options } => attach::wait_for_attach(node, device, options)
            .map(Reply::Device)
            .map(answer),
        Call::IsAttached {
            options,
            node: name,
        } => isattached::is_attached(node, settings, options, name)
            .map(Reply::Attached)
            .map(answer),
        Call::MountDevice {
            folder,
            device,
            options,
        } => mount::mount_for_all(node, folder, device, options).map(noted),
        Call::UnmountDevice { folder } => {
            unmount::unmount_device(node, settings, folder).map(noted)
        }
        Call::Mount {
            folder,
            device: None,
            options,
        } if settings.attach => bind::bind(node, folder, options).map(done),
        Call::Mount {
            folder,
            device,
            options,
        } => mount::mount(node, folder, device.unwrap_or_default(), options).map(noted),
        Call::Unmount { folder } => unmount::unmount(node, folder, FolderScope::OnePod).map(done),
        Call::ExpandVolume { options, size } => {
            expandvolume::expandvolume(node, options, Bytes(size)).map(done)
        }
        Call::ExpandFs {
            options,
            folder,
            size,
        } => expandfs::expandfs(node, options, folder, Bytes(size)).map(done),
    }
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

//! The call-outs: the arguments are read ([`args`]), one of them is carried out, and the answer
//! ([`reply`]) is written by `main`, who also has it logged ([`log`]) and outlives a panic
//! ([`panic`]). Each call-out has a file of its own.

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

/// An answer, and a word for the log about what went well, but not as it should.
type Outcome = (Reply, Option<String>);

/// Carries out the call-out that the arguments (without the program's name) ask for. The second
/// value is a word for the log about what went well, but not as it should.
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

/// Never fails: a kubelet whose drivers fail here has none of them.
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

/// Which volume the arguments are about, for the log: by the last part of the folder, or by its
/// name, if that looks like one. Whatever else stands there may hold a secret.
fn volume_of(args: &[OsString]) -> Option<String> {
    let (verb, rest) = args.split_first()?;
    let of_folder = |folder: &OsStr| {
        let folder = Path::new(folder);
        let name = folder.is_absolute().then(|| folder.file_name())??;
        Some(name.to_str()?.to_owned())
    };
    let of_json = |options: &OsStr| options::name(options.to_str()?).ok();
    let name = match (verb.to_str()?, rest) {
        ("mount" | "unmount" | "mountdevice" | "unmountdevice", [folder, ..])
        | ("expandfs", [_, _, folder, ..]) => of_folder(folder),
        ("getvolumename" | "attach" | "isattached" | "expandvolume", [options, ..])
        | ("waitforattach", [_, options, ..]) => of_json(options),
        ("detach", [name, ..]) => name.to_str().map(str::to_owned),
        _ => None,
    }?;
    kubelet_path::is_plain(name.as_bytes()).then_some(name)
}

//! What the kernel swaps to.

use crate::block::dev_num::DevNum;
use std::fs;
use std::path::Path;

use device_path::DevicePath;

use crate::block::lv_device::Roots;
use crate::block::resolve;

/// Returns whether the kernel swaps to the device with this number, by the node's `/proc`.
#[must_use]
pub fn is_swap(proc: &Path, roots: &Roots, number: DevNum) -> bool {
    let swaps = fs::read_to_string(proc.join("swaps")).unwrap_or_default();
    let mut paths = swaps
        .lines()
        .skip(1)
        .filter_map(|line| DevicePath::new(line.split_whitespace().next()?).ok());
    paths.any(|path| resolve::number_at(roots, &path) == Some(number))
}

//! The network of a cluster: a bridge with the control plane and one tap device per node.
//!
//! It has no connection to the outside; all addresses are fixed.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

/// The control plane's address.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The address of the `kubernetes` service: on the bridge itself, so that no kube-proxy is needed.
pub const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The highest node number.
pub const NODES: u8 = 9;

/// Returns the address of a node.
#[must_use]
pub fn node_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 10 + number)
}

/// Returns the name of the node with this address.
#[must_use]
pub fn node_name(address: Ipv4Addr) -> String {
    format!("node{}", address.octets()[3].saturating_sub(10))
}

/// Returns the tap device of a node.
#[must_use]
pub fn tap(number: u8) -> String {
    format!("tap{number}")
}

/// Returns the hardware address of a node.
#[must_use]
pub fn mac(number: u8) -> String {
    format!("02:00:0a:4d:00:{:02x}", 10 + number)
}

/// Creates the network, unless this program has created it already.
pub fn create() -> Result<()> {
    static IS_CREATED: Mutex<bool> = Mutex::new(false);
    let mut is_created = IS_CREATED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_created {
        create_devices()?;
        *is_created = true;
    }
    Ok(())
}

fn create_devices() -> Result<()> {
    let mut batch = vec![
        "link set lo up".to_owned(),
        "link add nodes type bridge".to_owned(),
        "link set nodes up".to_owned(),
        format!("address add {HOST}/24 dev nodes"),
        format!("address add {KUBERNETES_SERVICE}/32 dev nodes"),
    ];
    for number in 1..=NODES {
        let tap = tap(number);
        let address = node_address(number);
        batch.push(format!("tuntap add {tap} mode tap"));
        batch.push(format!("link set {tap} master nodes up"));
        // Routes to the pods of that node.
        batch.push(format!(
            "route add 10.244.{}.0/24 via {address}",
            10 + number
        ));
    }
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run ip")?;
    ip.stdin
        .take()
        .expect("it is a pipe")
        .write_all(batch.join("\n").as_bytes())?;
    anyhow::ensure!(ip.wait()?.success(), "ip could not create the network");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")
        .context("cannot enable forwarding between nodes")
}

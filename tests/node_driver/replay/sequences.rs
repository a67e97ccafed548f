//! The kubelet's sequences of call-outs, and the state in between. Pods are `a`, `b`, `c`; for the
//! steps see `kubelet_sim`. The steps after `reboot` run after a power cut.

/// A sequence of steps.
pub(crate) struct Sequence {
    /// A description for messages.
    pub(crate) name: &'static str,
    /// True for attach mode.
    pub(crate) attach: bool,
    /// True if independent of the file system: nothing is formatted, grown, recovered or mounted
    /// differently.
    pub(crate) of_any: bool,
    /// The steps, separated by semicolons.
    pub(crate) steps: &'static str,
}

const fn mounting(name: &'static str, steps: &'static str) -> Sequence {
    Sequence {
        name,
        attach: false,
        of_any: false,
        steps,
    }
}

const fn attaching(name: &'static str, steps: &'static str) -> Sequence {
    Sequence {
        name,
        attach: true,
        of_any: false,
        steps,
    }
}

impl Sequence {
    const fn of_any(self) -> Self {
        Self {
            of_any: true,
            ..self
        }
    }
}

/// All sequences; those with a reboot come last in either mode.
pub(crate) const ALL: &[Sequence] = &[
    mounting(
        "pods come and go",
        "mount a rw; write a; mount b ro; read b; locked b; unmount a; read b; unmount b;
         mount c rw; read c; unmount c",
    ),
    mounting(
        "the kubelet restarts",
        // A mounted volume that is still needed causes no call. One that is not needed is unmounted
        // by its path, mounted or not.
        "mount a rw; write a; folder b; restart; unmount b; read a; unmount a; unmount a; mount c rw; read c; unmount c",
    )
    .of_any(),
    mounting(
        "a pod is deleted by force",
        "mount a rw; mount b rw; write b; forget; unmount a; read b; unmount b; unmount a",
    )
    .of_any(),
    mounting(
        "growth while it is mounted",
        "mount a rw; write a; mount b rw; too-small a; extend; expandfs a; large a; expandfs b; read b; unmount a;
         expandfs b; unmount b",
    ),
    mounting(
        "growth at the next mount",
        "mount a rw; write a; unmount a; extend; mount b rw; large b; expandfs b; read b; unmount b",
    ),
    mounting(
        "the node reboots",
        "mount a rw; write a; mount b ro; folder c; reboot; free a; unmount a; unmount c; mount b rw; read b; unmount b",
    ),
    attaching(
        "attached, pods come and go",
        "attach; waitforattach; mountdevice; mount a rw; write a; waitforattach; mountdevice; mount b ro; read b; locked b;
         unmount a; read b; unmount b; unmountdevice; detach; inactive;
         attach; waitforattach; mountdevice; mount c rw; read c; unmount c; unmountdevice; detach; inactive",
    ),
    attaching(
        "attached, and detached elsewhere",
        // By a controller manager that does nothing on this node.
        "waitforattach; mountdevice; mount a rw; write a; unmount a; unmountdevice; inactive; waitforattach; mountdevice;
         mount b rw; read b; unmount b; unmountdevice; inactive",
    ),
    attaching(
        "attached, the kubelet restarts",
        "attach; waitforattach; mountdevice; mount a rw; write a; restart; unmount b; read a; unmount a; unmountdevice;
         unmountdevice; detach; detach; inactive",
    )
    .of_any(),
    attaching(
        "attached, a pod is deleted by force",
        // The controller manager force-detaches after six minutes: the device stays.
        "attach; waitforattach; mountdevice; mount a rw; write a; forget; detach; read a; unmount a; detach; unmountdevice;
         detach; inactive",
    )
    .of_any(),
    attaching(
        "attached, growth while it is mounted",
        "attach; waitforattach; mountdevice; mount a rw; write a; too-small a; extend; expandfs a; large a; read a; unmount a;
         unmountdevice; detach; inactive",
    ),
    attaching(
        "attached, growth between both mounts",
        // As kubelet 1.20 does it.
        "attach; waitforattach; mountdevice; mount a rw; write a; unmount a; unmountdevice; extend; waitforattach; mountdevice;
         expandfs all; mount b rw; large b; read b; unmount b; unmountdevice; detach; inactive",
    ),
    attaching(
        "attached, the node reboots",
        "attach; waitforattach; mountdevice; mount a rw; write a; reboot; free a; unmount a; unmountdevice; waitforattach;
         mountdevice; mount b rw; read b; unmount b; unmountdevice; detach; inactive",
    ),
];

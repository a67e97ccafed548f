//! Tests of the harness: a guest runs programs, keeps synced data, and ends with the program that
//! started it.

use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::guest::{Guest, Hardware, Host, compile};
use harness::network;
use harness::remote::Call;
use harness::suite::{self, Test};
use harness::wait::{LIMIT, until_blocking};
use harness::workplace::Workplace;

static WORKPLACE: LazyLock<Workplace> = LazyLock::new(|| Workplace::isolated().unwrap());

static GUEST: LazyLock<Mutex<Guest>> = LazyLock::new(|| {
    network::create().unwrap();
    let hardware = Hardware {
        disks_mib: vec![256, 256],
        ..Hardware::default()
    };
    let mut guest = Guest::create(&WORKPLACE, 1, &hardware).unwrap();
    guest.wait_until_up().unwrap();
    Mutex::new(guest)
});

fn main() -> ExitCode {
    suite::isolated_with_dump(
        || {
            vec![
                Test::new(
                    "arguments, input, output and status arrive unchanged",
                    arguments_arrive_unchanged,
                ),
                Test::new(
                    "hanging program is killed at its time limit",
                    hanging_program_is_killed,
                ),
                Test::new(
                    "only synced data survives a power cut",
                    power_cut_keeps_synced_data,
                ),
                Test::together(
                    "guest on this host isolates vector registers",
                    guest_on_this_host_isolates_vector_registers,
                ),
                Test::together(
                    "guest on a host with amx isolates vector registers",
                    guest_on_host_with_amx_isolates_vector_registers,
                ),
                Test::together(
                    "guest under timers, network and disk load never stands still",
                    guest_under_load_never_stands_still,
                ),
                Test::new(
                    "guest that panics at boot is reported with the cause",
                    guest_panic_at_boot_is_reported_with_cause,
                ),
                Test::new(
                    "stalled guest is reported by name",
                    stalled_guest_is_reported_by_name,
                ),
                Test::new(
                    "killed program leaves no guest behind",
                    killed_program_leaves_no_guest,
                ),
            ]
        },
        |_| {
            eprintln!(
                "{}",
                GUEST
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .console(30)
            );
        },
    )
}

fn arguments_arrive_unchanged() -> Result<()> {
    let guest = GUEST.lock().unwrap();
    let odd = "a 'b' \"c\" $HOME `id` \\ \n*";
    let output = guest.run(&["sh", "-c", "printf %s \"$1\"; cat >&2; exit 7", "sh", odd])?;
    ensure!(output.stdout == odd && output.status == 7, "{output:?}");

    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    let input = vec![0xfe_u8; 3 << 20];
    let status = guest.remote().stream(
        &Call::new(["cat"]),
        std::io::Cursor::new(input.clone()),
        &mut stdout,
        &mut stderr,
    )?;
    ensure!(status == 0 && stdout == input && stderr.is_empty());
    ensure!(guest.run(&["/no/such/program"])?.status == 127);
    Ok(())
}

fn hanging_program_is_killed() -> Result<()> {
    let guest = GUEST.lock().unwrap();
    let mut call = Call::new(["sh", "-c", "sleep 300 & sleep 300"]);
    call.limit_s = Some(1);
    ensure!(guest.remote().output(&call)?.status == 128 + 9);
    ensure!(guest.run(&["pidof", "sleep"])?.stdout.is_empty());
    Ok(())
}

fn power_cut_keeps_synced_data() -> Result<()> {
    let mut guest = GUEST.lock().unwrap();
    guest.make_volume_group("vg0")?;
    guest.shell(
        "lvcreate -qq -L 32M -n data vg0; mkfs.ext4 -q /dev/vg0/data; mount /dev/vg0/data /mnt
         echo kept >/mnt/kept; sync; echo lost >/mnt/lost",
    )?;
    guest.cut_power()?;
    guest.power_on(&WORKPLACE)?;
    guest.wait_until_up()?;
    let files =
        guest.shell("lvchange -ay vg0/data; mount /dev/vg0/data /mnt; cat /mnt/kept; ls /mnt")?;
    ensure!(files == "kept\nkept\nlost+found", "{files}");
    Ok(())
}

fn killed_program_leaves_no_guest() -> Result<()> {
    let mut maker = Command::new(env!("CARGO_BIN_EXE_in-guest"))
        .env_remove("FLEXLVM_ISOLATED")
        .args(["sh", "-c", "echo up; sleep 300"])
        .stdout(Stdio::piped())
        .spawn()?;
    // The program's output arrives only once the guest runs.
    let mut output = maker.stdout.take().unwrap();
    std::io::Read::read_exact(&mut output, &mut [0; 3])?;
    let before = kernels()?;
    maker.kill()?;
    maker.wait()?;
    until_blocking("its guest is gone", LIMIT, || {
        Ok((kernels()? < before).then_some(()))
    })
}

/// Counts the guests in these namespaces and in nested ones.
fn kernels() -> Result<usize> {
    Ok(
        String::from_utf8(Command::new("pidof").arg("linux.uml").output()?.stdout)?
            .split_whitespace()
            .count(),
    )
}

/// Seconds for which a guest computes or works under load.
const SOAK_SECONDS: &str = "60";

/// Creates a guest in addition to the one that tests share.
fn further_guest(number: u8, host: Host) -> Result<Guest> {
    LazyLock::force(&GUEST);
    let hardware = Hardware {
        memory_mib: 512,
        disks_mib: vec![256],
        host,
        ..Hardware::default()
    };
    Guest::create(&WORKPLACE, number, &hardware)
}

/// Compiles a program on the host and returns its path in a guest.
fn program(name: &str, source: &str, flags: &[&str]) -> Result<String> {
    let path = compile(&WORKPLACE, name, source, flags)?;
    Ok(format!("/.host{}", path.display()))
}

fn guest_on_this_host_isolates_vector_registers() -> Result<()> {
    isolates_vector_registers(further_guest(2, Host::Usual)?)
}

fn guest_on_host_with_amx_isolates_vector_registers() -> Result<()> {
    isolates_vector_registers(further_guest(3, Host::Amx)?)
}

/// Runs processes that compute with all kinds of registers and preempt each other, for a minute.
fn isolates_vector_registers(mut guest: Guest) -> Result<()> {
    guest.wait_until_up()?;
    // Without contraction into fused operations all instruction sets produce the same bits.
    let flags = ["-ffp-contract=off"];
    let vectors = program("vectors", include_str!("vectors.c"), &flags)?;
    let found = guest.shell(&format!("{vectors} {SOAK_SECONDS} 4"))?;
    println!("{}: {found}", guest.name());
    ensure!(
        found.ends_with(" wrong=0") && !found.contains("rounds=0"),
        "{found}"
    );
    guest.cut_power()
}

fn guest_under_load_never_stands_still() -> Result<()> {
    let mut guest = further_guest(4, Host::Usual)?;
    guest.wait_until_up()?;
    let timers = program("timers", include_str!("timers.c"), &["-pthread"])?;
    let remote = guest.remote();
    let end = AtomicBool::new(false);
    let found = std::thread::scope(|scope| -> Result<String> {
        let network = scope.spawn(|| -> Result<()> {
            while !end.load(Ordering::Relaxed) {
                let input = vec![1_u8; 1 << 20];
                let mut output = Vec::new();
                let cat = Call::new(["cat"]);
                remote.stream(
                    &cat,
                    std::io::Cursor::new(input),
                    &mut output,
                    &mut Vec::new(),
                )?;
                ensure!(output.len() == 1 << 20, "{} bytes returned", output.len());
            }
            Ok(())
        });
        let found = guest.shell(&format!(
            "mkfs.ext4 -q /dev/ubdb; mount /dev/ubdb /mnt; {timers} {SOAK_SECONDS} 20 >/tmp/timers &
             while kill -0 $!; do
                 dd if=/dev/zero of=/mnt/file bs=64k count=64 conv=fsync; sleep 0.01
             done >/dev/null 2>&1
             cat /tmp/timers",
        ));
        end.store(true, Ordering::Relaxed);
        network.join().expect("no panic in the network load")?;
        found
    })?;
    let silence = guest.longest_silence();
    println!(
        "{}: {found}, longest silence {} ms",
        guest.name(),
        silence.as_millis()
    );
    ensure!(
        silence < Duration::from_secs(3),
        "{} stood still for {silence:?}",
        guest.name()
    );
    let longest = found
        .rsplit('=')
        .next()
        .unwrap_or_default()
        .parse::<u64>()?;
    ensure!(longest < 3000, "a sleep of at most 5 ms took {longest} ms");
    guest.cut_power()
}

fn guest_panic_at_boot_is_reported_with_cause() -> Result<()> {
    let mut guest = further_guest(5, Host::AmxWithoutWorkarounds)?;
    let error = format!("{:#}", guest.wait_until_up().expect_err("it panics"));
    let last = error.lines().last().unwrap_or_default();
    ensure!(
        last.starts_with("node5 ended at boot: ") && last.contains("ptrace set fp regs failed"),
        "{error}"
    );
    guest.cut_power()
}

/// Stops the kernel's process, which simulates a clock that stands still.
fn stalled_guest_is_reported_by_name() -> Result<()> {
    let mut guest = further_guest(6, Host::Usual)?;
    guest.wait_until_up()?;
    guest.pause()?;
    let report = until_blocking("the guest is reported", LIMIT, || Ok(guest.stall()))?;
    guest.resume()?;
    ensure!(
        report.starts_with("node6 stands still: no sign of life for"),
        "{report}"
    );
    until_blocking("the guest moves again", LIMIT, || {
        Ok(guest.stall().is_none().then_some(()))
    })?;
    guest.cut_power()
}

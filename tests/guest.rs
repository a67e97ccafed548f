//! The harness itself: a guest that runs what it is told, keeps what was synced, and dies with its
//! maker.

use std::process::{Command, ExitCode, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::guest::{Guest, Hardware};
use harness::network;
use harness::remote::Call;
use harness::suite::{self, Test};
use harness::wait::until_blocking;
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
    let tests = || {
        vec![
            Test::new(
                "arguments, input, output and status arrive as they are",
                arguments_arrive_as_they_are,
            ),
            Test::new(
                "a program that hangs is killed at its limit",
                a_hanging_program_is_killed,
            ),
            Test::new(
                "what was synced survives a power cut, what was not does not",
                a_power_cut_keeps_what_was_synced,
            ),
            Test::new(
                "a killed program leaves no guest behind",
                a_killed_program_leaves_no_guest,
            ),
        ]
    };
    suite::isolated_with_dump(tests, |_| {
        eprintln!(
            "{}",
            GUEST
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .console(30)
        );
    })
}

fn arguments_arrive_as_they_are() -> Result<()> {
    let guest = GUEST.lock().unwrap();
    let odd = "a 'b' \"c\" $HOME `id` \\ \n*";
    let output = guest.run(&["sh", "-c", "printf %s \"$1\"; cat >&2; exit 7", "sh", odd])?;
    ensure!(output.stdout == odd && output.status == 7, "{output:?}");

    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
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

fn a_hanging_program_is_killed() -> Result<()> {
    let guest = GUEST.lock().unwrap();
    let mut call = Call::new(["sh", "-c", "sleep 300 & sleep 300"]);
    call.limit_s = Some(1);
    ensure!(guest.remote().output(&call)?.status == 128 + 9);
    ensure!(guest.run(&["pidof", "sleep"])?.stdout.is_empty());
    Ok(())
}

fn a_power_cut_keeps_what_was_synced() -> Result<()> {
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

fn a_killed_program_leaves_no_guest() -> Result<()> {
    let mut maker = Command::new(env!("CARGO_BIN_EXE_in-guest"))
        .env_remove("FLEXLVM_ISOLATED")
        .args(["sh", "-c", "echo up; sleep 300"])
        .stdout(Stdio::piped())
        .spawn()?;
    // Output comes only once the guest runs.
    let mut output = maker.stdout.take().unwrap();
    std::io::Read::read_exact(&mut output, &mut [0; 3])?;
    let before = kernels()?;
    maker.kill()?;
    maker.wait()?;
    until_blocking("its guest is gone", Duration::from_secs(10), || {
        Ok((kernels()? < before).then_some(()))
    })
}

/// How many guests run in these namespaces, and in those within.
fn kernels() -> Result<usize> {
    Ok(
        String::from_utf8(Command::new("pidof").arg("linux.uml").output()?.stdout)?
            .split_whitespace()
            .count(),
    )
}

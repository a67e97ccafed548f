//! Tests of the shell: which commands one process runs, and when it is started again.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{
    LONGEST_COMMAND, LastCommand, LvmShell, MAX_PAUSE, RETRY_START_AFTER, VARIABLES, line, status,
};
use crate::error::Error;
use crate::process::{Cmd, Exec, Output, Session, System};

/// As printed by LVM 2.03.16, built with editline.
const DONE: &str = r#"  {
      "log": [
          {"log_seq_num":"1", "log_type":"print", "log_context":"shell", "log_object_type":"cmd", "log_object_name":"lvcreate", "log_object_id":"", "log_object_group":"", "log_object_group_id":"", "log_message":"Logical volume \"a\" created.", "log_errno":"0", "log_ret_code":"0"},
          {"log_seq_num":"2", "log_type":"status", "log_context":"shell", "log_object_type":"cmd", "log_object_name":"lvcreate", "log_object_id":"", "log_object_group":"", "log_object_group_id":"", "log_message":"success", "log_errno":"0", "log_ret_code":"1"}
      ]
  }
"#;

/// A shell that prints a status for each line, as the rest of this script defines.
const SHELL: &str = r#"say() { echo '  {'; echo '"log": ['; echo "{\"log_type\":\"status\", \"log_ret_code\":\"$1\"}"; echo ']}'; }
    while read -r line; do case $line in version) say 1 ;; "#;

/// Records commands that run in a process of their own, and simulates LVM's shell with a script.
struct Programs {
    script: &'static str,
    ran: Mutex<Vec<String>>,
}

impl Exec for Programs {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        self.ran
            .lock()
            .unwrap()
            .push(cmd.arguments().last().unwrap().clone());
        Ok(Output {
            code: Some(0),
            ..Output::default()
        })
    }

    fn spawn_session(
        &self,
        cmd: &Cmd,
        variables: &'static [(&str, &str)],
    ) -> Result<Session, Error> {
        assert_eq!((cmd.line().as_str(), variables), ("lvm", VARIABLES));
        System::current().spawn_session(&Cmd::new("sh").args(["-c", self.script]), variables)
    }
}

fn shell_state(script: &str) -> LvmShell<Programs> {
    let script = format!("{SHELL} {script} esac; done").leak();
    LvmShell::new(Programs {
        script,
        ran: Mutex::default(),
    })
}

fn lvcreate(name: &str) -> Cmd {
    Cmd::new("lvm")
        .args(["lvcreate", "--yes", "--name", name])
        .timeout(Duration::from_secs(20))
}

/// Runs the commands; returns those that ran in a process of their own.
fn run(shell_state: &LvmShell<Programs>, commands: &[Cmd]) -> Vec<String> {
    for cmd in commands {
        assert!(shell_state.exec(cmd).unwrap().success(), "{}", cmd.line());
    }
    std::mem::take(&mut *shell_state.programs.ran.lock().unwrap())
}

#[test]
fn consecutive_lvcreates_share_one_shell() {
    let shell_state = shell_state("lvcreate*) say 1 ;;");
    assert_eq!(run(&shell_state, &["a", "b", "c"].map(lvcreate)), ["a"]);
    let others = [
        Cmd::new("lvm").args(["lvremove", "--yes", "x"]),
        Cmd::new("lvm").args(["lvcreate", "y"]),
    ];
    assert_eq!(
        run(&shell_state, &others),
        ["x", "y"],
        "what removes, and what may ask, is run by itself"
    );
    // After an idle period the shell is closed, and the next lvcreate runs by itself again.
    std::thread::sleep(Duration::from_millis(2500));
    assert!(shell_state.shell_state.lock().unwrap().shell.is_none());
    assert_eq!(run(&shell_state, &["d", "e"].map(lvcreate)), ["d"]);
}

#[test]
fn failed_shell_command_runs_again_by_itself() {
    let shell_state = shell_state("*b*) say 5 ;; lvcreate*) say 1 ;;");
    assert_eq!(
        run(&shell_state, &["a", "b", "c"].map(lvcreate)),
        ["a", "b"]
    );
}

#[test]
fn malformed_shell_output_is_no_success() {
    for script in [
        "*b*) exit 0 ;;",
        "*b*) kill -9 $$ ;;",
        "*b*) head -c 9000000 /dev/zero ;;",
        // A late answer does not belong to the next command.
        "*b*) echo '{'; echo x; sleep 0.3; say 1 ;;",
    ] {
        let shell_state = shell_state(&format!("{script} *' c') say 5 ;; *' d') say 1 ;;"));
        assert_eq!(
            run(&shell_state, &["a", "b"].map(lvcreate)),
            ["a", "b"],
            "{script}"
        );
        assert!(
            shell_state.shell_state.lock().unwrap().shell.is_none(),
            "{script}"
        );
        assert_eq!(
            run(&shell_state, &["c", "d"].map(lvcreate)),
            ["c"],
            "{script}: another shell goes on"
        );
    }
}

#[test]
fn commands_run_by_themselves_without_shell() {
    for script in ["exit 1", "while read -r line; do echo 'lvm> '; exit; done"] {
        let shell_state = LvmShell::new(Programs {
            script,
            ran: Mutex::default(),
        });
        assert_eq!(
            run(&shell_state, &["a", "b", "c"].map(lvcreate)),
            ["a", "b", "c"]
        );
        assert!(
            shell_state
                .shell_state
                .lock()
                .unwrap()
                .failed_start
                .is_some()
        );
    }
}

#[test]
fn shell_is_tried_again_some_time_after_a_failed_start() {
    let shell_state = shell_state("lvcreate*) say 1 ;;");
    let failed_at = |at| shell_state.shell_state.lock().unwrap().failed_start = at;
    failed_at(Some(Instant::now()));
    assert_eq!(run(&shell_state, &["a", "b"].map(lvcreate)), ["a", "b"]);
    failed_at(Instant::now().checked_sub(RETRY_START_AFTER));
    assert!(run(&shell_state, &["c", "d"].map(lvcreate)).is_empty());
}

#[test]
fn hanging_shell_command_times_out() {
    let shell_state = shell_state("*b*) sleep 30 & wait ;; lvcreate*) say 1 ;;");
    assert_eq!(run(&shell_state, &[lvcreate("a")]), ["a"]);
    let error = shell_state
        .exec(&lvcreate("b").timeout(Duration::from_millis(300)))
        .unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    assert!(
        run(&shell_state, &[lvcreate("c")]).is_empty(),
        "another shell goes on"
    );
}

#[test]
fn status_waits_for_complete_output() {
    for end in 0..DONE.trim_end().len() {
        assert_eq!(status(&DONE.as_bytes()[..end]), None);
    }
    assert_eq!(status(DONE.as_bytes()), Some(true));
    // With readline, prompts and the echoed line appear between the answers.
    assert_eq!(
        status(format!("lvm> lvcreate --yes -n a vg0\n{DONE}lvm> ").as_bytes()),
        Some(true)
    );
    for other in [
        &DONE.replace("\"log_ret_code\":\"1\"", "\"log_ret_code\":\"5\""),
        "{\n\"log\": []}\n",
        "{\n}",
        "{\n]",
    ] {
        assert_eq!(status(other.as_bytes()), Some(false), "{other}");
    }
}

#[test]
fn line_accepts_only_plain_arguments() {
    let with =
        |word: &str| line(&Cmd::new("lvm").args(["lvcreate", "--yes", "--addtag", word, "vg0"]));
    assert_eq!(
        with("flexlvm.dev/claim=a/b").unwrap(),
        "lvcreate --yes --addtag flexlvm.dev/claim=a/b vg0"
    );
    for word in [
        "",
        "a b",
        "a\n",
        "a\tb",
        "#a",
        "'a",
        "a\"",
        "\\:",
        "\u{e4}",
        "\u{1b}",
        "--config=x",
    ] {
        assert_eq!(with(word), None, "{word:?}");
    }
    assert_eq!(line(&Cmd::new("lvm").args(["a"; 70])), None);
}

#[test]
fn pause_follows_the_speed_of_commands_that_did_not_hang() {
    let pause = |duration| {
        let last = LastCommand {
            end: std::time::Instant::now(),
            duration,
        };
        last.max_pause()
    };
    assert_eq!(pause(Duration::from_millis(20)), MAX_PAUSE);
    assert_eq!(pause(Duration::from_secs(2)), Duration::from_secs(20));
    let hung = LONGEST_COMMAND + Duration::from_millis(1);
    assert_eq!(pause(hung), MAX_PAUSE);
}

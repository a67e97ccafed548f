//! The commands of docs/how-to/backup.md, with the real program, on folders.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::markdown::Page;
use crate::read;

/// Returns the script of the page's object of a kind, with the folders of this test.
fn script(kind: &str, root: &Path) -> String {
    let page = Page::parse(&read("docs/how-to/backup.md"));
    let objects = page.code.iter().filter(|code| code.language == "yaml");
    let objects = objects.map(|code| serde_saphyr::from_str::<Value>(&code.text).unwrap());
    let object = objects
        .into_iter()
        .find(|object| object["kind"] == kind)
        .unwrap();
    let template = match kind {
        "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => &object["spec"]["template"],
    };
    let container = &template["spec"]["containers"][0];
    assert_eq!(container["command"], serde_json::json!(["sh", "-ec"]));
    let script = container["args"][0].as_str().unwrap();
    let root = root.display();
    // A restore writes below `--target` what the backup had by its whole path.
    script.replace(" /data", &format!(" {root}/data"))
}

fn run(script: &str, root: &Path) {
    let output = Command::new("sh")
        .args(["-ec", script])
        .env("RESTIC_REPOSITORY", root.join("repository"))
        .env("RESTIC_PASSWORD", "a long random text")
        .env("RESTIC_CACHE_DIR", root.join("cache"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn files_are_backed_up_and_restored_by_the_page() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let file = root.join("data/folder/file");
    std::fs::create_dir_all(root.join("data/folder")).unwrap();
    let backup = script("CronJob", root);
    for content in ["first", "second"] {
        std::fs::write(&file, content).unwrap();
        run(&backup, root); // the first run creates the repository, the second one finds it
    }
    std::fs::remove_dir_all(root.join("data")).unwrap();
    std::fs::create_dir_all(root.join("data")).unwrap();
    run(&script("Job", root), root);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "second");
}

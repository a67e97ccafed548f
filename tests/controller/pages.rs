//! The commands of the documentation's procedures.

use std::path::Path;
use std::process::Command;

use harness::apiserver::ApiServer;

/// The root of the repository.
pub(crate) const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Returns the blocks of a language in a section of a page, one text for each.
pub(crate) fn blocks(page: &str, section: &str, language: &str) -> Vec<String> {
    let page = std::fs::read_to_string(format!("{REPOSITORY}/{page}")).unwrap();
    let heading = format!("\n## {section}\n");
    let (_, rest) = page.split_once(&heading).expect("the page has the section");
    let text = rest.split("\n## ").next().unwrap();
    let fence = format!("```{language}");
    let mut blocks = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        match &mut block {
            None if trimmed == fence => {
                block = Some((line.len() - trimmed.len(), String::new()));
            }
            Some(_) if trimmed == "```" => blocks.extend(block.take().map(|(_, text)| text)),
            Some((indent, text)) => {
                text.push_str(line.get(*indent..).unwrap_or(trimmed));
                text.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// Returns the shell commands of a section of a page, one text for each block.
pub(crate) fn commands(page: &str, section: &str) -> Vec<String> {
    blocks(page, section, "sh")
}

/// Runs commands of a page in a folder, with `kubectl` of the server's version.
pub(crate) fn run(server: &ApiServer, folder: &Path, commands: &str) {
    let definitions = server.definitions().unwrap();
    let is_old = definitions.ends_with("/crds");
    let commands = if is_old {
        commands.replace("crds/cel", "crds")
    } else {
        commands.to_owned()
    };
    let path = format!(
        "{}:{}",
        server.kubernetes().folder().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", &commands])
        .current_dir(folder)
        .env("PATH", path)
        .env("KUBECONFIG", server.kubeconfig())
        .env("HOME", folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{commands}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

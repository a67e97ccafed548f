//! Commands, flags, variables and files that pages name.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::markdown::Page;
use crate::pages::{all, assert_none};
use crate::{ROOT, read};

/// Variables that neither program reads: of the build and the tests, and fields of the journal.
const OTHER_VARIABLES: [&str; 9] = [
    "FLEXLVM_CACHE",
    "FLEXLVM_SIMULATE",
    "FLEXLVM_VERSION",
    "FLEXLVM_PROCESSOR",
    "FLEXLVM_DRIVER",
    "FLEXLVM_CALL",
    "FLEXLVM_VOLUME",
    "FLEXLVM_OUTCOME",
    "FLEXLVM_MS",
];

/// Folders of the repository whose files pages name from its root.
const FOLDERS: [&str; 12] = [
    "config/",
    "charts/",
    "crds/",
    "tests/",
    "docs/",
    "release/",
    "image/",
    "host/",
    "driver/",
    "operator/",
    "placement/",
    "kubectl-flexlvm/",
];

/// Returns each line of code of a page with its number: those of blocks, and code within lines.
fn lines(page: &Page) -> Vec<(usize, String)> {
    let mut lines = page.spans.clone();
    for code in &page.code {
        // A command's further lines follow a backslash.
        let mut is_continued = false;
        for (line, number) in code.text.lines().zip(code.line + 1..) {
            let text = line.strip_suffix('\\').unwrap_or(line);
            match lines.last_mut() {
                Some((_, command)) if is_continued => command.push_str(text),
                _ => lines.push((number, text.to_owned())),
            }
            is_continued = text != line;
        }
    }
    lines
}

/// Checks each line of code of all pages.
fn check(mut fault: impl FnMut(&str, &str) -> Option<String>) {
    let mut faults = Vec::new();
    for (path, page) in all() {
        for (number, line) in lines(&page) {
            if let Some(fault) = fault(&path, &line) {
                faults.push(format!("{path}:{number}: {fault}"));
            }
        }
    }
    assert_none(&faults);
}

/// Returns what follows each occurrence of a command in a line, without a comment.
fn arguments<'a>(line: &'a str, command: &str) -> Vec<Vec<&'a str>> {
    let code = line.split(" #").next().unwrap_or_default();
    let mut found = Vec::new();
    for (at, _) in code.match_indices(command) {
        let is_word = |char: Option<char>| {
            char.is_none_or(|char| !char.is_alphanumeric() && !"-_/.".contains(char))
        };
        let after = &code[at + command.len()..];
        if is_word(code[..at].chars().next_back()) && is_word(after.chars().next()) {
            let own = after.split(['|', ';', '`', ')']).next().unwrap_or_default();
            found.push(own.split_whitespace().collect());
        }
    }
    found
}

#[test]
fn every_make_target_exists() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|line| line.split_once(": ##").or(line.split_once(':')))
        .map(|(target, _)| target)
        .collect();
    assert!(targets.contains("test-unit"));
    check(|_, line| {
        arguments(line, "make").into_iter().find_map(|words| {
            let target = *words.first()?;
            let is_target = target.starts_with(|char: char| char.is_ascii_lowercase());
            (is_target && !targets.contains(target))
                .then(|| format!("the Makefile has no target {target}"))
        })
    });
}

/// Returns why a program rejects the names in its arguments. Values may be placeholders.
fn rejected(program: &Command, words: &[&str]) -> Option<String> {
    let words = words.iter().map(|word| word.trim_matches(['[', ']']));
    let arguments = std::iter::once("program").chain(words);
    let error = program.clone().try_get_matches_from(arguments).err()?;
    matches!(
        error.kind(),
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand
    )
    .then(|| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().to_owned()
    })
}

#[test]
fn every_command_of_the_programs_has_known_names() {
    let plugin = kubectl_flexlvm::cli::Cli::command();
    let operator = operator::cli::Cli::command();
    let mut commands = 0;
    check(|_, line| {
        for words in arguments(line, "kubectl flexlvm") {
            commands += 1;
            if let Some(fault) = rejected(&plugin, &words) {
                return Some(format!("kubectl flexlvm {}: {fault}", words.join(" ")));
            }
        }
        for role in ["flexlvm controller", "flexlvm agent"] {
            for words in arguments(line, role) {
                let words = [&[&role["flexlvm ".len()..]], words.as_slice()].concat();
                if let Some(fault) = rejected(&operator, &words) {
                    return Some(format!("flexlvm {}: {fault}", words.join(" ")));
                }
            }
        }
        None
    });
    assert!(commands > 20, "only {commands} commands");
}

/// Returns the variables that a program reads.
fn variables(program: &Command) -> BTreeSet<String> {
    let own = program.get_arguments().filter_map(clap::Arg::get_env);
    let own = own.map(|name| name.to_string_lossy().into_owned());
    own.chain(program.get_subcommands().flat_map(variables))
        .collect()
}

#[test]
fn every_variable_exists() {
    let mut known = variables(&operator::cli::Cli::command());
    assert!(known.contains("FLEXLVM_ATTACH"));
    known.extend(OTHER_VARIABLES.map(str::to_owned));
    check(|_, line| {
        let words = line.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        words
            .filter(|word| word.starts_with("FLEXLVM_"))
            .find(|word| !known.contains(*word))
            .map(|word| format!("no program reads {word}"))
    });
}

#[test]
fn every_file_of_the_repository_exists() {
    check(|_, line| {
        let words =
            line.split(|char: char| char.is_whitespace() || "\"'`=(),:;[]<>".contains(char));
        words
            .map(|word| word.trim_start_matches("../flexlvm/").trim_end_matches('.'))
            .filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
            .filter(|word| {
                word.chars()
                    .all(|char| char.is_ascii_alphanumeric() || "/-_.".contains(char))
            })
            .find(|word| !Path::new(ROOT).join(word).exists())
            .map(|word| format!("the repository has no {word}"))
    });
}

#[test]
fn every_resource_of_flexlvm_exists() {
    let definitions = crds::all();
    let known: Vec<String> = definitions
        .iter()
        .flat_map(|definition| {
            let names = &definition.spec.names;
            [Some(names.plural.clone()), names.singular.clone()]
        })
        .flatten()
        .map(|name| format!("{name}.flexlvm.dev"))
        .collect();
    check(|_, line| {
        let words = line.split(|char: char| !char.is_ascii_alphanumeric() && !".-".contains(char));
        words
            .filter(|word| word.ends_with(".flexlvm.dev"))
            .find(|word| !known.iter().any(|name| name == word))
            .map(|word| format!("there is no resource {word}"))
    });
}

#[test]
fn every_parameter_of_a_class_is_documented() {
    let class = StorageClass {
        parameters: Some([("unknown".to_owned(), String::new())].into()),
        ..StorageClass::default()
    };
    let error = placement::class::read(&class, None)
        .unwrap_err()
        .to_string();
    let (_, names) = error.split_once("valid parameters are ").unwrap();
    let page = read("docs/reference/storageclass.md");
    let (_, table) = page
        .split_once("| parameter | meaning | default |")
        .unwrap();
    let documented: Vec<&str> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('`').nth(1).unwrap())
        .collect();
    let mut names: Vec<&str> = names.trim_end_matches(')').split(", ").collect();
    names.sort_unstable();
    let mut sorted = documented.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, names);
}

#[test]
fn every_block_of_shell_commands_can_be_parsed() {
    let mut faults = Vec::new();
    for (path, page) in all() {
        for code in page.code.iter().filter(|code| code.language == "sh") {
            let mut shell = Process::new("bash")
                .arg("-n")
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut input = shell.stdin.take().unwrap();
            input.write_all(code.text.as_bytes()).unwrap();
            drop(input);
            let output = shell.wait_with_output().unwrap();
            if !output.status.success() {
                let message = String::from_utf8_lossy(&output.stderr);
                faults.push(format!("{path}:{}: {}", code.line, message.trim()));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn names_that_do_not_exist_are_found() {
    let line = "kubectl flexlvm capacity 1Gi --size 3 # kubectl flexlvm none";
    let found = arguments(line, "kubectl flexlvm");
    assert_eq!(found, [["capacity", "1Gi", "--size", "3"]]);
    let plugin = kubectl_flexlvm::cli::Cli::command();
    for (words, is_known) in [
        (&["capacity", "[SIZE]", "--count", "3"][..], true),
        (&["completion", "SHELL"], true),
        (&["explain", "pvc"], true),
        (&["capacity", "1Gi", "--size", "3"], false),
        (&["unknown"], false),
    ] {
        assert_eq!(rejected(&plugin, words).is_none(), is_known, "{words:?}");
    }
    assert_eq!(
        arguments("`make it` and /bin/make x; cmake y", "make"),
        [["it"]]
    );
}

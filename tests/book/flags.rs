//! docs/reference/flags.md matches the command lines. `make generate` runs this with UPDATE=1,
//! which writes the page.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use crate::{ROOT, read};

const PATH: &str = "docs/reference/flags.md";

const INTRODUCTION: &str = "\
<!-- Made by `make generate` from operator/src/cli.rs and kubectl-flexlvm/src/cli.rs. Do not edit. -->
# Flags and environment

## flexlvm

The program in the image, with one role in each pod. A flag takes precedence over the variable of the environment. Set variables in the
[values of the chart](../../charts/flexlvm/values.yaml), in a kustomization of your own, or directly:

```sh
kubectl -n flexlvm-system set env deployment/flexlvm-controller FLEXLVM_LOG=debug
```
";

const PLUGIN: &str = "
## kubectl flexlvm

[The plugin](../kubectl-flexlvm.md) reads no variables but `KUBECONFIG`. These flags are for all of its commands:
";

/// Returns a help text as the content of a table's cell, as a sentence with a period.
fn cell(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let words: Vec<&str> = help.split_whitespace().collect();
    let text = words.join(" ").replace('|', "\\|");
    let is_complete = text.is_empty() || text.ends_with('.');
    if is_complete {
        text
    } else {
        format!("{text}.")
    }
}

/// Returns how an argument is written, as `-n`, `--namespace`.
fn name(argument: &Arg) -> String {
    let names = [
        argument.get_short().map(|short| format!("`-{short}`")),
        argument.get_long().map(|long| format!("`--{long}`")),
    ];
    let names: Vec<String> = names.into_iter().flatten().collect();
    if names.is_empty() {
        format!("`{}`", argument.get_id().as_str().to_uppercase())
    } else {
        names.join(", ")
    }
}

/// Appends a table of the arguments of a command that are not those of all its subcommands, or only
/// these.
fn write_table(text: &mut String, command: &Command, is_global: bool, has_variables: bool) {
    let hidden = ["help", "version"];
    let arguments: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| argument.is_global_set() == is_global)
        .filter(|argument| !hidden.contains(&argument.get_id().as_str()))
        .collect();
    if arguments.is_empty() {
        return;
    }
    text.push_str(if has_variables {
        "\n| flag | variable | default | meaning |\n|---|---|---|---|\n"
    } else {
        "\n| argument | default | meaning |\n|---|---|---|\n"
    });
    for argument in arguments {
        let variable = argument
            .get_env()
            .map(|name| format!("`{}`", name.display()));
        let variable = variable.unwrap_or_default();
        let is_switch = !argument.get_action().takes_values();
        let defaults: Vec<String> = argument
            .get_default_values()
            .iter()
            .filter(|_| !is_switch)
            .map(|value| format!("`{}`", value.display()))
            .collect();
        let default = if argument.is_required_set() {
            "*required*".to_owned()
        } else {
            defaults.join(", ")
        };
        let columns = if has_variables {
            format!("{variable} | {default}")
        } else {
            default
        };
        writeln!(
            text,
            "| {} | {columns} | {} |",
            name(argument),
            cell(argument)
        )
        .unwrap();
    }
}

/// Appends the sections of the subcommands of a command, named by their whole path.
fn write_subcommands(text: &mut String, command: &Command, path: &str, has_variables: bool) {
    for subcommand in command.get_subcommands() {
        let path = format!("{path} {}", subcommand.get_name());
        if subcommand.has_subcommands() {
            write_subcommands(text, subcommand, &path, has_variables);
        } else {
            // A command below another one is described there.
            let described = if command.get_name() == "explain" {
                command
            } else {
                subcommand
            };
            let about = described.get_about().map(ToString::to_string);
            let about = about.unwrap_or_default();
            let about = about.trim_end_matches('.');
            write!(text, "\n### {path}\n\n{about}.\n").unwrap();
            write_table(text, subcommand, false, has_variables);
        }
    }
}

#[test]
fn flags_are_documented() {
    let mut text = INTRODUCTION.to_owned();
    let operator = operator::cli::Cli::command();
    write_table(&mut text, &operator, true, true);
    write_subcommands(&mut text, &operator, "flexlvm", true);
    text.push_str(PLUGIN);
    let plugin = kubectl_flexlvm::cli::Cli::command();
    write_table(&mut text, &plugin, true, false);
    write_subcommands(&mut text, &plugin, "kubectl flexlvm", false);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(format!("{ROOT}/{PATH}"), text).unwrap();
    } else {
        assert!(
            read(PATH) == text,
            "{PATH} is out of date: run `make generate`"
        );
    }
}

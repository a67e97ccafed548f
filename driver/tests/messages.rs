//! Compares `docs/driver.md` with the messages in the code: it must list exactly those.
//!
//! Every string in the code of driver, flexvolume, host and storage-model of at least three parts
//! counts as a message or a part of one, except those listed below.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use flexvolume::option_lists;
use host::Filesystem;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ExprLit, Item, Lit, LitStr, Macro, Token};

/// Files with the agent's messages, which the driver never emits.
const OF_THE_AGENT: &[&str] = &[
    "host/src/atomic_file.rs",
    "host/src/job_cursor.rs",
    "host/src/fs/zero_ends.rs",
    "host/src/mount/umount_program.rs",
    "host/src/process/nsenter.rs",
    "host/src/root_path.rs",
    "host/src/stack/processes.rs",
    "host/src/lvm/duplicate_disk.rs",
    "storage-model/src/geometry.rs",
    "storage-model/src/pool_cost.rs",
    "host/src/lvm/report/warnings.rs",
    "host/src/lvm/thin_pool.rs",
];

/// Strings that are not messages.
const NO_MESSAGES: &[&str] = &[
    "FlexLVM mark, version 1 logical volume … …",
    "unformatted: never written to, waits for its file system",
    "formatting: mkfs was begun, never mounted",
    "call=… volume=… outcome=… ms=…",
    "lv_uuid=\"…\" && lv_tags=\"…\" && lv_attr=~\"…\"",
    "MESSAGE=… PRIORITY=… SYSLOG_IDENTIFIER=flexlvm-driver FLEXLVM_CALL=… FLEXLVM_VOLUME=… FLEXLVM_OUTCOME=… FLEXLVM_MS=…",
];

/// Files with strings that LVM prints and the driver only matches.
const READ_ONLY: &[&str] = &[
    "host/src/lvm/report/duplicates.rs",
    "host/src/lvm/stderr_kind.rs",
];

#[test]
fn documentation_lists_every_message_and_no_other() {
    let code = in_code();
    let page = in_documentation();
    let missing: Vec<String> = code
        .iter()
        .filter(|(sentence, _)| !page.contains(*sentence))
        .map(|(sentence, file)| format!("- **{sentence}** ({file})"))
        .collect();
    let gone: Vec<&String> = page
        .iter()
        .filter(|sentence| !code.contains_key(*sentence))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/driver.md lacks:\n{}",
        missing.join("\n")
    );
    assert!(
        gone.is_empty(),
        "docs/driver.md has messages that no code emits: {gone:#?}"
    );
}

#[test]
fn documentation_lists_every_allowed_option() {
    let page = page();
    let (_, options) = page.split_once("## Options").unwrap();
    let (options, _) = options.split_once("\n## ").unwrap();
    for fs in Filesystem::ALL {
        let none = ["none-such".to_owned()];
        for error in [
            option_lists::mount::check(fs, &none).unwrap_err(),
            option_lists::mkfs::check(fs, &none).unwrap_err(),
        ] {
            let text = error.to_string();
            let (_, possible) = text.split_once(&format!("allowed for {fs}: ")).unwrap();
            let missing: Vec<&str> = possible
                .split(", ")
                .filter(|option| !options.contains(&format!("`{option}`")))
                .collect();
            assert!(
                missing.is_empty(),
                "docs/driver.md lacks options for {fs}: {missing:?}"
            );
        }
    }
}

/// Returns every message with the file that contains it.
fn in_code() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sentences = BTreeMap::new();
    for folder in [
        "driver/src",
        "flexvolume/src",
        "host/src",
        "storage-model/src",
    ] {
        for path in sources(&root.join(folder)) {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if OF_THE_AGENT.contains(&&*name)
                || READ_ONLY.contains(&&*name)
                || name.contains("tests")
            {
                continue;
            }
            let mut found = Strings::default();
            found.visit_file(&syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap());
            sentences.extend(found.0.into_iter().map(|sentence| (sentence, name.clone())));
        }
    }
    sentences
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let below: Vec<PathBuf> = paths
        .iter()
        .filter(|path| path.is_dir())
        .flat_map(|path| sources(path))
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    paths.extend(below);
    paths
}

/// The messages of a file.
#[derive(Default)]
struct Strings(BTreeSet<String>);

impl Strings {
    fn take(&mut self, text: &LitStr) {
        let sentence = normalised(&text.value());
        if sentence.split(' ').count() >= 3 && !NO_MESSAGES.contains(&&*sentence) {
            self.0.insert(sentence);
        }
    }
}

impl<'ast> Visit<'ast> for Strings {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(module) => &module.attrs,
            Item::Fn(function) => &function.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !attributes.iter().any(is_test) {
            visit::visit_item(self, item);
        }
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("error")
            && let Ok(args) =
                attribute.parse_args_with(Punctuated::<Expr, Token![,]>::parse_terminated)
            && let Some(Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            })) = args.first()
        {
            self.take(text);
        }
    }

    fn visit_lit_str(&mut self, text: &'ast LitStr) {
        self.take(text);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        let parser = Punctuated::<Expr, Token![,]>::parse_terminated;
        if let Ok(args) = parser.parse2(invocation.tokens.clone()) {
            args.iter().for_each(|arg| self.visit_expr(arg));
        } else {
            // A macro with its own grammar: visits all strings in it.
            self.visit_tokens(invocation.tokens.clone());
        }
    }
}

impl Strings {
    fn visit_tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let mut in_attribute = false;
        for token in tokens {
            let after_hash = std::mem::replace(&mut in_attribute, token.to_string() == "#");
            match token {
                // Doc comments and lint attributes.
                proc_macro2::TokenTree::Group(_) if after_hash => {}
                proc_macro2::TokenTree::Group(group) => self.visit_tokens(group.stream()),
                proc_macro2::TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse_str::<LitStr>(&literal.to_string()) {
                        self.take(&text);
                    }
                }
                _ => {}
            }
        }
    }
}

fn is_test(attribute: &Attribute) -> bool {
    let Ok(list) = attribute.meta.require_list() else {
        return attribute.path().is_ident("test");
    };
    attribute.path().is_ident("cfg") && list.tokens.to_string() == "test"
}

/// Replaces each placeholder by `…`, and reduces white space to single spaces.
fn normalised(text: &str) -> String {
    let mut sentence = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        sentence.push_str(before);
        sentence.push('…');
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    sentence.push_str(rest);
    sentence.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/driver.md"))
        .unwrap()
}

/// Returns the bold text at the beginning of each list item.
fn in_documentation() -> BTreeSet<String> {
    let page = page();
    let (_, list) = page.split_once("## Messages").unwrap();
    let items = list.split("\n- **").skip(1);
    items
        .map(|item| normalised(item.split_once("**").unwrap().0))
        .collect()
}

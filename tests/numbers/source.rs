//! Reads a crate's source: what is counted of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, GenericArgument, Pat, PathArguments, Type};

use crate::files;

/// The longest line of code and comments.
const COLUMNS: usize = 100;

/// What is counted of one crate.
#[derive(Debug, Default)]
pub(crate) struct Crate {
    pub(crate) name: String,
    /// The length of each file, in lines.
    pub(crate) files: Vec<usize>,
    pub(crate) functions: Vec<Function>,
    /// The files that define a type, by the type's name.
    pub(crate) types: BTreeMap<String, Vec<String>>,
    /// `let name = |…| …`.
    pub(crate) closures: usize,
    /// `let (a, b) = (c, d)`.
    pub(crate) tuple_lets: usize,
    /// Types `Result<_, String>`.
    pub(crate) string_errors: usize,
    /// Types `(u32, u32)`.
    pub(crate) number_pairs: usize,
    /// Lines over [`COLUMNS`], as `file:line`; strings and links may be longer.
    pub(crate) long_lines: Vec<String>,
    /// Imports between the crate's top-level modules: from, to.
    pub(crate) imports: Vec<(String, String)>,
}

/// A function with a body, from its signature to its last line.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) lines: usize,
    /// The crate, the file, and the line of its signature.
    pub(crate) place: String,
}

impl Crate {
    /// Reads the crate in this folder of the repository.
    pub(crate) fn read(repository: &str, name: &str) -> Result<Self> {
        let mut this = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        let folder = Path::new(repository).join(name);
        let source = if folder.join("src").is_dir() {
            folder.join("src")
        } else {
            folder
        };
        for path in files::below(&source)? {
            let within = path.strip_prefix(&source)?;
            if is_in_tests(within) {
                continue;
            }
            let text = std::fs::read_to_string(&path)?;
            let within = within.display().to_string();
            let parsed = syn::parse_file(&text).with_context(|| path.display().to_string())?;
            let room = within
                .split('/')
                .next()
                .unwrap_or_default()
                .trim_end_matches(".rs");
            let mut visitor = Counter {
                read: &mut this,
                room: room.to_owned(),
                file: within.clone(),
            };
            visitor.visit_file(&parsed);
            let long_lines = long_lines(&text)?;
            this.long_lines.extend(
                long_lines
                    .iter()
                    .map(|line| format!("{name}: {within}:{line}")),
            );
            this.files.push(text.lines().count());
        }
        Ok(this)
    }
}

/// The numbers of the lines that are too long, without links and lines that a string covers.
fn long_lines(text: &str) -> Result<Vec<usize>> {
    let tokens: TokenStream = text.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut strings = BTreeSet::new();
    lines_of_strings(tokens, &mut strings);
    let is_long = |(number, line): &(usize, &str)| {
        line.chars().count() > COLUMNS && !line.contains("://") && !strings.contains(number)
    };
    let numbered = (1..).zip(text.lines());
    Ok(numbered.filter(is_long).map(|(number, _)| number).collect())
}

fn lines_of_strings(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => lines_of_strings(group.stream(), lines),
            TokenTree::Literal(literal) if literal.to_string().contains('"') => {
                let span = literal.span();
                lines.extend(span.start().line..=span.end().line);
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Returns true for `tests.rs` and for files in a folder `tests`.
fn is_in_tests(within: &Path) -> bool {
    let mut parts = within.components();
    parts.any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

struct Counter<'a> {
    read: &'a mut Crate,
    room: String,
    file: String,
}

impl Counter<'_> {
    fn add_type(&mut self, name: &syn::Ident) {
        self.read
            .types
            .entry(name.to_string())
            .or_default()
            .push(self.file.clone());
    }

    fn add_function(&mut self, from: proc_macro2::Span, block: &syn::Block) {
        let first = from.start().line;
        self.read.functions.push(Function {
            lines: block.span().end().line + 1 - first,
            place: format!("{}: {}:{first}", self.read.name, self.file),
        });
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_cfg_test = attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|condition| condition == "test");
        is_cfg_test || attribute.path().is_ident("test")
    })
}

/// The first name behind `crate::` in an import.
fn imported_room(tree: &syn::UseTree) -> Option<String> {
    let syn::UseTree::Path(path) = tree else {
        return None;
    };
    if path.ident != "crate" {
        return None;
    }
    match &*path.tree {
        syn::UseTree::Path(next) => Some(next.ident.to_string()),
        _ => None,
    }
}

impl<'ast> Visit<'ast> for Counter<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            self.add_function(item.sig.span(), &item.block);
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add_function(item.sig.span(), &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add_type(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add_type(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add_type(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add_type(&item.ident);
        visit::visit_item_type(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let to = imported_room(&item.tree).filter(|to| *to != self.room);
        if let Some(to) = to {
            self.read.imports.push((self.room.clone(), to));
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let Some(init) = &local.init {
            match (&local.pat, &*init.expr) {
                (Pat::Ident(_), Expr::Closure(_)) => self.read.closures += 1,
                (Pat::Tuple(_), Expr::Tuple(_)) => self.read.tuple_lets += 1,
                _ => {}
            }
        }
        visit::visit_local(self, local);
    }

    fn visit_type(&mut self, item: &'ast Type) {
        match item {
            Type::Path(path) => {
                let last = path.path.segments.last();
                if last
                    .is_some_and(|last| last.ident == "Result" && has_string_error(&last.arguments))
                {
                    self.read.string_errors += 1;
                }
            }
            Type::Tuple(tuple)
                if tuple.elems.len() == 2 && tuple.elems.iter().all(|it| is(it, "u32")) =>
            {
                self.read.number_pairs += 1;
            }
            _ => {}
        }
        visit::visit_type(self, item);
    }
}

fn has_string_error(arguments: &PathArguments) -> bool {
    let PathArguments::AngleBracketed(arguments) = arguments else {
        return false;
    };
    matches!(arguments.args.iter().nth(1), Some(GenericArgument::Type(error)) if is(error, "String"))
}

/// Whether a type is just this name.
fn is(item: &Type, name: &str) -> bool {
    matches!(item, Type::Path(path) if path.path.is_ident(name))
}

//! The Rust sources below a folder, parsed.

use std::path::{Path, PathBuf};

use syn::visit::Visit;
use syn::visit_mut::VisitMut;

/// A source file.
pub struct Source {
    /// Relative to the root of the repository, with `/`.
    pub path: String,
    /// Its module path below the crate root; empty for the root itself.
    pub module: Vec<String>,
    pub text: String,
    syntax: syn::File,
}

impl Source {
    pub fn parsed(path: &str, module: Vec<String>, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), module, text: text.to_owned(), syntax }
    }

    /// The syntax tree without what only tests have.
    pub fn product(&self) -> syn::File {
        let mut syntax = self.syntax.clone();
        if self.is_tests() {
            syntax.items.clear();
        }
        WithoutTests.visit_file_mut(&mut syntax);
        syntax
    }

    /// Whether the whole file is a test module.
    pub fn is_tests(&self) -> bool {
        self.module.iter().any(|module| module == "tests" || module == "testing")
    }

    /// Whether product code has unsafe blocks, functions or implementations.
    pub fn has_unsafe(&self) -> bool {
        let mut finder = Unsafe(false);
        finder.visit_file(&self.product());
        finder.0
    }
}

struct WithoutTests;

impl VisitMut for WithoutTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| !is_test(attributes(item)));
        syn::visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(|item| !is_test(attributes(item)));
        }
        syn::visit_mut::visit_item_mod_mut(self, module);
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Const(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`, also as a part of `all(…)`.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("cfg") && {
            let condition = list.tokens.to_string();
            condition == "test" || condition.starts_with("all") && condition.contains("test")
        }
    })
}

struct Unsafe(bool);

impl<'ast> Visit<'ast> for Unsafe {
    fn visit_expr_unsafe(&mut self, _: &'ast syn::ExprUnsafe) {
        self.0 = true;
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.0 |= signature.unsafety.is_some();
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.0 |= item.unsafety.is_some();
        syn::visit::visit_item_impl(self, item);
    }
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources below `folder`, a crate's `src` or a folder of tests, by path.
pub fn sources(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no sources in {folder}");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let below = path.strip_prefix(root().join(folder)).unwrap().with_extension("");
        let mut module: Vec<String> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        let path = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        Source::parsed(&path, module, &text)
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

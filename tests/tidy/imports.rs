//! What a file names from the modules of its own crate.

use std::collections::BTreeSet;

use syn::visit::Visit;

use super::sources::Source;

/// Paths below the crate root that product code of `source` names, in `use` items and in code, resolved from `crate`, `super`
/// and `self`.
pub fn imports(source: &Source) -> BTreeSet<Vec<String>> {
    let mut visitor = Imports { module: source.module.clone(), found: BTreeSet::new() };
    visitor.visit_file(&source.product());
    visitor.found
}

struct Imports {
    module: Vec<String>,
    found: BTreeSet<Vec<String>>,
}

impl Imports {
    fn add(&mut self, path: &[String]) {
        let mut base = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            _ => return,
        };
        for segment in path {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(base.pop()),
                name => base.push(name.to_owned()),
            }
        }
        if !base.is_empty() {
            self.found.insert(base);
        }
    }

    fn add_tree(&mut self, tree: &syn::UseTree, prefix: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_tree(&path.tree, prefix);
                prefix.pop();
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, prefix)),
            syn::UseTree::Name(name) => self.add_leaf(&name.ident, prefix),
            syn::UseTree::Rename(rename) => self.add_leaf(&rename.ident, prefix),
            syn::UseTree::Glob(_) => self.add(prefix),
        }
    }

    fn add_leaf(&mut self, name: &syn::Ident, prefix: &mut Vec<String>) {
        prefix.push(name.to_string());
        self.add(prefix);
        prefix.pop();
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&item.tree, &mut Vec::new());
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&segments);
        syn::visit::visit_path(self, path);
    }
}

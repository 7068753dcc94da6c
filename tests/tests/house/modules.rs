//! The agent's modules and what each takes from which other one, from the source itself; tests aside.

use anyhow::{Context as _, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use syn::{
    Attribute, Item, ItemMod, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

/// A module by the names that lead to it from the crate's root.
pub type Module = Vec<String>;

/// Of one module, which is one file.
#[derive(Default)]
struct Source {
    children: BTreeSet<String>,
    /// What it gives others by a name of its own, or by all names of another module (no name).
    gives: Vec<(Option<String>, Module)>,
    /// What it takes, from the crate's root.
    takes: Vec<Module>,
}

/// A crate's modules.
pub struct House {
    sources: BTreeMap<Module, Source>,
}

impl House {
    /// Of the crate whose `lib.rs` is in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut house = Self { sources: BTreeMap::new() };
        house.add(Vec::new(), &folder.join("lib.rs"), folder)?;
        Ok(house)
    }

    /// `folder`: where the modules within it are.
    fn add(&mut self, module: Module, file: &Path, folder: &Path) -> Result<()> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let parsed = syn::parse_file(&text).with_context(|| file.display().to_string())?;
        let mut reader = Reader { module: module.clone(), source: Source::default() };
        reader.visit_file(&parsed);
        self.sources.insert(module.clone(), reader.source);
        for item in &parsed.items {
            let Item::Mod(ItemMod { ident, content: None, attrs, .. }) = item else { continue };
            if is_test(attrs) {
                continue;
            }
            let name = ident.to_string();
            let within = folder.join(&name);
            let files: [PathBuf; 2] = [folder.join(format!("{name}.rs")), within.join("mod.rs")];
            let Some(file) = files.iter().find(|file| file.exists()) else { bail!("no file for {module:?}::{name}") };
            self.add([module.clone(), vec![name]].concat(), file, &within)?;
        }
        Ok(())
    }

    /// All of them.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.sources.keys()
    }

    /// Each module with another one that it takes something from: neither of them within the other.
    pub fn arrows(&self) -> BTreeSet<(Module, Module)> {
        let mut arrows = BTreeSet::new();
        for (from, source) in &self.sources {
            for taken in &source.takes {
                let to = self.home_of(taken, 0);
                if !from.starts_with(&to) && !to.starts_with(from) {
                    arrows.insert((from.clone(), to));
                }
            }
        }
        arrows
    }

    /// The module that something is defined in, by a path that may lead over others that only pass it on.
    fn home_of(&self, path: &[String], passed: usize) -> Module {
        let mut at = Module::new();
        for (i, name) in path.iter().enumerate() {
            let source = &self.sources[&at];
            if source.children.contains(name) {
                at.push(name.clone());
                continue;
            }
            let rest = &path[i + 1..];
            let named = source.gives.iter().find(|(given, _)| given.as_ref() == Some(name));
            // A circle of names is not Rust.
            if let Some((_, to)) = named.filter(|_| passed < 16) {
                return self.home_of(&[to.as_slice(), rest].concat(), passed + 1);
            }
            return at;
        }
        at
    }

    /// Modules that take from each other in a circle, each circle once.
    pub fn circles(&self) -> Vec<BTreeSet<Module>> {
        let arrows = self.arrows();
        let reached = |from: &Module| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(at) = next.pop() {
                let to = arrows.iter().filter(|(from, _)| *from == at).map(|(_, to)| to.clone());
                next.extend(to.filter(|to| seen.insert(to.clone())));
            }
            seen
        };
        let all: BTreeMap<_, _> = self.modules().map(|module| (module, reached(module))).collect();
        let mut circles = BTreeSet::new();
        for (module, there) in &all {
            if there.contains(*module) {
                circles.insert(there.iter().filter(|other| all[other].contains(*module)).cloned().collect());
            }
        }
        circles.into_iter().collect()
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

/// Reads one file.
struct Reader {
    module: Module,
    source: Source,
}

impl Reader {
    /// From the crate's root; none where it leads out of the crate.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([&self.module, rest].concat()),
            "super" => {
                let supers = path.iter().take_while(|name| *name == "super").count();
                let above = self.module.get(..self.module.len().checked_sub(supers)?)?;
                Some([above, &path[supers..]].concat())
            }
            child if self.source.children.contains(child) => Some([&self.module, path].concat()),
            _ => None,
        }
    }

    fn take(&mut self, tree: &UseTree, prefix: &mut Module, given: bool) {
        let (name, taken) = match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.take(&path.tree, prefix, given);
                prefix.pop();
                return;
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.take(tree, prefix, given));
                return;
            }
            UseTree::Name(name) if name.ident == "self" => (prefix.last().cloned(), prefix.clone()),
            UseTree::Name(name) => (Some(name.ident.to_string()), with(prefix, name.ident.to_string())),
            UseTree::Rename(name) => (Some(name.rename.to_string()), with(prefix, name.ident.to_string())),
            UseTree::Glob(_) => (None, prefix.clone()),
        };
        let Some(absolute) = self.absolute(&taken) else { return };
        if given {
            self.source.gives.push((name, absolute));
        } else {
            self.source.takes.push(absolute);
        }
    }
}

fn with(prefix: &[String], name: String) -> Module {
    [prefix, &[name]].concat()
}

impl<'a> Visit<'a> for Reader {
    fn visit_file(&mut self, file: &'a syn::File) {
        for item in &file.items {
            if let Item::Mod(item) = item {
                self.source.children.insert(item.ident.to_string());
            }
        }
        visit::visit_file(self, file);
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        if !is_test(&item.attrs) {
            let given = !matches!(item.vis, Visibility::Inherited);
            self.take(&item.tree, &mut Vec::new(), given);
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Module = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(taken) = self.absolute(&names).filter(|_| names.len() > 1) {
            self.source.takes.push(taken);
        }
        visit::visit_path(self, path);
    }
}

//! A radix tree over position keys: which prefixes are in the KV cache.
//!
//! An edge is a run of keys, split where two prefixes diverge. Every node has the set of sequence
//! ids that hold its cells, as llama.cpp's cells have, so the tree mirrors the cache exactly: a
//! position in the tree is one cell, however many sequences share it. A sequence is *running* while
//! a request needs it, which protects all its cells; afterwards it is *idle* and its cells stay
//! until they are the least recently used. The tree calls no C code: the caller removes evicted
//! sequences from llama.cpp.

mod ids;
#[cfg(test)]
mod tests;

use ids::Ids;

use crate::engine::prompt::{common_prefix, rotary};

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Radix {
    /// The root first.
    nodes: Vec<Node>,
    /// Indices of removed nodes, for reuse.
    vacant: Vec<usize>,
    running: Ids,
    clock: u64,
    cells: usize,
}

#[derive(Debug, Default)]
struct Node {
    keys: Vec<u64>,
    holders: Ids,
    parent: usize,
    children: Vec<usize>,
    used: u64,
}

/// An idle sequence that loses its rotary positions `keep..`; with `keep` 0 its id is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub sequence: i32,
    pub keep: usize,
}

const ROOT: usize = 0;

impl Default for Radix {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], vacant: Vec::new(), running: Ids::default(), clock: 0, cells: 0 }
    }
}

impl Radix {
    /// Returns the length of the longest prefix of `keys` in the tree, and a sequence that holds
    /// it. Counts as a use of the prefix.
    pub fn longest(&mut self, keys: &[u64]) -> (usize, Option<i32>) {
        self.clock += 1;
        let (mut at, mut length, mut holder) = (ROOT, 0, None);
        while let Some(child) = self.child(at, &keys[length..]) {
            let node = &mut self.nodes[child];
            node.used = self.clock;
            holder = node.holders.first();
            let common = common_prefix(&node.keys, &keys[length..]);
            length += common;
            if common < node.keys.len() {
                break;
            }
            at = child;
        }
        (length, holder)
    }

    /// Records that `sequence` runs and holds `keys`; before, it held a prefix of them or nothing.
    pub fn hold(&mut self, sequence: i32, keys: &[u64]) {
        self.clock += 1;
        self.running.insert(sequence);
        let (mut at, mut depth) = (ROOT, 0);
        while depth < keys.len() {
            let Some(child) = self.child(at, &keys[depth..]) else {
                self.append(at, sequence, &keys[depth..]);
                return;
            };
            let common = common_prefix(&self.nodes[child].keys, &keys[depth..]);
            if common < self.nodes[child].keys.len() {
                self.split(child, common);
            }
            self.nodes[child].holders.insert(sequence);
            self.nodes[child].used = self.clock;
            depth += common;
            at = child;
        }
    }

    /// Records that `sequence` is idle. Removes and returns the idle sequences whose positions
    /// other idle sequences all hold.
    pub fn set_idle(&mut self, sequence: i32) -> Vec<i32> {
        self.running.remove(sequence);
        let mut redundant = if self.end(sequence) == ROOT { vec![sequence] } else { Vec::new() };
        for idle in self.idle().iter() {
            if self.is_redundant(idle) {
                self.remove(idle);
                redundant.push(idle);
            }
        }
        redundant
    }

    /// Removes a sequence.
    pub fn remove(&mut self, sequence: i32) {
        self.running.remove(sequence);
        let mut path = Vec::new();
        let mut at = ROOT;
        while let Some(&child) = self.nodes[at].children.iter().find(|&&child| self.holds(child, sequence)) {
            path.push(child);
            at = child;
        }
        for &node in path.iter().rev() {
            self.nodes[node].holders.remove(sequence);
            if self.nodes[node].holders.is_empty() {
                self.unlink(node);
            } else {
                self.join(node);
            }
        }
    }

    /// Evicts the least recently used run of positions that no running sequence holds and no other
    /// prefix continues.
    pub fn evict(&mut self) -> Option<Cut> {
        let leaf = self.live().filter(|&node| self.nodes[node].children.is_empty() && self.is_idle(node));
        let oldest = leaf.min_by_key(|&node| self.nodes[node].used)?;
        let sequence = self.nodes[oldest].holders.first().expect("every node has a holder");
        let parent = self.nodes[oldest].parent;
        self.unlink(oldest);
        if parent == ROOT || self.is_redundant(sequence) {
            self.remove(sequence);
            return Some(Cut { sequence, keep: 0 });
        }
        Some(Cut { sequence, keep: self.depth(parent) })
    }

    /// Evicts the least recently used idle sequence as a whole, to free its id.
    pub fn evict_sequence(&mut self) -> Option<i32> {
        let oldest = self.idle().iter().min_by_key(|&sequence| self.nodes[self.end(sequence)].used)?;
        self.remove(oldest);
        Some(oldest)
    }

    /// Returns the cells held; a shared cell counts once.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Returns the cells that no running sequence holds.
    pub fn idle_cells(&self) -> usize {
        self.live().filter(|&node| self.is_idle(node)).map(|node| self.nodes[node].keys.len()).sum()
    }

    /// Returns the number of idle sequences.
    pub fn idle_sequences(&self) -> usize {
        self.idle().len()
    }

    fn live(&self) -> impl Iterator<Item = usize> {
        (1..self.nodes.len()).filter(|&node| !self.nodes[node].holders.is_empty())
    }

    fn holds(&self, node: usize, sequence: i32) -> bool {
        self.nodes[node].holders.contains(sequence)
    }

    fn is_idle(&self, node: usize) -> bool {
        !self.nodes[node].holders.intersects(self.running)
    }

    fn idle(&self) -> Ids {
        let held = self.nodes[ROOT].children.iter().map(|&child| self.nodes[child].holders);
        held.fold(Ids::default(), Ids::union).without(self.running)
    }

    /// Returns whether other idle sequences hold all positions of `sequence`.
    fn is_redundant(&self, sequence: i32) -> bool {
        self.nodes[self.end(sequence)].holders.without(self.running).len() > 1
    }

    /// Returns the last node that `sequence` holds.
    fn end(&self, sequence: i32) -> usize {
        let mut at = ROOT;
        while let Some(&child) = self.nodes[at].children.iter().find(|&&child| self.holds(child, sequence)) {
            at = child;
        }
        at
    }

    /// Returns the number of rotary positions up to the end of `node`.
    fn depth(&self, mut node: usize) -> usize {
        let mut depth = 0;
        while node != ROOT {
            depth += rotary(&self.nodes[node].keys);
            node = self.nodes[node].parent;
        }
        depth
    }

    fn child(&self, node: usize, keys: &[u64]) -> Option<usize> {
        let first = keys.first()?;
        self.nodes[node].children.iter().copied().find(|&child| self.nodes[child].keys[0] == *first)
    }

    /// Appends `keys` to `node` if only this sequence holds it and it is a leaf, else adds a child.
    fn append(&mut self, node: usize, sequence: i32, keys: &[u64]) {
        self.cells += keys.len();
        let (clock, end) = (self.clock, &mut self.nodes[node]);
        if node != ROOT && end.children.is_empty() && end.holders.len() == 1 {
            end.keys.extend_from_slice(keys);
            return;
        }
        let mut holders = Ids::default();
        holders.insert(sequence);
        self.link(Node { keys: keys.to_vec(), holders, parent: node, children: Vec::new(), used: clock });
    }

    fn link(&mut self, node: Node) -> usize {
        let parent = node.parent;
        let place = self.vacant.pop().unwrap_or(self.nodes.len());
        if place == self.nodes.len() {
            self.nodes.push(node);
        } else {
            self.nodes[place] = node;
        }
        self.nodes[parent].children.push(place);
        place
    }

    /// Removes a node without children.
    fn unlink(&mut self, node: usize) {
        let Node { keys, parent, .. } = std::mem::take(&mut self.nodes[node]);
        self.cells -= keys.len();
        self.nodes[parent].children.retain(|&child| child != node);
        self.vacant.push(node);
    }

    /// Splits `node` after `length` keys: the rest becomes its only child.
    fn split(&mut self, node: usize, length: usize) {
        let whole = &mut self.nodes[node];
        let keys = whole.keys.split_off(length);
        let children = std::mem::take(&mut whole.children);
        let rest = Node { keys, holders: whole.holders, parent: node, children: Vec::new(), used: whole.used };
        let place = self.link(rest);
        for &child in &children {
            self.nodes[child].parent = place;
        }
        self.nodes[place].children = children;
    }

    /// Merges a node with its only child if the same sequences hold both: undoes a split that is no
    /// longer needed.
    fn join(&mut self, node: usize) {
        let [child] = self.nodes[node].children[..] else { return };
        if self.nodes[child].holders != self.nodes[node].holders {
            return;
        }
        let Node { keys, children, .. } = std::mem::take(&mut self.nodes[child]);
        self.vacant.push(child);
        self.nodes[node].keys.extend(keys);
        for &grandchild in &children {
            self.nodes[grandchild].parent = node;
        }
        self.nodes[node].children = children;
    }
}

//! A reader of the pickles that `torch.save` writes for a dictionary of tensors, and of nothing else.
//!
//! Values are nodes of a list that refer to others by number, so that no value owns another: memory and time are linear in the number
//! of operations, whatever they repeat or nest, and nothing recurses. Names are not imported: a few stand for what is known about them.

use std::collections::{BTreeMap, HashMap};

use crate::safetensors::dtype::Dtype;

/// Maximum number of operations; a tensor takes some 50.
const MAX_OPERATIONS: usize = 1 << 22;
/// Maximum length of a name or of the key of a storage in bytes.
const MAX_NAME: usize = 256;
/// Maximum number of dimensions of a tensor.
const MAX_DIMS: usize = 16;

/// Where a tensor's elements are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    /// The entry of the archive, `data/<key>`.
    pub key: String,
    /// Element type.
    pub dtype: Dtype,
    /// Number of elements.
    pub elements: i64,
}

/// A tensor's description, with numbers as they are in the pickle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    /// Where its elements are.
    pub storage: Storage,
    /// Index of the first one.
    pub offset: i64,
    /// Shape.
    pub shape: Vec<i64>,
    /// Elements between neighbours, for each dimension.
    pub strides: Vec<i64>,
}

/// Number of a node.
type Id = usize;

/// A name that a pickle may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`.
    Tensor,
    /// `torch._utils._rebuild_parameter`.
    Parameter,
    /// A storage class of `torch`.
    Storage(Dtype),
}

impl Name {
    fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::Tensor,
            ("torch._utils", "_rebuild_parameter") => Self::Parameter,
            ("torch", "FloatStorage") => Self::Storage(Dtype::F32),
            ("torch", "HalfStorage") => Self::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Self::Storage(Dtype::BF16),
            ("torch", "DoubleStorage") => Self::Storage(Dtype::F64),
            ("torch", "LongStorage") => Self::Storage(Dtype::I64),
            ("torch", "IntStorage") => Self::Storage(Dtype::I32),
            ("torch", "ShortStorage") => Self::Storage(Dtype::I16),
            ("torch", "CharStorage") => Self::Storage(Dtype::I8),
            ("torch", "ByteStorage") => Self::Storage(Dtype::U8),
            ("torch", "BoolStorage") => Self::Storage(Dtype::BOOL),
            _ => return None,
        })
    }
}

#[derive(Debug)]
enum Node {
    None,
    Bool,
    Integer(i64),
    Float,
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    Storage(Box<Storage>),
    Tensor(Box<Tensor>),
}

impl Node {
    /// What a message calls it.
    fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float => "a float",
            Self::Text(_) => "a text",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Name(_) => "a name",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

/// Reads the dictionary of tensors in a pickle.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let mut machine =
        Machine { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    let mut operations = 0;
    let root = loop {
        let start = machine.at;
        operations += 1;
        if operations > MAX_OPERATIONS {
            return Err(format!("byte {start}: more than {MAX_OPERATIONS} operations"));
        }
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => break root,
            Err(problem) => return Err(format!("byte {start}: {problem}")),
        }
    };
    let Node::Dict(items) = &machine.nodes[root] else {
        return Err(format!("{}, expected a dictionary of tensors", machine.nodes[root].kind()));
    };
    let mut tensors = BTreeMap::new();
    for (key, value) in items {
        let Node::Text(name) = &machine.nodes[*key] else {
            return Err(format!("a key that is {}, expected names of tensors", machine.nodes[*key].kind()));
        };
        let Node::Tensor(tensor) = &machine.nodes[*value] else {
            return Err(format!("'{name}' is {}, expected a tensor", machine.nodes[*value].kind()));
        };
        if tensors.insert(name.clone(), (**tensor).clone()).is_some() {
            return Err(format!("'{name}' occurs twice"));
        }
    }
    Ok(tensors)
}

/// The state of reading.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Runs one operation; returns the result at the end.
    fn step(&mut self) -> Result<Option<Id>, String> {
        let [operation] = self.take::<1>()?;
        match operation {
            // PROTO
            0x80 => {
                let [version] = self.take::<1>()?;
                if !(2..=5).contains(&version) {
                    return Err(format!("protocol {version}, expected 2 to 5"));
                }
            }
            // FRAME
            0x95 => {
                self.take::<8>()?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Node::None),
            // NEWTRUE, NEWFALSE
            0x88 | 0x89 => self.push(Node::Bool),
            b'K' => {
                let [value] = self.take::<1>()?;
                self.push(Node::Integer(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.take()?);
                self.push(Node::Integer(value.into()));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.take()?);
                self.push(Node::Integer(value.into()));
            }
            // LONG1
            0x8a => self.long()?,
            b'G' => {
                self.take::<8>()?;
                self.push(Node::Float);
            }
            b'X' => {
                let length = u32::from_le_bytes(self.take()?);
                self.text(length as usize)?;
            }
            // SHORT_BINUNICODE
            0x8c => {
                let [length] = self.take::<1>()?;
                self.text(length.into())?;
            }
            b')' => self.push(Node::Tuple(Vec::new())),
            b']' => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            // TUPLE1 to TUPLE3
            0x85..=0x87 => {
                let count = usize::from(operation - 0x84);
                let from = self.height(count)?;
                let items = self.stack.split_off(from);
                self.push(Node::Tuple(items));
            }
            b't' => {
                let items = self.marked()?;
                self.push(Node::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.list()?.push(item);
            }
            b'e' => {
                let items = self.marked()?;
                self.list()?.extend(items);
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.dict()?.push((key, value));
            }
            b'u' => {
                let items = self.marked()?;
                if !items.len().is_multiple_of(2) {
                    return Err("a key without a value".to_owned());
                }
                let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
                self.dict()?.extend(pairs);
            }
            b'q' => {
                let [index] = self.take::<1>()?;
                self.remember(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.take()?);
                self.remember(index)?;
            }
            // MEMOIZE
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let [index] = self.take::<1>()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.take()?);
                self.recall(index)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.name(module, name)?;
            }
            // STACK_GLOBAL
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match &self.nodes[id] {
                    Node::Text(text) if text.len() <= MAX_NAME => Ok(text.clone()),
                    other => Err(format!("{}, expected the text of a name", other.kind())),
                };
                let (module, name) = (text(module)?, text(name)?);
                self.name(&module, &name)?;
            }
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            b'.' => return self.pop().map(Some),
            other => {
                return Err(format!("operation 0x{other:02x}, expected those of a dictionary of tensors"));
            }
        }
        Ok(None)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = self.slice(N)?;
        Ok(bytes.try_into().expect("a slice of N bytes"))
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| "the end of the pickle, expected more".to_owned())?;
        let slice = &self.bytes[self.at..end];
        self.at = end;
        Ok(slice)
    }

    /// The text up to the end of a line.
    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or_else(|| "a name without an end".to_owned())?;
        let line = std::str::from_utf8(self.slice(length)?).map_err(|_| "a name that is not UTF-8".to_owned())?;
        self.at += 1;
        Ok(line)
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let text = std::str::from_utf8(self.slice(length)?).map_err(|_| "a text that is not UTF-8".to_owned())?;
        self.push(Node::Text(text.to_owned()));
        Ok(())
    }

    fn long(&mut self) -> Result<(), String> {
        let [length] = self.take::<1>()?;
        let digits = self.slice(length.into())?;
        if digits.len() > 8 {
            return Err(format!("an integer of {length} bytes, expected at most 8"));
        }
        let sign = if digits.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
        let mut bytes = [sign; 8];
        bytes[..digits.len()].copy_from_slice(digits);
        self.push(Node::Integer(i64::from_le_bytes(bytes)));
        Ok(())
    }

    fn name(&mut self, module: &str, name: &str) -> Result<(), String> {
        let found = Name::find(module, name).ok_or_else(|| {
            let text: String = format!("{module}.{name}").chars().take(200).collect();
            format!("the name {text:?}, expected those of a dictionary of tensors; nothing of a pickle is run")
        })?;
        self.push(Node::Name(found));
        Ok(())
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    /// The height of the stack below its top `count` values, which are above the last mark.
    fn height(&self, count: usize) -> Result<usize, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let height = self.stack.len().checked_sub(count).filter(|height| *height >= floor);
        height.ok_or_else(|| "too few values on the stack".to_owned())
    }

    fn pop(&mut self) -> Result<Id, String> {
        let height = self.height(1)?;
        let top = self.stack[height];
        self.stack.truncate(height);
        Ok(top)
    }

    fn top(&self) -> Result<Id, String> {
        Ok(self.stack[self.height(1)?])
    }

    /// The values above the last mark, which is taken away.
    fn marked(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or_else(|| "no mark on the stack".to_owned())?;
        Ok(self.stack.split_off(mark))
    }

    fn list(&mut self) -> Result<&mut Vec<Id>, String> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(items) => Ok(items),
            other => Err(format!("items for {}, expected a list", other.kind())),
        }
    }

    fn dict(&mut self) -> Result<&mut Vec<(Id, Id)>, String> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Dict(items) => Ok(items),
            other => Err(format!("items for {}, expected a dictionary", other.kind())),
        }
    }

    fn remember(&mut self, index: u32) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), String> {
        let id = *self.memo.get(&index).ok_or_else(|| format!("the remembered value {index}, which there is not"))?;
        self.stack.push(id);
        Ok(())
    }

    fn tuple(&self, id: Id) -> Result<&[Id], String> {
        match &self.nodes[id] {
            Node::Tuple(items) => Ok(items),
            other => Err(format!("{}, expected a tuple", other.kind())),
        }
    }

    fn integer(&self, id: Id) -> Result<i64, String> {
        match &self.nodes[id] {
            Node::Integer(value) => Ok(*value),
            other => Err(format!("{}, expected an integer", other.kind())),
        }
    }

    fn integers(&self, id: Id) -> Result<Vec<i64>, String> {
        let items = self.tuple(id)?;
        if items.len() > MAX_DIMS {
            return Err(format!("{} dimensions, expected at most {MAX_DIMS}", items.len()));
        }
        items.iter().map(|item| self.integer(*item)).collect()
    }

    /// A storage: `('storage', class, key, device, elements)`.
    fn persistent(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let &[kind, class, key, device, elements] = self.tuple(id)? else {
            return Err(format!("a tuple of {}, expected the five parts of a storage", self.tuple(id)?.len()));
        };
        let node = |id: Id| &self.nodes[id];
        let storage = match (node(kind), node(class), node(key), node(device)) {
            (Node::Text(kind), Node::Name(Name::Storage(dtype)), Node::Text(key), Node::Text(_))
                if kind == "storage" && key.len() <= MAX_NAME =>
            {
                Box::new(Storage { key: key.clone(), dtype: *dtype, elements: self.integer(elements)? })
            }
            _ => return Err("a persistent id that is no storage".to_owned()),
        };
        self.push(Node::Storage(storage));
        Ok(())
    }

    /// Calls a name, which is one of those known.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Node::Name(name) = self.nodes[callee] else {
            return Err(format!("a call of {}", self.nodes[callee].kind()));
        };
        let arguments = self.tuple(arguments)?;
        let made = match (name, arguments) {
            (Name::OrderedDict, []) => Node::Dict(Vec::new()),
            // requires_grad and hooks have no influence on the values; metadata may, such as a negated view.
            (Name::Tensor, &[storage, offset, shape, strides, _, hooks]) => {
                self.no_hooks(hooks)?;
                let Node::Storage(storage) = &self.nodes[storage] else {
                    return Err(format!("a tensor of {}, expected a storage", self.nodes[storage].kind()));
                };
                let (shape, strides) = (self.integers(shape)?, self.integers(strides)?);
                if shape.len() != strides.len() {
                    return Err(format!("{} strides, expected {}, one for each dimension", strides.len(), shape.len()));
                }
                let (storage, offset) = ((**storage).clone(), self.integer(offset)?);
                Node::Tensor(Box::new(Tensor { storage, offset, shape, strides }))
            }
            (Name::Parameter, &[tensor, _, hooks]) => {
                self.no_hooks(hooks)?;
                let Node::Tensor(tensor) = &self.nodes[tensor] else {
                    return Err(format!("a parameter of {}, expected a tensor", self.nodes[tensor].kind()));
                };
                Node::Tensor(tensor.clone())
            }
            (name, arguments) => return Err(format!("a call of {name:?} with {} arguments", arguments.len())),
        };
        self.push(made);
        Ok(())
    }

    fn no_hooks(&self, id: Id) -> Result<(), String> {
        match &self.nodes[id] {
            Node::Dict(items) if items.is_empty() => Ok(()),
            other => Err(format!("hooks that are {}, expected an empty dictionary", other.kind())),
        }
    }

    /// Attributes of an object: those of a `state_dict` are versions of modules.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let top = self.top()?;
        let is_metadata = |key: &Id| matches!(&self.nodes[*key], Node::Text(text) if text == "_metadata");
        match (&self.nodes[top], &self.nodes[state]) {
            (Node::Dict(_), Node::Dict(items)) if matches!(&items[..], [(key, _)] if is_metadata(key)) => Ok(()),
            (object, _) => Err(format!("attributes of {}, expected `_metadata` of a dictionary", object.kind())),
        }
    }
}

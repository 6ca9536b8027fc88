//! The pickle in a `PyTorch` file, read as data: a list of opcodes and of names is known, all others are refused, and
//! nothing is ever called. A name only says what an object is (an ordered dictionary, a storage, a tensor's view), or that
//! nobody here looks into it (the schedule and the optimiser that a training checkpoint keeps beside the model).
//! Values refer to each other by number in one list, so nesting costs no stack, neither here nor when it is dropped,
//! and what a pickle can make of its bytes is bounded by its number of steps.

use safetensors::Dtype;
use std::collections::HashMap;

/// Longer than the pickle of any model with its optimiser, bytes.
const MAX_LEN: usize = 16 << 20;
/// Opcodes that one pickle may have. Each makes at most one value.
const MAX_STEPS: usize = 1 << 20;
/// Dimensions of a tensor.
const MAX_DIMS: usize = 8;
/// Modules within modules, and the length of a tensor's path, bytes.
const MAX_DEPTH: usize = 64;
const MAX_PATH: usize = 512;
/// What a training checkpoint calls the model within it.
const STATES: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// The number of a value.
type Id = u32;
type Result<T> = std::result::Result<T, String>;

enum Value<'a> {
    /// None, a number that is no integer.
    Other,
    /// An object that is passed over, with all that it is given.
    PassedOver,
    Int(i64),
    Text(&'a str),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    /// A module of TorchScript and its attributes.
    Module(Option<Id>),
    Storage(Storage<'a>),
    Tensor(Box<View<'a>>),
}

/// What the names that a pickle may hold stand for.
#[derive(Clone, Copy)]
enum Name {
    OrderedDict,
    /// `torch.FloatStorage` and its like.
    Storage(Dtype),
    /// `_rebuild_tensor`: storage, offset, shape, strides, ...
    Tensor,
    /// What gives back its first argument: `_rebuild_parameter`, `torch.Size`, lists with a type.
    First,
    /// A class of TorchScript, whose code is in the archive and stays there.
    Module,
    /// What makes a [`Value::PassedOver`].
    PassedOver,
}

/// Values side by side in an entry of the archive.
#[derive(Clone, Copy)]
pub struct Storage<'a> {
    /// What they are.
    pub dtype: Dtype,
    /// Its entry's name, below `data/`.
    pub key: &'a str,
    /// How many there are.
    pub numel: usize,
}

/// A tensor's view of a storage: where it begins and its steps, in values.
pub struct View<'a> {
    pub storage: Storage<'a>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// What a pickle holds.
pub struct Contents<'a> {
    /// The tensors of a `state_dict`, of a checkpoint that holds one, or of a TorchScript module, by the names of its
    /// `state_dict`.
    pub tensors: Vec<(String, View<'a>)>,
    /// The integer `epoch` of a checkpoint.
    pub epoch: Option<i64>,
}

/// Reads a pickle.
/// # Errors
/// Says in words what is not allowed or not there.
pub fn contents(pickle: &[u8]) -> Result<Contents<'_>> {
    if pickle.len() > MAX_LEN {
        return Err(format!("{} bytes, the limit is {MAX_LEN}", pickle.len()));
    }
    let mut machine = Machine {
        pickle,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let root = machine.run().map_err(|why| format!("before byte {}: {why}", machine.at))?;
    let epoch = machine.epoch(root);
    Ok(Contents { tensors: machine.collect(root)?, epoch })
}

struct Machine<'a> {
    pickle: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Runs to STOP: the value on top.
    fn run(&mut self) -> Result<Id> {
        for _ in 0..MAX_STEPS {
            let [op] = self.take()?;
            if op == b'.' {
                return self.pop();
            }
            self.step(op)?;
        }
        Err(format!("more than {MAX_STEPS} steps"))
    }

    fn step(&mut self, op: u8) -> Result<()> {
        match op {
            0x80 => {
                let [version] = self.take()?;
                if !(2..=5).contains(&version) {
                    return Err(format!("protocol {version}, expected 2 to 5"));
                }
            }
            0x95 => drop(self.take::<8>()?), // a frame is a hint for reading ahead
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'N' => self.push(Value::Other),
            b'G' => {
                self.take::<8>()?;
                self.push(Value::Other);
            }
            0x88 => self.push(Value::Int(1)),
            0x89 => self.push(Value::Int(0)),
            b'K' => self.int(1, false)?,
            b'M' => self.int(2, false)?,
            b'J' => self.int(4, true)?,
            0x8a => {
                let [len] = self.take()?;
                self.int(len.into(), true)?;
            }
            0x8c => {
                let [len] = self.take()?;
                self.text(len.into())?;
            }
            b'X' => {
                let len = u32::from_le_bytes(self.take()?);
                self.text(len as usize)?;
            }
            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(op - 0x84))?;
                self.push(Value::Tuple(items));
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push(Value::Tuple(items));
            }
            b']' => self.push(Value::List(Vec::new())),
            b'a' => {
                let items = self.pop_many(1)?;
                self.append(&items)?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(&items)?;
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b's' => {
                let items = self.pop_many(2)?;
                self.set(&items)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set(&items)?;
            }
            b'c' => {
                let (module, leaf) = (self.line()?, self.line()?);
                self.push(Value::Name(name(module, leaf)?));
            }
            0x93 => {
                let (leaf, module) = (self.pop()?, self.pop()?);
                let name = name(self.str(module)?, self.str(leaf)?)?;
                self.push(Value::Name(name));
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Value::Storage(storage));
            }
            b'R' => self.reduce()?,
            0x81 => self.new_object()?,
            b'b' => self.build()?,
            b'h' | b'j' => {
                let key = self.key(op == b'h')?;
                self.recall(key)?;
            }
            b'q' | b'r' => {
                let key = self.key(op == b'q')?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            _ => return Err(format!("opcode 0x{op:02x} is not allowed")),
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.bytes(N)?;
        Ok(bytes.try_into().expect("as many as were asked for"))
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let bytes = self.pickle[self.at..].get(..len).ok_or("the pickle ends too early")?;
        self.at += len;
        Ok(bytes)
    }

    /// A little-endian integer of `len` bytes.
    fn int(&mut self, len: usize, signed: bool) -> Result<()> {
        if len > 8 {
            return Err(format!("an integer of {len} bytes"));
        }
        let bytes = self.bytes(len)?;
        let negative = signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let value = bytes
            .iter()
            .rev()
            .fold(if negative { -1 } else { 0 }, |value: i64, &byte| value << 8 | i64::from(byte));
        self.push(Value::Int(value));
        Ok(())
    }

    fn text(&mut self, len: usize) -> Result<()> {
        let text = str::from_utf8(self.bytes(len)?).map_err(|_| "a text is not UTF-8")?;
        self.push(Value::Text(text));
        Ok(())
    }

    /// Up to the end of the line.
    fn line(&mut self) -> Result<&'a str> {
        let len = self.pickle[self.at..].iter().position(|&byte| byte == b'\n');
        let line = self.bytes(len.ok_or("the pickle ends too early")?)?;
        self.at += 1;
        str::from_utf8(line).map_err(|_| "a name is not UTF-8".into())
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
    }

    /// The last `count` values, not beyond an open mark.
    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let from = self.stack.len().checked_sub(count).filter(|&from| from >= floor);
        Ok(self.stack.split_off(from.ok_or("too few values on the stack")?))
    }

    fn pop(&mut self) -> Result<Id> {
        Ok(self.pop_many(1)?[0])
    }

    /// What stands above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        let from = self.marks.pop().ok_or("no mark on the stack")?;
        Ok(self.stack.split_off(from))
    }

    fn value(&self, id: Id) -> &Value<'a> {
        &self.values[id as usize]
    }

    fn top(&mut self) -> Result<&mut Value<'a>> {
        let id = *self.stack.last().ok_or("too few values on the stack")?;
        Ok(&mut self.values[id as usize])
    }

    fn str(&self, id: Id) -> Result<&'a str> {
        match self.value(id) {
            Value::Text(text) => Ok(text),
            _ => Err("expected a text".into()),
        }
    }

    fn tuple(&self, id: Id) -> Result<&[Id]> {
        match self.value(id) {
            Value::Tuple(items) => Ok(items),
            _ => Err("expected a tuple".into()),
        }
    }

    fn size(&self, id: Id) -> Result<usize> {
        match self.value(id) {
            Value::Int(value) => usize::try_from(*value).map_err(|_| format!("a size of {value}")),
            _ => Err("expected an integer".into()),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        match self.value(id) {
            Value::Tuple(items) | Value::List(items) if items.len() <= MAX_DIMS => {
                items.iter().map(|&item| self.size(item)).collect()
            }
            _ => Err(format!("expected up to {MAX_DIMS} dimensions")),
        }
    }

    fn append(&mut self, items: &[Id]) -> Result<()> {
        match self.top()? {
            Value::List(list) => list.extend(items),
            Value::PassedOver => {}
            _ => return Err("items for what is no list".into()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        match self.top()? {
            Value::Dict(dict) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
            }
            Value::PassedOver => {}
            _ => return Err("items for what is no dictionary".into()),
        }
        Ok(())
    }

    /// A number of the memo, of one byte or of four.
    fn key(&mut self, short: bool) -> Result<u32> {
        if short {
            let [key] = self.take()?;
            return Ok(key.into());
        }
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn remember(&mut self, key: u32) -> Result<()> {
        let id = *self.stack.last().ok_or("too few values on the stack")?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<()> {
        self.stack.push(*self.memo.get(&key).ok_or_else(|| format!("no value {key} in the memo"))?);
        Ok(())
    }

    /// The persistent id `("storage", class, key, device, numel)`.
    fn storage(&self, id: Id) -> Result<Storage<'a>> {
        match *self.tuple(id)? {
            [kind, class, key, _device, numel] if self.str(kind)? == "storage" => {
                let Value::Name(Name::Storage(dtype)) = *self.value(class) else {
                    return Err("a storage of no known type".into());
                };
                Ok(Storage { dtype, key: self.str(key)?, numel: self.size(numel)? })
            }
            _ => Err("an outside object that is no storage".into()),
        }
    }

    fn reduce(&mut self) -> Result<()> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Value::Name(name) = *self.value(callee) else {
            return Err("a call of what is no name".into());
        };
        match (name, self.tuple(arguments)?) {
            (Name::OrderedDict, []) => self.push(Value::Dict(Vec::new())),
            (Name::Tensor, &[storage, offset, shape, strides, ..]) => {
                let Value::Storage(storage) = *self.value(storage) else {
                    return Err("a tensor without a storage".into());
                };
                let view = View {
                    storage,
                    offset: self.size(offset)?,
                    shape: self.sizes(shape)?,
                    strides: self.sizes(strides)?,
                };
                self.push(Value::Tensor(Box::new(view)));
            }
            (Name::First, &[first, ..]) => self.stack.push(first),
            (Name::PassedOver, _) => self.push(Value::PassedOver),
            _ => return Err("a call that is not allowed".into()),
        }
        Ok(())
    }

    fn new_object(&mut self) -> Result<()> {
        let (_arguments, class) = (self.pop()?, self.pop()?);
        match self.value(class) {
            Value::Name(Name::Module) => self.push(Value::Module(None)),
            Value::Name(Name::PassedOver) => self.push(Value::PassedOver),
            _ => return Err("an object of what is no module".into()),
        }
        Ok(())
    }

    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        match self.top()? {
            Value::Module(attributes) => *attributes = Some(state),
            Value::Dict(_) | Value::PassedOver => {} // a dictionary's: an OrderedDict's `_metadata`
            _ => return Err("a state for what has none".into()),
        }
        Ok(())
    }

    /// The tensors below `root`.
    fn collect(mut self, root: Id) -> Result<Vec<(String, View<'a>)>> {
        let mut found: Vec<(String, Id)> = Vec::new();
        let mut modules = vec![(String::new(), self.model(root), 0)];
        let mut visited = 0;
        while let Some((path, id, depth)) = modules.pop() {
            let items = match self.value(id) {
                Value::Dict(items) => items,
                Value::Module(Some(state)) => match self.value(*state) {
                    Value::Dict(items) => items,
                    _ => return Err("a module whose state is no dictionary".into()),
                },
                _ => return Err("neither a state_dict nor a module".into()),
            };
            visited += items.len();
            if visited > MAX_STEPS || depth > MAX_DEPTH {
                return Err("modules that hold each other".into());
            }
            for &(key, item) in items {
                let value = self.value(item);
                if !matches!(value, Value::Tensor(_) | Value::Module(Some(_))) {
                    continue;
                }
                let name = format!("{path}{}", self.str(key)?);
                if name.len() > MAX_PATH {
                    return Err("a tensor's name is too long".into());
                }
                match value {
                    Value::Tensor(_) => found.push((name, item)),
                    _ => modules.push((format!("{name}."), item, depth + 1)),
                }
            }
        }
        let view = |(name, id): (String, Id)| match &mut self.values[id as usize] {
            Value::Tensor(view) => {
                (name, View { shape: view.shape.clone(), strides: view.strides.clone(), ..**view })
            }
            _ => unreachable!("only tensors were collected"),
        };
        Ok(found.into_iter().map(view).collect())
    }

    /// The integer `epoch` of a dictionary.
    fn epoch(&self, root: Id) -> Option<i64> {
        let Value::Dict(items) = self.value(root) else { return None };
        items.iter().find_map(|&(key, value)| match (self.value(key), self.value(value)) {
            (Value::Text("epoch"), Value::Int(epoch)) => Some(*epoch),
            _ => None,
        })
    }

    /// The model in a training checkpoint, or `root` itself.
    fn model(&self, root: Id) -> Id {
        let Value::Dict(items) = self.value(root) else { return root };
        let holds = |id: Id| matches!(self.value(id), Value::Dict(_) | Value::Module(_));
        let inner = items.iter().find(|&&(key, value)| {
            holds(value) && self.str(key).is_ok_and(|key| STATES.contains(&key))
        });
        inner.map_or(root, |&(_, value)| value)
    }
}

/// What `module.leaf` is.
fn name(module: &str, leaf: &str) -> Result<Name> {
    let storage = match leaf {
        "DoubleStorage" => Some(Dtype::F64),
        "FloatStorage" => Some(Dtype::F32),
        "HalfStorage" => Some(Dtype::F16),
        "BFloat16Storage" => Some(Dtype::BF16),
        "LongStorage" => Some(Dtype::I64),
        "IntStorage" => Some(Dtype::I32),
        "ShortStorage" => Some(Dtype::I16),
        "CharStorage" => Some(Dtype::I8),
        "ByteStorage" => Some(Dtype::U8),
        "BoolStorage" => Some(Dtype::BOOL),
        _ => None,
    };
    Ok(match (module, leaf, storage) {
        ("torch", _, Some(dtype)) => Name::Storage(dtype),
        ("collections", "OrderedDict", _) => Name::OrderedDict,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2", _) => Name::Tensor,
        ("torch._utils", "_rebuild_parameter", _)
        | ("torch", "Size", _)
        | (
            "torch.jit._pickle",
            "build_boollist" | "build_doublelist" | "build_intlist" | "build_tensorlist"
            | "restore_type_tag",
            _,
        ) => Name::First,
        ("__torch__", ..) => Name::Module,
        // A schedule is saved with its optimiser, whose state is such a dictionary.
        ("collections", "defaultdict", _) | ("__builtin__" | "builtins", "dict", _) => {
            Name::PassedOver
        }
        _ if module.starts_with("torch.optim.") => Name::PassedOver,
        _ if module.starts_with("__torch__.") => Name::Module,
        _ => return Err(format!("the name {module}.{leaf} is not allowed")),
    })
}

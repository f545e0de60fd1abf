//! Files of `PyTorch` that contradict themselves: each is refused by the file and the place in it, the tensor where there is one.

use std::fs;

use mmprm_quant::safetensors::Checkpoint;

const FILE: &str = "pytorch_model.bin";

/// A tensor as a pickle describes it, with its name and storage.
#[derive(Clone)]
struct Described {
    name: &'static str,
    class: &'static str,
    key: &'static str,
    stored: i64,
    offset: i64,
    shape: Vec<i64>,
    strides: Vec<i64>,
}

/// Two rows of two 32-bit floats in `data/0`.
fn sound() -> Described {
    let (shape, strides) = (vec![2, 2], vec![2, 1]);
    Described { name: "a", class: "torch\nFloatStorage", key: "0", stored: 4, offset: 0, shape, strides }
}

/// The pickle of a dictionary of tensors, as `torch.save` writes it.
fn pickle(tensors: &[Described]) -> Vec<u8> {
    let name = |name: &str| [b"c", name.as_bytes(), b"\n"].concat();
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let integer = |value: i64| [&[0x8a, 8][..], &value.to_le_bytes()].concat();
    let tuple = |values: &[i64]| {
        [b"(", &values.iter().flat_map(|value| integer(*value)).collect::<Vec<u8>>()[..], b"t"].concat()
    };
    let empty = [name("collections\nOrderedDict"), b")R".to_vec()].concat();
    let mut pickle = [&b"\x80\x02"[..], &empty, b"("].concat();
    for tensor in tensors {
        let storage = [
            &b"("[..],
            &text("storage"),
            &name(tensor.class),
            &text(tensor.key),
            &text("cpu"),
            &integer(tensor.stored),
            b"tQ",
        ]
        .concat();
        pickle.extend([text(tensor.name), name("torch._utils\n_rebuild_tensor_v2"), b"(".to_vec(), storage].concat());
        pickle.extend([integer(tensor.offset), tuple(&tensor.shape), tuple(&tensor.strides), vec![0x89]].concat());
        pickle.extend([&empty[..], b"tR"].concat());
    }
    pickle.extend(b"u.");
    pickle
}

/// A zip archive of entries: name, data, the size that the headers give, and the method of compression.
fn archive(entries: &[(&str, &[u8], u32, u16)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data, size, method) in entries {
        let start = (bytes.len() as u32).to_le_bytes();
        // Version, flags, method, date and checksum, both sizes, lengths of the name and of more fields.
        let (version, method, size) = (20_u16.to_le_bytes(), method.to_le_bytes(), size.to_le_bytes());
        let length = (name.len() as u16).to_le_bytes();
        let common = [&version[..], &[0; 2], &method, &[0; 8], &size, &size, &length, &[0; 2]].concat();
        bytes.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), data].concat());
        directory.extend([&b"PK\x01\x02"[..], &version, &common, &[0; 10], &start, name.as_bytes()].concat());
    }
    let (start, size) = ((bytes.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes());
    let count = (entries.len() as u16).to_le_bytes();
    [&bytes[..], &directory, b"PK\x05\x06", &[0; 4], &count, &count, &size, &start, &[0; 2]].concat()
}

/// Entries as they are, in the folder of the archive.
fn stored(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let names: Vec<String> = entries.iter().map(|(name, _)| format!("pytorch_model/{name}")).collect();
    let all: Vec<(&str, &[u8], u32, u16)> =
        entries.iter().zip(&names).map(|((_, data), name)| (&name[..], *data, data.len() as u32, 0)).collect();
    archive(&all)
}

/// A file of these tensors with four floats as `data/0`.
fn file(tensors: &[Described]) -> Vec<u8> {
    stored(&[("data.pkl", &pickle(tensors)), ("byteorder", b"little"), ("data/0", &numbers()), ("version", b"3\n")])
}

fn numbers() -> Vec<u8> {
    [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn open(bytes: &[u8]) -> Result<Checkpoint, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), bytes).unwrap();
    Checkpoint::open(folder.path()).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let error = open(bytes).unwrap_err();
    assert!(error.contains(&format!("{FILE}: ")), "{error}");
    assert!(parts.iter().all(|part| error.contains(part)) && !error.contains('\n'), "{error}: {parts:?}");
}

#[test]
fn the_file_that_the_others_differ_from_is_read() {
    let checkpoint =
        open(&file(&[sound(), Described { name: "b", offset: 2, shape: vec![2], strides: vec![1], ..sound() }]))
            .unwrap();
    let data = |name: &str| checkpoint.data(checkpoint.get(name).unwrap()).to_vec();
    assert_eq!((data("a"), data("b")), (numbers(), numbers()[8..].to_vec()));
    // A tensor without elements, and one without dimensions.
    for (shape, length) in [(vec![0, i64::MAX], 0), (vec![], 4)] {
        let strides = vec![1; shape.len()];
        let checkpoint = open(&file(&[Described { shape, strides, ..sound() }])).unwrap();
        assert_eq!(checkpoint.data(checkpoint.get("a").unwrap()).len(), length);
    }
}

#[test]
fn tensors_beyond_their_storage_are_refused_by_name() {
    let with = |change: fn(&mut Described)| {
        let mut tensor = sound();
        change(&mut tensor);
        file(&[Described { name: "sound", ..sound() }, tensor])
    };
    for (bytes, problem) in [
        (with(|tensor| tensor.stored = 8), "data/0 has 16 bytes, expected 8 × 4"),
        (with(|tensor| tensor.stored = 2), "data/0 has 16 bytes, expected 2 × 4"),
        (with(|tensor| tensor.stored = i64::MAX), "data/0 has 16 bytes"),
        (with(|tensor| tensor.stored = -4), "storage size -4, expected 0 or more"),
        (with(|tensor| tensor.class = "torch\nDoubleStorage"), "data/0 has 16 bytes, expected 4 × 8"),
        (with(|tensor| tensor.key = "1"), "no entry data/1 in the archive"),
        (with(|tensor| tensor.key = "../version"), "no entry data/../version in the archive"),
        (with(|tensor| tensor.offset = 1), "4 elements from 1, expected them within the 4"),
        (with(|tensor| tensor.offset = i64::MAX), "expected them within the 4"),
        (with(|tensor| tensor.offset = -1), "offset -1, expected 0 or more"),
        (with(|tensor| (tensor.shape, tensor.strides) = (vec![5], vec![1])), "5 elements from 0"),
        (with(|tensor| (tensor.shape, tensor.strides) = (vec![i64::MAX], vec![1])), "expected them within the 4"),
        (with(|tensor| tensor.shape = vec![i64::MAX, 4]), "expected a smaller one"),
        (with(|tensor| tensor.shape = vec![-2, 2]), "size -2, expected 0 or more"),
        (with(|tensor| tensor.shape = vec![i64::MIN, i64::MIN]), "expected 0 or more"),
        (with(|tensor| tensor.strides = vec![-2, 1]), "stride -2, expected 0 or more"),
        (with(|tensor| tensor.strides = vec![0, 0]), "strides [0, 0] of shape [2, 2], expected them contiguous"),
        (with(|tensor| tensor.strides = vec![i64::MAX, 1]), "expected them contiguous"),
    ] {
        refused(&bytes, &["tensor 'a': ", problem]);
    }
    refused(&with(|tensor| tensor.strides = vec![1]), &["pickle: byte ", "1 strides, expected 2"]);
    refused(&with(|tensor| tensor.shape = vec![1; 17]), &["pickle: byte ", "17 dimensions, expected at most 16"]);
    refused(&file(&[sound(), sound()]), &["pickle: 'a' occurs twice"]);
}

#[test]
fn names_of_a_pickle_are_refused_and_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let proof = folder.path().join("executed");
    let command = format!("touch {}", proof.display());
    let argument = [b"X", &(command.len() as u32).to_le_bytes()[..], command.as_bytes()].concat();
    for name in [
        "os\nsystem",
        "posix\nsystem",
        "builtins\neval",
        "subprocess\ncall",
        "torch\nload",
        "torch._utils\n_rebuild_tensor",
    ] {
        let pickle = [b"\x80\x02c", name.as_bytes(), b"\n", &argument, b"\x85R."].concat();
        let shown = format!("{:?}", name.replace('\n', "."));
        refused(&stored(&[("data.pkl", &pickle)]), &["pickle: byte 2: ", &shown, "nothing of a pickle is run"]);
    }
    // The name as two texts, and calls of things that are known.
    let texts = b"\x80\x04\x8c\x02os\x8c\x06system\x93.";
    refused(&stored(&[("data.pkl", texts)]), &["pickle: byte 14: ", "\"os.system\""]);
    for call in [&b"ctorch\nFloatStorage\n)R."[..], b"ccollections\nOrderedDict\n(K\x01tR.", b"K\x01)R."] {
        refused(&stored(&[("data.pkl", call)]), &["pickle: byte ", "a call of "]);
    }
    assert!(!proof.exists());
}

#[test]
fn archives_of_another_form_are_refused() {
    let pickle = pickle(&[sound()]);
    let numbers = numbers();
    let with = |more: &[(&str, &[u8])]| stored(&[&[("data.pkl", &pickle[..]), ("data/0", &numbers)], more].concat());
    assert!(open(&with(&[])).is_ok(), "versions before 2.1 write no byte order");
    refused(&with(&[("byteorder", b"big")]), &["archive: byte order \"big\", expected little"]);
    refused(&with(&[("byteorder", b"")]), &["archive: byte order \"\""]);
    refused(&with(&[("data.pkl", &pickle)]), &["archive: two entries of one name"]);
    refused(&with(&[("data/0", &numbers)]), &["archive: two entries of one name"]);
    refused(&stored(&[("data/0", &numbers)]), &["archive: no entry data.pkl"]);
    refused(&stored(&[]), &["archive: "]);
    let (main, data) = ("pytorch_model/data.pkl", "pytorch_model/data/0");
    let entry = |name: &'static str, size: u32, method: u16| {
        archive(&[(main, &pickle, pickle.len() as u32, 0), (name, &numbers, size, method)])
    };
    assert!(open(&entry(data, 16, 0)).is_ok());
    refused(&entry(data, 16, 8), &["archive: entry \"pytorch_model/data/0\": compressed"]);
    refused(&entry("other/data/0", 16, 0), &["archive: entry \"other/data/0\": expected entries in one folder"]);
    refused(&entry("data", 16, 0), &["archive: entry \"data\": expected entries in one folder"]);
    refused(&entry(data, u32::MAX - 1, 0), &["archive: "]);
    refused(&entry(data, 12, 0), &["tensor 'a': data/0 has 12 bytes, expected 4 × 4"]);
    let whole = file(&[sound()]);
    for length in 0..whole.len() {
        refused(&whole[..length], &[]);
    }
}

/// Writes shards and their index, and opens them.
fn open_shards(shards: &[(&str, Vec<u8>)], index: &str) -> Result<Checkpoint, String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    for (name, bytes) in shards {
        write(name, bytes);
    }
    write("pytorch_model.bin.index.json", index.as_bytes());
    Checkpoint::open(folder.path()).map_err(|error| error.to_string().replace(&folder.path().display().to_string(), ""))
}

#[test]
fn shards_are_those_of_the_index_and_each_tensor_is_in_one() {
    let [one, two] = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];
    let [first, second] = ["a", "b"].map(|name| file(&[Described { name, ..sound() }]));
    let index = format!(r#"{{"weight_map": {{"a": "{one}", "b": "{two}"}}}}"#);
    let both = [(one, first.clone()), (two, second.clone())];
    assert_eq!(open_shards(&both, &index).unwrap().names().collect::<Vec<_>>(), ["a", "b"]);
    let refused = |shards: &[(&str, Vec<u8>)], index: &str, parts: &[&str]| {
        let error = open_shards(shards, index).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)) && !error.contains('\n'), "{error}: {parts:?}");
    };
    refused(&both[..1], &index, &[two, "cannot read"]);
    refused(&[(one, first.clone()), (two, first.clone())], &index, &[two, "tensor 'a': also in ", one]);
    refused(&[(one, second.clone()), (two, first.clone())], &index, &["index.json: tensor 'a'", "found in", two]);
    refused(&both, &index.replace("\"b\"", "\"c\""), &["index.json: tensor 'c'", "in no shard"]);
    refused(
        &[(one, file(&[sound(), Described { name: "c", ..sound() }])), both[1].clone()],
        &index,
        &["tensor 'c'", "not listed"],
    );
    refused(&both, &index.replace(two, "../x.bin"), &["index.json: shard '../x.bin'", "plain file name"]);
    refused(&[(one, first[..first.len() - 9].to_vec()), (two, second)], &index, &[one, "archive: "]);
}

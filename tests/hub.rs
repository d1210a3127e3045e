//! Models by name, from a hub on this machine.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use common::hub_server::{COMMIT, Elsewhere, HubServer, Manner, PROPOSED, alone, files, hash};
use common::hugging_face::{golden_folder, sharded, tensors, write};
use common::pickle::of_tensors;
use common::program::{stderr, stdout};
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

const NAME: &str = "some-org/small-bert";

fn start(folder: &Path, manner: Manner) -> HubServer {
    HubServer::model(NAME, folder, manner)
}

/// `wgrad info --model NAME --json` with a cache.
fn info(cache: &Path, hub: &str, token: Option<&str>) -> Output {
    let mut command = alone(cache, hub, &["info", "--model", NAME, "--json"]);
    token.map(|token| command.env("HF_TOKEN", token));
    command.env("HF_HUB_DOWNLOAD_TIMEOUT", "2");
    command.output().unwrap()
}

/// The bytes of the weights.
fn weights() -> Vec<u8> {
    fs::read(sentence_folder().join("model.safetensors")).unwrap()
}

fn described(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

fn model(cache: &Path) -> PathBuf {
    cache.join("hub/models--some-org--small-bert")
}

fn sentence_folder() -> PathBuf {
    golden_folder().with_file_name("sentence_transformers")
}

/// Whether the cache holds the folder's files, whole.
fn is_cached(cache: &Path, folder: &Path) {
    let snapshot = model(cache).join("snapshots").join(COMMIT);
    assert_eq!(files(&snapshot, ""), files(folder, ""));
    assert_eq!(fs::read_to_string(model(cache).join("refs/main")).unwrap(), COMMIT);
    let blobs = fs::read_dir(model(cache).join("blobs")).unwrap();
    assert!(blobs.flatten().all(|blob| !blob.path().to_str().unwrap().ends_with(".incomplete")));
}

#[test]
fn a_model_is_downloaded_once() {
    let cache = tempfile::tempdir().unwrap();
    let hub = start(&sentence_folder(), Manner::default());
    let output = info(cache.path(), &hub.address, None);
    let answer = described(&output);
    assert_eq!((&answer["width"], &answer["embedding"]["max_tokens"]), (&json!(40), &json!(32)));
    assert!(stderr(&output).starts_with("downloading some-org/small-bert (9 files, 0.2 MB) into "));
    is_cached(cache.path(), &sentence_folder());
    let asked = hub.requests();
    assert!(asked.last().unwrap().0.ends_with("/model.safetensors"));
    assert!(!asked.iter().any(|(path, ..)| path.contains("onnx") || path.contains("evil")));
    assert_eq!(asked.len(), 10);

    // Now the hub is not needed.
    let again = info(cache.path(), "http://127.0.0.1:9", None);
    assert_eq!(described(&again), answer);
    assert!(again.stderr.is_empty() && hub.requests().len() == 10);
    // A half-finished snapshot is completed, with what is there already.
    fs::remove_file(model(cache.path()).join("snapshots").join(COMMIT).join("model.safetensors")).unwrap();
    assert_eq!(described(&info(cache.path(), &hub.address, None)), answer);
    is_cached(cache.path(), &sentence_folder());
    if cfg!(unix) {
        assert_eq!(hub.requests().len(), 11);
    }
}

/// Another program may have fetched only what it needed itself: what says how vectors are made comes later.
#[test]
fn a_half_filled_cache_is_filled() {
    let cache = tempfile::tempdir().unwrap();
    let hub = start(&sentence_folder(), Manner::default());
    let answer = described(&info(cache.path(), &hub.address, None));
    let snapshot = model(cache.path()).join("snapshots").join(COMMIT);
    fs::remove_dir_all(model(cache.path()).join(".no_exist")).unwrap();
    for file in ["modules.json", "1_Pooling/config.json", "tokenizer_config.json"] {
        fs::remove_file(snapshot.join(file)).unwrap();
    }
    // Without the hub it is said what may lack.
    let alone = info(cache.path(), "http://127.0.0.1:9", None);
    assert_eq!(described(&alone)["embedding"]["described"], json!(false));
    assert!(stderr(&alone).starts_with("note: the cache may lack tokenizer_config.json, special_tokens_map.json, modules.json of some-org/small-bert, which were not fetched: "), "{}", stderr(&alone));
    let filled = info(cache.path(), &hub.address, None);
    assert_eq!(described(&filled), answer);
    assert!(
        stderr(&filled).contains("downloading modules.json of some-org/small-bert, which the cache lacks")
    );
    assert!(stderr(&filled).contains("downloading 1_Pooling/config.json"));
    is_cached(cache.path(), &sentence_folder());
    // What the hub does not have is asked for once.
    let before = hub.requests().len();
    assert!(info(cache.path(), &hub.address, None).stderr.is_empty() && hub.requests().len() == before);
}

#[test]
fn weights_in_several_files_are_downloaded() {
    let cache = tempfile::tempdir().unwrap();
    let folder = sharded(3);
    // Where a model has it, it comes along.
    fs::write(folder.path().join("reference_vectors.json"), "{}").unwrap();
    let hub = start(folder.path(), Manner::default());
    assert_eq!(described(&info(cache.path(), &hub.address, None))["parameters"], 37013);
    is_cached(cache.path(), folder.path());
}

#[test]
fn a_broken_line_is_taken_up_where_it_broke() {
    for no_ranges in [false, true] {
        let cache = tempfile::tempdir().unwrap();
        let manner = Manner { breaks: vec![70_000, 1000, 0], no_ranges, ..Manner::default() };
        let hub = start(&sentence_folder(), manner);
        described(&info(cache.path(), &hub.address, None));
        is_cached(cache.path(), &sentence_folder());
        let asked = hub.requests();
        let ranges: Vec<_> =
            asked.iter().filter(|r| r.0.ends_with("model.safetensors")).map(|r| r.1.clone()).collect();
        assert_eq!(ranges.len(), 4, "{ranges:?}");
        assert_eq!(ranges[1], Some("bytes=70000-".to_string()));
        if !no_ranges {
            assert_eq!(ranges[2], Some("bytes=71000-".to_string()));
        }
    }
    // So is a download of which the process ended.
    let cache = tempfile::tempdir().unwrap();
    let blobs = model(cache.path()).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.incomplete", hash("model.safetensors", &weights())));
    fs::write(partial, &weights()[..100_000]).unwrap();
    let hub = start(&sentence_folder(), Manner::default());
    described(&info(cache.path(), &hub.address, None));
    is_cached(cache.path(), &sentence_folder());
    assert_eq!(hub.requests().last().unwrap().1, Some("bytes=100000-".to_string()));
}

#[test]
fn a_wrong_size_is_no_model() {
    let cache = tempfile::tempdir().unwrap();
    let manner = Manner { exaggerate: 10, ..Manner::default() };
    let hub = start(&sentence_folder(), manner);
    let output = info(cache.path(), &hub.address, None);
    assert!(!output.status.success() && output.stdout.is_empty());
    let (real, said) =
        (fs::metadata(sentence_folder().join("model.safetensors")).unwrap().len(), stderr(&output));
    let expected = format!("model.safetensors: expected {} bytes, found {real}", real + 10);
    assert!(said.contains(&expected), "{said}");
    let snapshot = model(cache.path()).join("snapshots").join(COMMIT);
    assert!(!snapshot.join("model.safetensors").exists() && !model(cache.path()).join("refs").exists());
}

#[test]
fn tokens_go_to_the_hub_alone() {
    [Elsewhere::Host, Elsewhere::Port].into_iter().for_each(tokens_do_not_go);
}

fn tokens_do_not_go(elsewhere: Elsewhere) {
    let cache = tempfile::tempdir().unwrap();
    let manner =
        || Manner { token: Some("hf_secret".into()), redirect: Some(elsewhere), ..Manner::default() };
    let hub = start(&sentence_folder(), manner());
    for (token, says) in [(None, "set HF_TOKEN"), (Some("wrong"), "the token may not read this model")] {
        let output = info(cache.path(), &hub.address, token);
        assert!(!output.status.success());
        assert!(stderr(&output).contains("401") && stderr(&output).contains(says), "{}", stderr(&output));
        assert!(!stderr(&output).contains("wrong"));
    }
    described(&info(cache.path(), &hub.address, Some("hf_secret")));
    is_cached(cache.path(), &sentence_folder());
    let asked = hub.requests();
    let stored: Vec<_> = asked.iter().filter(|(path, ..)| path.starts_with("/storage/")).collect();
    assert!(stored.len() == 1 && !stored[0].2, "{stored:?}");
    // The one that `huggingface-cli login` stores.
    let cache = tempfile::tempdir().unwrap();
    fs::write(cache.path().join("token"), "hf_secret\n").unwrap();
    let hub = start(&sentence_folder(), manner());
    described(&info(cache.path(), &hub.address, None));
}

#[test]
fn what_is_not_there_is_said() {
    let cache = tempfile::tempdir().unwrap();
    let hub = start(&sentence_folder(), Manner::default());
    let run = |name: &str, offline: bool| {
        let mut command = hub.command(cache.path(), &["info", "--model", name]);
        if offline {
            command.env("HF_HUB_OFFLINE", "1");
        }
        let output = command.output().unwrap();
        assert!(!output.status.success());
        stderr(&output)
    };
    let said = run("some-org/other", false);
    assert!(said.contains("404") && said.contains("no such model"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1);
    assert!(run("some-org/small-bert", true).contains("HF_HUB_OFFLINE is set"));
    assert!(run("./some-org/small-bert", false).contains("found nothing there"));
    let none = tempfile::tempdir().unwrap();
    fs::write(none.path().join("config.json"), "{}").unwrap();
    let hub = start(none.path(), Manner::default());
    let output = info(cache.path(), &hub.address, None);
    let said = stderr(&output);
    assert!(said.contains("model.safetensors or pytorch_model.bin, found no weights"), "{said}");
}

/// A copy of a folder, whose weights in `weights` are those of `torch.save`.
fn pickled(folder: &Path, weights: &[&str]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for (name, bytes) in files(folder, "") {
        let path = copy.path().join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match weights.contains(&name.as_str()) {
            false => fs::write(path, bytes).unwrap(),
            true => {
                let bytes = of_tensors(&tensors(&folder.join(name)));
                fs::write(path.with_file_name("pytorch_model.bin"), bytes).unwrap();
            }
        }
    }
    copy
}

#[test]
fn weights_of_pytorch_are_downloaded_where_there_are_no_others() {
    let cache = tempfile::tempdir().unwrap();
    let dense = tempfile::tempdir().unwrap();
    for (name, bytes) in files(&sentence_folder(), "") {
        let path = dense.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::remove_dir_all(dense.path().join("2_Normalize")).unwrap();
    // LaBSE and many older ones: both the encoder and a Dense module are pickles.
    let modules =
        [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize")];
    let modules = modules
        .map(|(path, kind)| json!({"path": path, "type": format!("sentence_transformers.models.{kind}")}));
    fs::write(dense.path().join("modules.json"), json!(modules).to_string()).unwrap();
    fs::create_dir(dense.path().join("2_Dense")).unwrap();
    let settings = json!({"in_features": 40, "out_features": 2, "bias": false, "activation_function": "torch.nn.modules.linear.Identity"});
    fs::write(dense.path().join("2_Dense/config.json"), settings.to_string()).unwrap();
    let values: Vec<u8> = (0..80).flat_map(|i| (i as f32 / 80.0).to_le_bytes()).collect();
    let linear = [("linear.weight".to_owned(), Dtype::F32, vec![2, 40], values)];
    write(&dense.path().join("2_Dense/model.safetensors"), &linear);
    let expected = {
        let hub = start(dense.path(), Manner::default());
        let cache = tempfile::tempdir().unwrap();
        let vectors = hub.command(cache.path(), &["embed", "--model", NAME, "w5 w6"]).output().unwrap();
        assert!(vectors.status.success(), "{}", stderr(&vectors));
        stdout(&vectors)
    };
    let folder = pickled(dense.path(), &["model.safetensors", "2_Dense/model.safetensors"]);
    let hub = start(folder.path(), Manner::default());
    let embed = || {
        let output = hub.command(cache.path(), &["embed", "--model", NAME, "w5 w6"]).output().unwrap();
        (stdout(&output), stderr(&output))
    };
    assert_eq!(embed().0, expected);
    is_cached(cache.path(), folder.path());
    // Another program may have fetched all but the module's.
    let snapshot = model(cache.path()).join("snapshots").join(COMMIT);
    fs::remove_file(snapshot.join("2_Dense/pytorch_model.bin")).unwrap();
    fs::remove_dir_all(model(cache.path()).join(".no_exist")).unwrap();
    // A download that fails leaves no note that there is nothing to download.
    let broken = start(folder.path(), Manner { exaggerate: 5, ..Manner::default() });
    let failed = broken.command(cache.path(), &["embed", "--model", NAME, "w5 w6"]).output().unwrap();
    assert!(!failed.status.success() && stderr(&failed).contains("2_Dense"), "{}", stderr(&failed));
    let (vectors, said) = embed();
    assert!(vectors == expected && said.contains("downloading 2_Dense/pytorch_model.bin"), "{said}");
    assert!(embed().1.is_empty());
    // What is there in both forms is fetched in one.
    for name in ["pytorch_model.bin", "2_Dense/pytorch_model.bin"] {
        fs::copy(folder.path().join(name), dense.path().join(name)).unwrap();
    }
    let hub = start(dense.path(), Manner::default());
    let cache = tempfile::tempdir().unwrap();
    described(&info(cache.path(), &hub.address, None));
    assert!(!hub.requests().iter().any(|(path, ..)| path.contains("pytorch_model")));
}

/// What somebody proposed lies under a revision with slashes.
#[test]
fn revisions_have_slashes() {
    let commits = [(COMMIT, sentence_folder()), (PROPOSED, golden_folder())];
    let commits = commits.map(|(commit, folder)| (commit.to_owned(), files(&folder, "")));
    let hub = HubServer::start(HashMap::from([(NAME.to_owned(), HashMap::from(commits))]), Manner::default());
    let cache = tempfile::tempdir().unwrap();
    let name = format!("{NAME}@refs/pr/4");
    let run = |arguments: &[&str]| {
        let output = hub.command(cache.path(), arguments).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        output
    };
    let answer = described(&run(&["info", "--model", &name, "--json"]));
    assert_eq!(answer["embedding"]["described"], json!(false));
    assert_eq!(fs::read_to_string(model(cache.path()).join("refs/refs/pr/4")).unwrap(), PROPOSED);
    assert_eq!(files(&model(cache.path()).join("snapshots").join(PROPOSED), ""), files(&golden_folder(), ""));
    // The other revision is another.
    assert_eq!(described(&info(cache.path(), &hub.address, None))["embedding"]["described"], json!(true));
    let before = hub.requests().len();
    // Every command that takes a model by its name takes this one, and finds it in the cache.
    fs::write(cache.path().join("text.txt"), "w5 w6 w7 w8 w9 w10\n".repeat(60)).unwrap();
    run(&["embed", "--model", &name, "w5 w6"]);
    run(&["similarity", "--model", &name, "w5 w6", "w7"]);
    run(&["fill-mask", "--model", &name, "w5 [MASK]"]);
    run(&["data", "prepare", "text.txt", "--tokenizer", &name, "--seq-len", "16", "--out", "data"]);
    run(&["pretrain", "--from", &name, "--data", "data", "--out", "out", "--init-only"]);
    assert_eq!(hub.requests().len(), before);
    // A name that would lead out of the cache is a path, and not there.
    for bad in ["../../x", "a/../../../x", "/etc"] {
        let output =
            hub.command(cache.path(), &["info", "--model", &format!("{NAME}@{bad}")]).output().unwrap();
        assert!(stderr(&output).contains("found nothing there"), "{}", stderr(&output));
    }
    assert_eq!(hub.requests().len(), before);
}

/// Some of BERT's are only a list of words.
#[test]
fn a_vocabulary_alone_is_downloaded() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(golden_folder().join(name), folder.path().join(name)).unwrap();
    }
    let vocabulary: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        .map(str::to_owned)
        .into_iter()
        .chain((5..61).map(|i| format!("w{i}")))
        .collect();
    fs::write(folder.path().join("vocab.txt"), vocabulary.join("\n")).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let hub = start(folder.path(), Manner::default());
    assert_eq!(described(&info(cache.path(), &hub.address, None))["width"], 40);
    is_cached(cache.path(), folder.path());
}

/// A part in the cache, as an earlier download left it.
fn leave_part(cache: &Path, part: &[u8]) {
    let blobs = model(cache).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", hash("model.safetensors", &weights()))), part).unwrap();
}

#[test]
fn what_comes_is_what_the_hub_says() {
    // A byte that is wrong on the way.
    let cache = tempfile::tempdir().unwrap();
    let hub = start(&sentence_folder(), Manner { wrong: 1, ..Manner::default() });
    let said = stderr(&info(cache.path(), &hub.address, None));
    let right = hash("model.safetensors", &weights());
    assert!(said.contains(&format!("expected contents with the hash {right}, found ")), "{said}");
    let blobs: Vec<_> = fs::read_dir(model(cache.path()).join("blobs")).unwrap().flatten().collect();
    let is_weights = |name: &str| name.starts_with(&right);
    assert!(!blobs.iter().any(|blob| is_weights(blob.file_name().to_str().unwrap())));
    // Nothing of it stays in the way of the next time.
    described(&info(cache.path(), &hub.address, None));
    is_cached(cache.path(), &sentence_folder());

    // A part that is wrong, as another program or a full disk may leave it.
    for length in [100_000, weights().len()] {
        let cache = tempfile::tempdir().unwrap();
        leave_part(cache.path(), &vec![7; length]);
        let hub = start(&sentence_folder(), Manner::default());
        described(&info(cache.path(), &hub.address, None));
        is_cached(cache.path(), &sentence_folder());
    }

    // Small files are hashed as git does it.
    let cache = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files(&sentence_folder(), "") {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let hub =
        start(folder.path(), Manner { other_version: Some(hash("x.safetensors", b"")), ..Manner::default() });
    let said = stderr(&info(cache.path(), &hub.address, None));
    assert!(said.contains("model.safetensors: expected the version "), "{said}");
}

#[test]
fn a_line_that_is_silent_is_given_up_and_taken_up_again() {
    let cache = tempfile::tempdir().unwrap();
    let hub = start(&sentence_folder(), Manner { stalls: vec![50_000, 0, 1000], ..Manner::default() });
    let clock = Instant::now();
    described(&info(cache.path(), &hub.address, None));
    // Three times two seconds, and not the twenty that the hub says nothing.
    assert!((Duration::from_secs(6)..Duration::from_secs(19)).contains(&clock.elapsed()));
    is_cached(cache.path(), &sentence_folder());
    let asked = hub.requests();
    assert_eq!(asked.last().unwrap().1, Some("bytes=51000-".to_string()));
}

#[test]
fn a_busy_hub_is_waited_for() {
    let cache = tempfile::tempdir().unwrap();
    let busy = vec![
        ("429 Too Many Requests", Some("1")),
        ("503 Service Unavailable", Some("Sun, 06 Nov 1994 08:49:37 GMT")),
        ("502 Bad Gateway", None),
    ];
    let hub = start(&sentence_folder(), Manner { busy, ..Manner::default() });
    let clock = Instant::now();
    described(&info(cache.path(), &hub.address, None));
    assert!(clock.elapsed() >= Duration::from_secs(1));
    is_cached(cache.path(), &sentence_folder());

    let told = |busy| {
        let cache = tempfile::tempdir().unwrap();
        let hub = start(&sentence_folder(), Manner { busy, ..Manner::default() });
        let output = info(cache.path(), &hub.address, None);
        assert!(!output.status.success());
        (stderr(&output), hub.requests().len())
    };
    let (said, asked) = told(vec![("429 Too Many Requests", Some("3600"))]);
    assert!(said.contains("the hub asks to come back in 3600 seconds") && asked == 1, "{said}");
    let (said, asked) = told(vec![("429 Too Many Requests", Some("0")); 9]);
    assert!(said.contains("429") && said.contains("too many requests") && asked == 5, "{said}");
    let refuses =
        Manner { token: Some("x".into()), refuses_with: Some("403 Forbidden"), ..Manner::default() };
    let hub = start(&sentence_folder(), refuses);
    let said = stderr(&info(cache.path(), &hub.address, Some("y")));
    assert!(said.is_empty(), "what is cached needs no hub: {said}");
    let cache = tempfile::tempdir().unwrap();
    let said = stderr(&info(cache.path(), &hub.address, Some("y")));
    assert!(said.contains("403") && said.contains("the token may not read this model"), "{said}");
}

#[test]
fn training_goes_on_from_a_model_by_name() {
    let cache = tempfile::tempdir().unwrap();
    let hub = start(&golden_folder(), Manner::default());
    fs::write(cache.path().join("text.txt"), "w5 w6 w7 w8 w9 w10\n".repeat(60)).unwrap();
    let run = |arguments: &[&str]| stdout(&hub.command(cache.path(), arguments).output().unwrap());
    run(&["data", "prepare", "text.txt", "--tokenizer", NAME, "--seq-len", "16", "--out", "data"]);
    let pretrain = ["pretrain", "--from", NAME, "--data", "data", "--out", "out", "--init-only"];
    run(&pretrain);
    let card = fs::read_to_string(cache.path().join("out/README.md")).unwrap();
    assert!(card.contains("base_model: \"some-org/small-bert\""), "{card}");
    // The name is that of one model, fetched once.
    let asked = hub.requests();
    assert_eq!(asked.iter().filter(|(path, ..)| path.ends_with("model.safetensors")).count(), 1);
}

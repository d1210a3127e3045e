//! Stores and what is written to them: memory, temporary names, outputs that are no files, locks.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use wgrad::store::{
    Digest, Disk, FolderLock, Memory, NewFolder, Output, Purpose, Sink, Store, claim, write_atomic,
    write_output,
};

#[test]
fn folders_are_their_files() {
    let files = Memory::default();
    files.insert("a/b/c", vec![1]);
    files.insert("a/b/d/e", vec![2]);
    files.insert("a/bb", vec![3]);
    assert_eq!(files.list("a"), ["b", "bb"]);
    assert_eq!(files.list("a/b"), ["c", "d"]);
    assert!(files.exists("a/b/d") && !files.exists("a/b/x"));
    assert!(files.rename("a/b", "z"));
    assert_eq!(files.get("z/d/e").unwrap().as_slice(), [2]);
    assert_eq!(files.list("a"), ["bb"]);
    assert!(files.rename("z/c", "a/bb") && !files.rename("none", "some"));
    assert_eq!(files.get("a/bb").unwrap().as_slice(), [1]);
    files.remove("z");
    assert_eq!(files.paths(), [PathBuf::from("a/bb")]);
}

#[test]
fn an_open_file_is_written_where_it_stands() {
    let files = Memory::default();
    let path = Path::new("a/b");
    let mut file = files.create(path).unwrap();
    file.write_all(b"onward").unwrap();
    file.seek(SeekFrom::Start(1)).unwrap();
    file.write_all(b"ff").unwrap();
    assert_eq!(files.get(path).unwrap().as_slice(), b"offard");
    file.truncate(2).unwrap();
    file.write_all(b"!").unwrap();
    assert_eq!(files.get(path).unwrap().as_slice(), b"of!");
    assert!(files.create(path).is_err(), "it would be emptied");
    files.append(path).unwrap().write_all(b"?").unwrap();
    assert_eq!(files.get(path).unwrap().as_slice(), b"of!?");
    files.remove(path);
    assert!(file.write_all(b"x").is_err() && !files.exists(path), "a removed file stays removed");
}

fn names(dir: &Path) -> Vec<String> {
    let mut names = Disk.list(dir).unwrap();
    names.sort();
    names
}

#[test]
fn temporary_names_are_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.json");
    // The last is what a killed process leaves; the one before it is being written.
    let held = ".out.json.0123456789abcdef.wgrad-partial";
    let own = ["out.json.partial", ".out.json.partial", ".out.json.0123456789abcdeg.wgrad-partial", held];
    for name in own.iter().chain(&[".out.json.fedcba9876543210.wgrad-partial"]) {
        fs::write(dir.path().join(name), "theirs").unwrap();
    }
    let other = fs::File::open(dir.path().join(held)).unwrap();
    other.lock().unwrap();
    write_atomic(&Disk, &path, |sink| {
        // There is a temporary file now, and it is not taken for an abandoned one.
        let temporary = names(dir.path()).into_iter().find(|name| !own.contains(&name.as_str())).unwrap();
        Disk.remove_abandoned(&dir.path().join(&temporary));
        assert!(names(dir.path()).contains(&temporary));
        sink.put(b"{}")
    })
    .unwrap();
    let mut expected: Vec<&str> = own.into_iter().chain(["out.json"]).collect();
    expected.sort();
    assert_eq!(names(dir.path()), expected);
    for name in own {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"theirs", "{name}");
    }
}

#[test]
fn what_is_given_up_leaves_nothing() {
    for store in [&Disk as &dyn Store, &Memory::default()] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(store, &path, |sink| sink.put(b"old")).unwrap();
        let given_up = write_atomic(store, &path, |sink| {
            sink.put(b"new")?;
            Err(wgrad::Error::config("a", "b", "c"))
        });
        assert!(given_up.is_err());
        assert_eq!(store.list(dir.path()).unwrap(), ["a"]);
        assert_eq!(&*store.read(&path).unwrap(), b"old");
    }
}

#[test]
fn an_output_is_replaced_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "old").unwrap();
    let mut output = Output::create(&path).unwrap();
    output.put(b"?new").unwrap();
    output.put_first(b"a").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    output.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"anew");
    assert_eq!(names(dir.path()), ["a"]);
    assert!(write_output(dir.path(), b"").is_err(), "a folder");
}

#[test]
#[cfg(unix)]
fn fault_50_links_pipes_and_devices_stay_what_they_are() {
    use std::os::unix::fs::{FileTypeExt, symlink};

    let dir = tempfile::tempdir().unwrap();
    let (target, link, pipe) = (dir.path().join("target"), dir.path().join("link"), dir.path().join("pipe"));
    fs::write(&target, "older and longer").unwrap();
    symlink("target", &link).unwrap();
    // What is given up leaves what the link leads to as it was.
    let mut given_up = Output::create(&link).unwrap();
    given_up.put(b"half").unwrap();
    drop(given_up);
    assert_eq!(fs::read(&target).unwrap(), b"older and longer");
    write_output(&link, b"new").unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read(&target).unwrap(), b"new");

    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    let mut output = Output::create(&pipe).unwrap();
    output.put(b"through ").unwrap();
    assert!(!output.is_file() && output.put_first(b"T").is_err());
    output.put(b"the pipe").unwrap();
    output.finish().unwrap();
    assert_eq!(reader.join().unwrap(), b"through the pipe");
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());

    write_output(Path::new("/dev/null"), b"nothing").unwrap();
    assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
    assert_eq!(names(dir.path()), ["link", "pipe", "target"]);
}

#[test]
#[cfg(unix)]
fn fault_56_a_lock_that_is_a_link_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("theirs");
    fs::write(&theirs, "kept").unwrap();
    std::os::unix::fs::symlink(&theirs, dir.path().join("lock")).unwrap();
    let error = FolderLock::acquire(dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("lock: expected a lock, which is a file, found a link"), "{error}");
    assert_eq!(fs::read(theirs).unwrap(), b"kept");
    fs::remove_file(dir.path().join("lock")).unwrap();
    fs::write(dir.path().join("lock"), "kept too").unwrap();
    let error = FolderLock::acquire(dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("found something else"), "{error}");
    assert_eq!(fs::read(dir.path().join("lock")).unwrap(), b"kept too");
    fs::remove_file(dir.path().join("lock")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(dir.path().join("lock")).status().unwrap().success());
    let error = FolderLock::acquire(dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("found a folder, pipe or device"), "{error}");
    claim(&Disk, dir.path(), Purpose::Run, false).unwrap_err();
}

#[test]
fn a_new_folder_takes_nobodys_place_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("place");
    let filled = |name: &std::ffi::OsStr| {
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join(name), "mine").unwrap();
        let told = NewFolder::create(&Disk, &place).err().unwrap().to_string();
        assert!(told.contains("one with something in it"), "{told}");
        assert_eq!(fs::read(place.join(name)).unwrap(), b"mine");
        fs::remove_file(place.join(name)).unwrap();
    };
    filled("a".as_ref());
    #[cfg(unix)]
    filled(std::os::unix::ffi::OsStrExt::from_bytes(b"\xff.txt"));

    // Something comes to stand there while the folder is being written: both stay.
    let folder = NewFolder::create(&Disk, &place).unwrap();
    fs::write(folder.path().join("work"), "of hours").unwrap();
    fs::write(place.join("late"), "mine").unwrap();
    let told = folder.commit().unwrap_err().to_string();
    let (_, kept) = told.split_once("what was written is in ").unwrap();
    assert_eq!(fs::read(Path::new(kept).join("work")).unwrap(), b"of hours");
    assert_eq!(names(&place), ["late"]);

    // The next one clears that away, and an empty folder is no hindrance.
    fs::remove_file(place.join("late")).unwrap();
    let folder = NewFolder::create(&Disk, &place).unwrap();
    assert!(!Path::new(kept).exists());
    let told = NewFolder::create(&Disk, &place).err().unwrap().to_string();
    assert!(told.contains("a folder that no other run is writing"), "{told}");
    fs::write(folder.path().join("work"), "done").unwrap();
    folder.commit().unwrap();
    assert_eq!(names(dir.path()), ["place"]);
    assert_eq!(names(&place), ["work"]);
}

#[test]
fn what_is_cleared_away_is_neither_known_nor_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("place");
    let folder = NewFolder::create(&Disk, &place).unwrap();
    let locked = names(folder.path());
    for name in ["begun", "older"] {
        fs::write(folder.path().join(name), "work").unwrap();
    }
    folder.clear(|name| name == "begun").unwrap();
    let mut expected: Vec<String> = locked.into_iter().chain(["begun".to_owned()]).collect();
    expected.sort();
    assert_eq!(names(folder.path()), expected);
    // Nobody else takes the folder, whose lock is still held.
    assert!(NewFolder::create(&Disk, &place).is_err());
    folder.commit().unwrap();
    assert_eq!(names(&place), ["begun"]);
}

#[test]
fn fault_52_a_folder_is_taken_when_it_is_empty_or_ours() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("place");
    let only = Purpose::Only(&["tokenizer.json"]);
    let free = |purpose, force| claim(&Disk, &place, purpose, force);
    for purpose in [Purpose::New, Purpose::Run, only] {
        free(purpose, false).unwrap();
    }
    fs::create_dir(&place).unwrap();
    for purpose in [Purpose::New, Purpose::Run, only] {
        free(purpose, false).unwrap();
    }
    // A run that was killed at once, one of this version, and one of an earlier.
    let begun: [(&[(&str, &str)], bool); 7] = [
        (&[("lock", "")], true),
        (&[("lock", "12 wgrad\n"), ("train.json", "{}"), ("notes.txt", "")], true),
        (&[("lock", "12\n"), ("train.json", "{}"), ("checkpoints/.partial-step-00000001/a", "")], true),
        (&[("checkpoints/step-00000004/checksums.json", "{}"), ("train.json", "{}")], true),
        (&[("lock", "12\n"), ("README.md", "mine")], false),
        (&[("lock", "mine"), ("checkpoints/.partial-mine/a", "")], false),
        (&[("README.md", "mine"), ("config.json", "{}"), ("metrics.csv", "a,b")], false),
    ];
    for (files, ours) in begun {
        for (name, text) in files {
            let path = place.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(free(Purpose::Run, false).is_ok(), ours, "{files:?}");
        free(Purpose::Run, true).unwrap();
        // A lock alone may be that of any command.
        assert_eq!(free(only, false).is_ok(), files.len() == 1 && files[0].0 == "lock");
        free(Purpose::New, true).unwrap_err();
        fs::remove_dir_all(&place).unwrap();
    }
    fs::create_dir(&place).unwrap();
    fs::write(place.join("tokenizer.json"), "{}").unwrap();
    // One from elsewhere, and one of ours, which its list says.
    free(only, false).unwrap_err();
    let list = r#"{"format":1,"files":{"tokenizer.json":{"bytes":2,"crc32":"00000000"}}}"#;
    fs::write(place.join("checksums.json"), list).unwrap();
    free(only, false).unwrap();
    free(Purpose::Run, false).unwrap_err();
    // What a process leaves that is killed while it writes: with its lock, without a list, and with half of a file.
    fs::remove_file(place.join("checksums.json")).unwrap();
    fs::write(place.join(".checksums.json.0123456789abcdef.wgrad-partial"), "").unwrap();
    free(only, false).unwrap_err();
    fs::write(place.join("lock"), "12 wgrad\n").unwrap();
    free(only, false).unwrap();
    fs::write(place.join("lock"), "somebody's\n").unwrap();
    free(only, false).unwrap_err();
    fs::remove_file(place.join("lock")).unwrap();
    fs::remove_file(place.join("tokenizer.json")).unwrap();
    free(only, false).unwrap();
    fs::write(place.join("tokenizer.json"), "{}").unwrap();
    fs::write(place.join("checksums.json"), list).unwrap();
    fs::remove_file(place.join(".checksums.json.0123456789abcdef.wgrad-partial")).unwrap();
    for name in ["a", "b\u{1b}[2J", "c"] {
        fs::write(place.join(name), "").unwrap();
    }
    let told = free(only, false).unwrap_err().to_string();
    assert!(told.contains("found one with `a`, `b\\u{1b}[2J`, `c`, `checksums.json` and 1 more"), "{told}");
    assert!(told.contains("--force"), "{told}");
}

#[test]
fn fault_51_what_is_called_as_a_temporary_folder_and_has_no_lock_is_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("place");
    let left = |digits: &str| dir.path().join(format!(".place.{digits}.wgrad-partial"));
    let (theirs, empty, killed) = ("0123456789abcdef", "1123456789abcdef", "2123456789abcdef");
    for (digits, file) in [(theirs, Some("work")), (empty, None), (killed, Some("lock"))] {
        fs::create_dir(left(digits)).unwrap();
        if let Some(name) = file {
            fs::write(left(digits).join(name), "").unwrap();
        }
    }
    NewFolder::create(&Disk, &place).unwrap().commit().unwrap();
    assert_eq!(names(dir.path()), [".place.0123456789abcdef.wgrad-partial", "place"]);
}

#[test]
fn a_file_is_gone_on_with_from_the_beginning_that_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.bin");
    let mut sink = Sink::create(&Disk, &path).unwrap();
    sink.put(b"known").unwrap();
    let known = sink.finish().unwrap();
    sink.put(b", and torn").unwrap();
    sink.finish().unwrap();
    let mut sink = Sink::reopen(&Disk, &path, known).unwrap();
    sink.put(b", and whole").unwrap();
    let all = sink.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"known, and whole");
    assert_eq!(all, Digest { bytes: 16, crc32: crc32fast::hash(b"known, and whole") });
    for begin in [&b"knows, and whole"[..], b"know", b""] {
        fs::write(&path, begin).unwrap();
        let told = Sink::reopen(&Disk, &path, known).unwrap_err().to_string();
        assert!(
            told.contains("tokens.bin: expected 5 bytes of checksum ") && told.ends_with("others"),
            "{told}"
        );
        assert_eq!(fs::read(&path).unwrap(), begin);
    }
}

/// A store in memory is one process's own: nothing of it needs a lock, or is on a disk.
#[test]
fn a_folder_in_memory_needs_no_lock() {
    let files = Memory::default();
    let dir = tempfile::tempdir().unwrap();
    // Also where the disk has a folder of that name.
    let place = dir.path().join("data");
    let folder = NewFolder::create(&files, &place).unwrap();
    files.insert(folder.path().join("a"), vec![1]);
    folder.commit().unwrap();
    assert_eq!(files.list(&place), ["a"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

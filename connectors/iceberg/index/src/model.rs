//! The index against a model of it: any sequence of calls and crashes, damaged files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use crate::{Absence, Change, Definition, Difference, Error, Index, Key, Location, Opened, Rebuild, See, Width, fault};

const MEMORY: usize = 1 << 20;
/// Keys are 0..KEYS.
const KEYS: u8 = 40;

/// A folder in memory where there is such: what these tests wait for is the disk.
fn a_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn definition(width: Width) -> Definition {
    Definition { table: "t".into(), key: "id".into(), width }
}

fn key(width: Width, n: u8) -> Key {
    match width {
        Width::Small => Key::Small(u64::from(n)),
        // Neighbours that differ only in the part that fences and filters do not see.
        Width::Wide => Key::Wide(u128::from(n / 4) << 124 | u128::from(n % 4)),
    }
}

fn open(folder: &Path, width: Width) -> Result<Opened, Error> {
    Index::open(folder, &definition(width), MEMORY)
}

fn ready(folder: &Path, width: Width) -> Index {
    match open(folder, width).unwrap() {
        Opened::Ready(index) => index,
        Opened::Absent(why) => panic!("absent: {why:?}"),
    }
}

fn empty(folder: &Path, width: Width) -> Index {
    Rebuild::begin(folder, &definition(width), MEMORY).unwrap().finish(None).unwrap()
}

/// What a commit does, in the model.
#[derive(Clone, Debug)]
struct Commit {
    snapshot: i64,
    changes: Vec<Change>,
    gone: Vec<u32>,
}

type Content = BTreeMap<Key, BTreeSet<Location>>;

#[derive(Clone, Debug, Default)]
struct Model {
    snapshot: Option<i64>,
    adopted: Content,
    staged: Vec<Commit>,
}

fn apply(content: &mut Content, commit: &Commit) {
    for change in &commit.changes {
        if let Change::Put(key, _) | Change::Remove(key) = change {
            content.remove(key);
        }
    }
    for change in &commit.changes {
        if let Change::Put(key, location) | Change::Add(key, location) = change {
            content.entry(*key).or_default().insert(*location);
        }
    }
    content.values_mut().for_each(|set| set.retain(|l| !commit.gone.contains(&l.file)));
    content.retain(|_, set| !set.is_empty());
}

impl Model {
    fn adopt(&mut self) {
        let commit = self.staged.remove(0);
        apply(&mut self.adopted, &commit);
        self.snapshot = Some(commit.snapshot);
    }

    /// Whether a staged commit removes the file.
    fn is_leaving(&self, file: u32) -> bool {
        self.staged.iter().any(|commit| commit.gone.contains(&file))
    }

    fn content(&self, see: See) -> Content {
        let mut content = self.adopted.clone();
        if see == See::Staged {
            self.staged.iter().for_each(|commit| apply(&mut content, commit));
        }
        content
    }

    /// What differs between the index and the model.
    fn differs(&self, index: &Index, width: Width) -> Result<Option<String>, Error> {
        if index.snapshot() != self.snapshot {
            return Ok(Some(format!("at snapshot {:?}, not {:?}", index.snapshot(), self.snapshot)));
        }
        let staged: Vec<i64> = self.staged.iter().map(|s| s.snapshot).collect();
        if index.staged() != staged {
            return Ok(Some(format!("staged {:?}, not {staged:?}", index.staged())));
        }
        // Unsorted, some absent and one twice.
        let keys: Vec<Key> = (0..KEYS + 5).rev().chain([3]).map(|n| key(width, n)).collect();
        for see in [See::Adopted, See::Staged] {
            let content = self.content(see);
            let found = index.view(see).lookup(&keys)?;
            for (at, key) in keys.iter().enumerate() {
                let expected: Vec<Location> = content.get(key).into_iter().flatten().copied().collect();
                if found.of(at) != expected {
                    return Ok(Some(format!("{see:?} {key}: {:?}, not {expected:?}", found.of(at))));
                }
            }
        }
        Ok(None)
    }

    fn verified(&self, index: &Index) -> Result<Option<Difference>, Error> {
        index.verify(self.adopted.iter().flat_map(|(key, set)| set.iter().map(|l| (*key, *l))))
    }
}

/// A step of a test.
#[derive(Clone, Debug)]
enum Step {
    /// Changes as (kind, key, file, row), and files to remove.
    Stage(Vec<(u8, u8, u8, u32)>, Vec<u8>),
    /// One key gets more rows than a page holds.
    Many(u8, u8, u32),
    Adopt,
    Discard(prop::sample::Index),
    Merge,
    MergeSome(prop::sample::Index, prop::sample::Index),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let change = (0u8..5, 0..KEYS, 0u8..6, 0u32..4);
    prop_oneof![
        6 => (prop::collection::vec(change, 0..30), prop::collection::vec(0u8..6, 0..2)).prop_map(|(c, g)| Step::Stage(c, g)),
        1 => (0..KEYS, 0u8..6, 200u32..900).prop_map(|(k, f, n)| Step::Many(k, f, n)),
        6 => Just(Step::Adopt),
        1 => any::<prop::sample::Index>().prop_map(Step::Discard),
        2 => Just(Step::Merge),
        2 => (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(a, b)| Step::MergeSome(a, b)),
        1 => Just(Step::Reopen),
    ]
}

/// Does a step with the index, and with the model if the index says that it did it.
fn take(step: &Step, next: i64, index: &Index, model: &mut Model, width: Width) -> Result<(), Error> {
    match step {
        Step::Stage(changes, gone) => {
            let mut commit = Commit { snapshot: next, changes: vec![], gone: vec![] };
            for (kind, k, file, row) in changes {
                let location = Location { file: index.file(&format!("f{file}"))?, row: *row };
                if model.is_leaving(location.file) {
                    continue;
                }
                commit.changes.push(match kind {
                    0 => Change::Remove(key(width, *k)),
                    1 | 2 => Change::Put(key(width, *k), location),
                    _ => Change::Add(key(width, *k), location),
                });
            }
            commit.gone = gone.iter().filter_map(|file| index.number_of(&format!("f{file}"))).collect();
            stage(commit, index, model)
        }
        Step::Many(k, file, count) => {
            let file = index.file(&format!("f{file}"))?;
            if model.is_leaving(file) {
                return Ok(());
            }
            let changes = (0..*count).rev().map(|row| Change::Add(key(width, *k), Location { file, row })).collect();
            stage(Commit { snapshot: next, changes, gone: vec![] }, index, model)
        }
        Step::Adopt => {
            let Some(commit) = model.staged.first() else { return Ok(()) };
            index.adopt(commit.snapshot)?;
            model.adopt();
            Ok(())
        }
        Step::Discard(which) => {
            if model.staged.is_empty() {
                return Ok(());
            }
            let at = which.index(model.staged.len());
            index.discard(model.staged[at].snapshot)?;
            model.staged.truncate(at);
            Ok(())
        }
        Step::Merge => index.merge(),
        Step::MergeSome(a, b) => index
            .merge_picked(|entries| {
                let (a, b) = (a.index(entries.len().max(1)), b.index(entries.len().max(1)));
                (!entries.is_empty()).then_some(a.min(b)..a.max(b) + 1)
            })
            .map(|_| ()),
        Step::Reopen => Ok(()),
    }
}

fn stage(commit: Commit, index: &Index, model: &mut Model) -> Result<(), Error> {
    index.stage(commit.snapshot, commit.changes.iter().copied(), &commit.gone)?;
    model.staged.push(commit);
    Ok(())
}

/// The models that a crash in this step may leave: as before, or as after it.
fn outcomes(step: &Step, next: i64, folder: &Path, model: &Model, width: Width) -> Vec<Model> {
    let copy = a_folder();
    copy_all(folder, copy.path());
    let index = ready(copy.path(), width);
    let mut after = model.clone();
    take(step, next, &index, &mut after, width).unwrap();
    vec![after, model.clone()]
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// Steps, and for some the write at which the process dies.
fn run(width: Width, steps: &[(Step, Option<u64>)]) {
    let folder = a_folder();
    let mut index = empty(folder.path(), width);
    let mut model = Model::default();
    for (at, (step, crash)) in steps.iter().enumerate() {
        let next = at as i64;
        if let Some(write) = crash {
            drop(index);
            let outcomes = outcomes(step, next, folder.path(), &model, width);
            index = ready(folder.path(), width);
            fault::after(Some(*write));
            let done = take(step, next, &index, &mut model, width);
            // What is in memory is right whatever became of the write.
            assert_eq!(model.differs(&index, width).unwrap(), None, "{step:?} dying");
            drop(index);
            let _ = open(folder.path(), width);
            fault::after(None);
            index = ready(folder.path(), width);
            let fits = |m: &&Model| m.differs(&index, width).unwrap().is_none();
            if done.is_err() {
                model = outcomes.iter().find(fits).expect("as before or as after").clone();
            }
        } else {
            take(step, next, &index, &mut model, width).unwrap();
        }
        if matches!(step, Step::Reopen) {
            drop(index);
            index = ready(folder.path(), width);
            // Nothing is left behind but what counts.
            let wanted = index.stats().runs + 3;
            assert_eq!(names(folder.path()).len(), wanted, "{:?}", names(folder.path()));
        }
        assert_eq!(model.differs(&index, width).unwrap(), None, "after {step:?}");
    }
    assert_eq!(model.verified(&index).unwrap(), None);
    index.merge_all().unwrap();
    assert_eq!(model.differs(&index, width).unwrap(), None, "merged into one");
}

fn widths() -> impl Strategy<Value = Width> {
    prop_oneof![Just(Width::Small), Just(Width::Wide)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn it_says_what_the_model_says(width in widths(), steps in prop::collection::vec(step(), 1..40)) {
        let steps: Vec<_> = steps.into_iter().map(|step| (step, None)).collect();
        run(width, &steps);
    }

    #[test]
    fn killed_at_any_write_it_is_as_before_or_as_after(
        width in widths(),
        steps in prop::collection::vec((step(), prop::option::weighted(0.5, 0u64..14)), 1..16),
    ) {
        run(width, &steps);
    }
}

/// An index of every kind of file and entry, and its model.
fn sample(folder: &Path, width: Width) -> Model {
    let index = empty(folder, width);
    let mut model = Model::default();
    let steps = [
        Step::Stage((0..KEYS).map(|k| (1, k, k % 3, u32::from(k))).collect(), vec![]),
        Step::Adopt,
        Step::Many(7, 4, 900),
        Step::Adopt,
        Step::Stage((0..20).map(|k| (k % 4, k, 5, u32::from(k))).collect(), vec![1]),
        Step::Adopt,
        Step::Stage((10..30).map(|k| (k % 4, k, 0, u32::from(k))).collect(), vec![2]),
    ];
    for (next, step) in (0..).zip(&steps) {
        take(step, next, &index, &mut model, width).unwrap();
    }
    model
}

/// Whether the index in the folder answers right or says that it is damaged. The error is a wrong answer.
fn right_or_corrupt(folder: &Path, model: &Model, width: Width) -> Result<bool, String> {
    let corrupt = |error: Error| if error.wants_rebuild() { Ok(false) } else { Err(error.to_string()) };
    let index = match open(folder, width) {
        Ok(Opened::Ready(index)) => index,
        Ok(Opened::Absent(Absence::Corrupt(_) | Absence::Missing)) => return Ok(false),
        Ok(Opened::Absent(why)) => return Err(format!("{why:?}")),
        Err(error) => return corrupt(error),
    };
    for merged in [false, true] {
        match model.differs(&index, width) {
            Ok(None) => {}
            Ok(Some(difference)) => return Err(difference),
            Err(error) => return corrupt(error),
        }
        match model.verified(&index) {
            Ok(None) => {}
            Ok(Some(difference)) => return Err(format!("{difference:?}")),
            Err(error) => return corrupt(error),
        }
        if !merged && let Err(error) = index.merge_all() {
            return corrupt(error);
        }
    }
    for (file, number) in (0..6).filter_map(|f| Some((f, index.number_of(&format!("f{f}"))?))) {
        match index.path_of(number) {
            Ok(path) if path == Some(format!("f{file}")) => {}
            Ok(path) => return Err(format!("file {number}: {path:?}")),
            Err(error) => return corrupt(error),
        }
    }
    Ok(true)
}

/// Every file of the sample, damaged by `damage` at evenly spread places: how often it was noticed, and how often
/// there was something to notice. The error is a wrong answer.
fn damaged(width: Width, places: usize, damage: impl Fn(&mut Vec<u8>, usize)) -> Result<(usize, usize), String> {
    let original = a_folder();
    let model = sample(original.path(), width);
    let (mut noticed, mut all) = (0, 0);
    for name in names(original.path()).iter().filter(|name| *name != "lock") {
        let size = fs::metadata(original.path().join(name)).unwrap().len() as usize;
        for place in (0..size).step_by((size / places).max(1)) {
            let copy: TempDir = a_folder();
            copy_all(original.path(), copy.path());
            let path = copy.path().join(name);
            let before = fs::read(&path).unwrap();
            let mut bytes = before.clone();
            damage(&mut bytes, place);
            if bytes == before {
                continue;
            }
            fs::write(&path, &bytes).unwrap();
            let right =
                right_or_corrupt(copy.path(), &model, width).map_err(|why| format!("{name} at {place}: {why}"))?;
            noticed += usize::from(!right);
            all += 1;
        }
    }
    Ok((noticed, all))
}

#[test]
fn damage_is_noticed() {
    for width in [Width::Small, Width::Wide] {
        let check = |places: usize, damage: fn(&mut Vec<u8>, usize)| {
            let (noticed, all) = damaged(width, places, damage).unwrap();
            // Every byte is under a check.
            assert_eq!(noticed, all);
            assert!(all > 20);
        };
        check(40, |bytes, at| bytes[at] ^= 1 << (at % 8));
        check(20, |bytes, at| bytes.truncate(at));
        check(20, |bytes, at| bytes[at / 512 * 512..].fill(0));
        // A page in another's place.
        check(20, |bytes, at| {
            let (page, last) = (at / 4096 * 4096, bytes.len().saturating_sub(4096) / 4096 * 4096);
            if page + 4096 <= last {
                bytes.copy_within(page..page + 4096, last);
            }
        });
    }
}

/// The twin of the above: with checks that are made to match, the same damage gives wrong answers.
#[test]
fn damage_that_passes_the_checks_is_a_wrong_answer() {
    let folder = a_folder();
    let model = sample(folder.path(), Width::Small);
    let run = ready(folder.path(), Width::Small).version().runs[0].meta;
    let path = folder.path().join(format!("{}.run", run.id));
    let mut bytes = fs::read(&path).unwrap();
    let page = run.data_at() as usize * 4096;
    // The row of every entry.
    (0..run.entries as usize).for_each(|entry| bytes[page + 8 + entry * 16 + 8] ^= 64);
    crate::page::seal(&mut bytes[page..page + 4096], run.seed, run.data_at());
    fs::write(&path, &bytes).unwrap();
    assert!(right_or_corrupt(folder.path(), &model, Width::Small).is_err());
}

/// The twin of the comparison itself: whatever is missing, added or moved in the model is seen.
#[test]
fn each_difference_is_seen() {
    let folder = a_folder();
    let model = sample(folder.path(), Width::Wide);
    let index = ready(folder.path(), Width::Wide);
    assert_eq!((model.differs(&index, Width::Wide).unwrap(), model.verified(&index).unwrap()), (None, None));
    let keys: Vec<Key> = model.adopted.keys().copied().collect();
    for key in keys {
        let at = *model.adopted[&key].first().unwrap();
        let mut less = model.clone();
        less.adopted.get_mut(&key).unwrap().remove(&at);
        assert!(less.differs(&index, Width::Wide).unwrap().is_some());
        assert_eq!(less.verified(&index).unwrap(), Some(Difference::Extra(key, at)));
        let more_at = Location { file: at.file, row: 5_000 };
        let mut more = model.clone();
        more.adopted.get_mut(&key).unwrap().insert(more_at);
        assert!(more.differs(&index, Width::Wide).unwrap().is_some());
        assert_eq!(more.verified(&index).unwrap(), Some(Difference::Missing(key, more_at)));
    }
}

#[test]
fn an_index_of_anything_else_is_absent() {
    let folder = a_folder();
    let other = |change: fn(&mut Definition)| {
        let mut definition = definition(Width::Small);
        change(&mut definition);
        match Index::open(folder.path(), &definition, MEMORY).unwrap() {
            Opened::Absent(why) => format!("{why:?}"),
            Opened::Ready(_) => "ready".to_owned(),
        }
    };
    assert_eq!(other(|_| {}), "Missing");
    drop(empty(folder.path(), Width::Small));
    assert_eq!(other(|_| {}), "ready");
    assert_eq!(other(|d| d.table.push('x')), "OtherTable");
    assert_eq!(other(|d| d.key.push('x')), "OtherKey");
    assert_eq!(other(|d| d.width = Width::Wide), "OtherKey");
    // A rebuild that is not finished leaves none.
    drop(Rebuild::begin(folder.path(), &definition(Width::Small), MEMORY).unwrap());
    assert_eq!(other(|_| {}), "Missing");
}

#[test]
fn a_folder_is_of_one_index() {
    let folder = a_folder();
    let index = empty(folder.path(), Width::Small);
    assert!(matches!(open(folder.path(), Width::Small), Err(Error::InUse { .. })));
    assert!(matches!(Rebuild::begin(folder.path(), &definition(Width::Small), MEMORY), Err(Error::InUse { .. })));
    drop(index);
    assert!(open(folder.path(), Width::Small).is_ok());
}

#[test]
fn calls_that_do_not_fit_are_refused_and_change_nothing() {
    let folder = a_folder();
    let model = sample(folder.path(), Width::Small);
    let index = ready(folder.path(), Width::Small);
    let refused = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
    let file = index.file("f0").unwrap();
    let nowhere = Location { file: 999, row: 0 };
    refused(index.stage(100, [Change::Put(Key::Small(1), nowhere)], &[]));
    let leaving = Location { file: model.staged[0].gone[0], row: 0 };
    refused(index.stage(100, [Change::Put(Key::Small(1), leaving)], &[]));
    refused(index.stage(100, [Change::Put(Key::Wide(1), Location { file, row: 0 })], &[]));
    refused(index.stage(100, [Change::Remove(Key::Small(1))], &[999]));
    refused(index.stage(model.staged[0].snapshot, [], &[]));
    refused(index.stage(model.snapshot.unwrap(), [], &[]));
    refused(index.adopt(100));
    refused(index.discard(100));
    refused(index.view(See::Adopted).lookup(&[Key::Wide(1)]).map(|_| ()));
    assert_eq!(model.differs(&index, Width::Small).unwrap(), None);
}

/// A reader keeps what it saw, though a merge has removed the files since.
#[test]
fn a_view_stays_as_it_was() {
    let folder = a_folder();
    let model = sample(folder.path(), Width::Small);
    let index = ready(folder.path(), Width::Small);
    let keys: Vec<Key> = (0..KEYS).map(|n| key(Width::Small, n)).collect();
    let view = index.view(See::Adopted);
    let before = view.lookup(&keys).unwrap();
    index.adopt(model.staged[0].snapshot).unwrap();
    index.merge_all().unwrap();
    assert_eq!(index.stats().runs, 1);
    assert_eq!(view.lookup(&keys).unwrap(), before);
    assert_ne!(index.view(See::Adopted).lookup(&keys).unwrap(), before);
}

/// What was numbered for a commit that was not staged, or was discarded, is forgotten; its number is not given again.
#[test]
fn numbers_of_commits_that_never_were_are_taken_back() {
    let folder = a_folder();
    let index = empty(folder.path(), Width::Small);
    let put = |file| [Change::Put(Key::Small(1), Location { file, row: 0 })];
    let first = index.file("first").unwrap();
    index.stage(1, put(first), &[]).unwrap();
    let second = index.file("second").unwrap();
    index.adopt(1).unwrap();
    index.stage(2, put(second), &[]).unwrap();
    let third = index.file("third").unwrap();
    index.discard(2).unwrap();
    assert_eq!((index.number_of("first"), index.number_of("second")), (Some(first), None));
    assert_eq!(index.number_of("third"), Some(third));
    drop(index);
    let index = ready(folder.path(), Width::Small);
    assert_eq!((index.number_of("first"), index.number_of("third")), (Some(first), None));
    assert!(index.file("third").unwrap() > third);
}

/// Each commit puts all keys into a file of its own: whoever reads meanwhile sees all of one commit.
#[test]
fn readers_see_one_commit_while_others_are_made_and_merged() {
    let folder = a_folder();
    let index = empty(folder.path(), Width::Small);
    let keys: Vec<Key> = (0..1_000).map(Key::Small).collect();
    let commit = |snapshot: i64| {
        let file = index.file(&format!("f{snapshot}")).unwrap();
        let changes = keys.iter().map(|key| Change::Put(*key, Location { file, row: 0 }));
        index.stage(snapshot, changes, &[]).unwrap();
        index.adopt(snapshot).unwrap();
        file
    };
    let files = |view: &crate::View| -> BTreeSet<u32> {
        let found = view.lookup(&keys).unwrap();
        assert!((0..found.keys()).all(|key| found.of(key).len() == 1));
        found.all().iter().map(|location| location.file).collect()
    };
    commit(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let background = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                index.merge_step().unwrap();
            }
        });
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let files = files(&index.view(See::Adopted));
                assert_eq!(files.len(), 1, "{files:?}");
                seen.extend(files);
            }
            seen
        });
        (1..150).for_each(|snapshot| _ = commit(snapshot));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        background.join().unwrap();
        reader.join().unwrap()
    });
    // The twin: what several views say together is of several commits.
    assert!(seen.len() > 1);
}

/// Numbers come and go with thousands of commits; the log is written anew and no number means two files.
#[test]
fn the_list_of_files_does_not_grow_with_age() {
    let folder = a_folder();
    let mut index = empty(folder.path(), Width::Small);
    let mut before: Option<u32> = None;
    let path = |n: i64| format!("s3://warehouse/table/data/{n:0300}.parquet");
    for n in 0..600 {
        let file = index.file(&path(n)).unwrap();
        assert!(before.is_none_or(|before| before < file));
        index.stage(n, [Change::Put(Key::Small(1), Location { file, row: 0 })], before.as_slice()).unwrap();
        index.adopt(n).unwrap();
        before = Some(file);
        if n % 100 == 99 {
            drop(index);
            index = ready(folder.path(), Width::Small);
        }
    }
    assert_eq!(index.path_of(before.unwrap()).unwrap(), Some(path(599)));
    assert_eq!(index.path_of(before.unwrap() - 1).unwrap(), None);
    assert_eq!(index.number_of(&path(598)), None);
    let size = |end: &str| -> u64 {
        let files = fs::read_dir(folder.path()).unwrap().map(Result::unwrap);
        files.filter(|f| f.path().to_str().unwrap().ends_with(end)).map(|f| f.metadata().unwrap().len()).sum()
    };
    assert!(size(".files") < 140_000, "{}", size(".files"));
}

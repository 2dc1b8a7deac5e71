//! The format, and a cache in a directory of the test.

use super::*;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;
use std::time::Duration;

/// The table of this test program.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let data = fs::read("/proc/self/exe").unwrap();
    let mut table = Table::build(&data).unwrap();
    // Small enough to be damaged often. Many functions have the same rows, which stand there once.
    table.index.truncate(1000);
    let last = *table.index.last().unwrap();
    table.rows.truncate((index_first(last) + index_count(last)) as usize);
    table.build_id = vec![1, 2, 3];
    table
});

fn user() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

fn named(n: u8) -> Table {
    Table { build_id: vec![n; 20], ..TABLE.clone() }
}

#[test]
fn a_table_comes_back_as_it_was() {
    assert!(TABLE.rows.len() > 100);
    assert_eq!(decode(&encode(&TABLE)).as_ref(), Some(&*TABLE));
}

#[test]
fn numbers_that_lead_outside_are_refused_though_the_checksum_is_right() {
    let mut table = TABLE.clone();
    table.index[3] += 1;
    assert_eq!(decode(&encode(&table)), None);
    table = TABLE.clone();
    table.rows[5] = !0x700 | ROW_RULE << 8;
    assert_eq!(decode(&encode(&table)), None);
    table = TABLE.clone();
    table.rows.pop();
    assert_eq!(decode(&encode(&table)), None);
    table = TABLE.clone();
    table.base = u64::MAX;
    assert_eq!(decode(&encode(&table)), None);
}

proptest! {
    #[test]
    fn damage_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = encode(&TABLE);
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        prop_assert_eq!(decode(&bytes), None);
        bytes.truncate(at);
        prop_assert_eq!(decode(&bytes), None);
    }
}

#[test]
fn what_is_put_is_got_and_nobody_else_may_look() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("a/rmap");
    let cache = Cache::open(&directory, user(), DEFAULT_LIMIT).unwrap();
    cache.put(&named(7)).unwrap();
    assert_eq!(cache.get(&[7; 20]), Some(named(7)));
    assert_eq!(cache.get(&[8; 20]), None);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(mode(&files[0]), 0o600);
    assert!(matches!(
        cache.put(&Table { build_id: Vec::new(), ..named(1) }),
        Err(CacheError::NoBuildId)
    ));
}

#[test]
fn a_file_of_another_build_id_or_behind_a_link_is_not_taken() {
    let home = tempfile::tempdir().unwrap();
    let cache = Cache::open(&home.path().join("rmap"), user(), DEFAULT_LIMIT).unwrap();
    cache.put(&named(7)).unwrap();
    let [seven, eight, nine] = [7, 8, 9].map(|n| cache.path(&[n; 20]).unwrap());
    fs::copy(&seven, eight).unwrap();
    std::os::unix::fs::symlink(&seven, nine).unwrap();
    assert_eq!(cache.get(&[8; 20]), None);
    assert_eq!(cache.get(&[9; 20]), None);
}

#[test]
fn a_directory_that_others_may_write_to_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("rmap");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Cache::open(&directory, user(), 1), Err(CacheError::NotOurs { .. })));
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(Cache::open(&directory, user(), 1).is_ok());
    assert!(matches!(Cache::open(&directory, user() + 1, 1), Err(CacheError::NotOurs { .. })));
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&directory, &link).unwrap();
    assert!(matches!(Cache::open(&link, user(), 1), Err(CacheError::NotOurs { .. })));
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let home = tempfile::tempdir().unwrap();
    let size = encode(&named(1)).len() as u64;
    let cache = Cache::open(&home.path().join("rmap"), user(), size * 3).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(1000);
    for n in 1..=3 {
        cache.put(&named(n)).unwrap();
        let file = File::open(cache.path(&[n; 20]).unwrap()).unwrap();
        file.set_modified(long_ago + Duration::from_secs(u64::from(n))).unwrap();
    }
    assert!(cache.get(&[1; 20]).is_some(), "used now");
    cache.put(&named(4)).unwrap();
    let left: Vec<u8> = (1..=4).filter(|&n| cache.get(&[n; 20]).is_some()).collect();
    assert_eq!(left, [1, 3, 4]);
}

#[test]
fn the_place_follows_the_user() {
    let (xdg, home) = (Path::new("/x"), Path::new("/h"));
    let place = |user, xdg, home| Cache::place(user, xdg, home).ok();
    assert_eq!(place(0, Some(xdg), Some(home)), Some("/var/cache/rmap".into()));
    assert_eq!(place(5, Some(xdg), Some(home)), Some("/x/rmap".into()));
    assert_eq!(place(5, Some(Path::new("x")), Some(home)), Some("/h/.cache/rmap".into()));
    assert_eq!(place(5, None, None), None);
}

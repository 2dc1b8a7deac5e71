//! The recipes of `docs/cookbook.md`: each command is run as it stands there, on a terminal of 100 columns
//! and 40 lines, and must name the true owner first. `RMAP_BLESS=1` writes the page's blocks anew.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};
use rmap_tests::begin;
use rmap_tests::process::{has_program, run};
use rmap_tests::rmap::binary;

/// What a recipe must say.
struct Recipe {
    name: &'static str,
    /// Files of docs/cookbook that it takes.
    files: &'static [&'static str],
    /// Programs that it needs.
    needs: &'static [&'static str],
    /// Functions that own the most, in the first three rows of owners; none where there is no such table.
    owners: &'static [&'static str],
    /// What stands somewhere.
    says: &'static [&'static str],
}

const RECIPES: &[Recipe] = &[
    Recipe {
        name: "grows",
        files: &["grows.c"],
        needs: &[],
        owners: &["open_session"],
        says: &["growing", "that is a leak"],
    },
    Recipe {
        name: "peak",
        files: &["peak.py"],
        needs: &["python3"],
        owners: &["read_all.<listcomp>|read_all"],
        says: &["At its peak", "at exit"],
    },
    Recipe {
        name: "node",
        files: &["leak.js"],
        needs: &["node"],
        owners: &["remember  leak.js:6"],
        says: &[],
    },
    Recipe {
        name: "java",
        files: &["Cache.java"],
        needs: &["java", "javac"],
        owners: &["Cache.add"],
        says: &[],
    },
    Recipe {
        name: "window",
        files: &["grows.c"],
        needs: &[],
        owners: &["open_session"],
        says: &[],
    },
    Recipe {
        name: "fork-server",
        files: &["fork_server.py"],
        needs: &["python3"],
        owners: &["search"],
        says: &["gc.freeze()", "fork-cow"],
    },
    Recipe {
        name: "save",
        files: &["save.c"],
        needs: &[],
        owners: &["set_keys", "load"],
        says: &["copied by writes after fork", "fork-cow"],
    },
    Recipe {
        name: "buffers",
        files: &["buffers.c"],
        needs: &[],
        owners: &[],
        says: &["PSS", "Private", "Shared"],
    },
    Recipe {
        name: "store",
        files: &["store.c"],
        needs: &[],
        owners: &[],
        says: &["put [shared-write]", "scan [file-read]", "update_index [shared-write]"],
    },
    Recipe {
        name: "rewrites",
        files: &["store.c"],
        needs: &[],
        owners: &["scan"],
        says: &["Who writes again", "update_index"],
    },
    Recipe {
        name: "keeps",
        files: &["keeps.c"],
        needs: &[],
        owners: &["build"],
        says: &["malloc_trim(0) would return", "is free"],
    },
    Recipe {
        name: "until",
        files: &["grows.c"],
        needs: &[],
        owners: &["open_session"],
        says: &["--until: RSS was"],
    },
    Recipe {
        name: "budget",
        files: &["grows.c"],
        needs: &[],
        owners: &[],
        says: &["open_session", "\n3\n"],
    },
    Recipe {
        name: "diff",
        files: &["grows.c"],
        needs: &[],
        owners: &[],
        says: &["Owners that differ", "grows.c:15 open_session", "\n3\n"],
    },
];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// A block of the page: where its first command begins and where it ends, in bytes.
struct Block {
    start: usize,
    end: usize,
}

fn block(page: &str, name: &str) -> Option<Block> {
    let mark = format!("<!-- recipe: {name} -->\n```console\n");
    let start = page.find(&mark)? + mark.len();
    let end = start + page.get(start..)?.find("```\n")?;
    Some(Block { start, end })
}

/// A scratch folder with the files of a recipe, built; and a folder of programs for `PATH`.
fn prepare(scratch: &Path, recipe: &Recipe) -> PathBuf {
    let bin = scratch.join("bin");
    fs::create_dir(&bin).expect("a folder");
    symlink(binary(), bin.join("rmap")).expect("a link");
    if recipe.needs.contains(&"python3") {
        // The program itself, and not the scripts by which version managers find it.
        let said = run(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]));
        symlink(said.out().trim(), bin.join("python3")).expect("a link");
    }
    for file in recipe.files {
        fs::copy(docs().join("cookbook").join(file), scratch.join(file)).expect("its source");
        let compiler: &[&str] = match file.rsplit_once('.') {
            Some((program, "c")) => &["cc", "-O1", "-g", "-o", program],
            Some((_, "java")) => &["javac", "-g"],
            _ => continue,
        };
        let (first, more) = compiler.split_first().expect("a compiler");
        let built = run(Command::new(first).args(more).arg(file).current_dir(scratch));
        assert_eq!(built.code(), 0, "{}", built.err());
    }
    bin
}

/// What a command prints on a terminal.
fn on_terminal(scratch: &Path, bin: &Path, command: &str) -> String {
    let size = Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).expect("a terminal");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(scratch)
        .env("PATH", format!("{}:{path}", bin.display()));
    shell.env("NO_COLOR", "1").env("TERM", "xterm").stdin(Stdio::null());
    shell.stdout(pty.slave.try_clone().expect("its end")).stderr(pty.slave);
    let mut child = shell.spawn().expect("a shell");
    // The command holds the terminal's end too: without it here, reading ends with the command.
    drop(shell);
    let (mut screen, mut part) = (Vec::new(), [0; 4096]);
    let mut terminal = File::from(pty.master);
    while let Ok(got @ 1..) = terminal.read(&mut part) {
        screen.extend(&part[..got]);
    }
    child.wait().expect("its end");
    let text = String::from_utf8_lossy(&screen).replace("\r\n", "\n");
    // Progress stands in a line until it is erased.
    let seen = |line: &str| line.rsplit("\x1b[K").next().unwrap_or_default().to_owned() + "\n";
    text.lines().map(seen).collect()
}

/// The output without what belongs to this machine.
fn plain(text: &str, scratch: &Path) -> String {
    let folder = scratch.display().to_string();
    let text = text.replace(&folder, "/srv");
    // Where the path is too long for the line, its middle is cut.
    let begin: String = folder.chars().take(6).collect();
    let cut = |word: &str| word.starts_with(&begin) && word.contains('…');
    let short = |word: &str| match word.rsplit_once('/') {
        Some((_, name)) if cut(word) => format!("/srv/{name}"),
        _ => word.to_owned(),
    };
    let text: String = text.split_inclusive(' ').map(short).collect();
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(", Linux ") {
        let (before, after) = rest.split_at(at);
        let end = after.find(" x86_64)").unwrap_or(after.len());
        let _ = write!(plain, "{before}, Linux 6.18");
        rest = &after[end..];
    }
    plain + rest
}

fn check(recipe: &Recipe, text: &str, whose: &str) {
    let mut rows = text.lines().skip_while(|line| !line.ends_with("Where")).skip(1);
    let first: Vec<&str> = rows.by_ref().take(3).collect();
    for owner in recipe.owners {
        let is = |row: &&&str| owner.split('|').any(|name| row.contains(&format!("  {name}")));
        assert!(first.iter().find(is).is_some(), "{}: {whose}: {owner}:\n{text}", recipe.name);
    }
    for said in recipe.says {
        // Prose is broken where the terminal ends.
        let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.contains(said) || joined.contains(said),
            "{}: {whose}: {said:?}:\n{text}",
            recipe.name
        );
    }
    if !recipe.owners.is_empty() {
        assert!(text.lines().count() <= 42, "{}: {whose}:\n{text}", recipe.name);
    }
}

fn try_recipe(recipe: &Recipe) {
    let machine = begin!();
    if let Some(missing) = recipe.needs.iter().find(|program| !has_program(program)) {
        return machine.skip(&format!("no {missing} here"));
    }
    let path = docs().join("cookbook.md");
    let page = fs::read_to_string(&path).expect("the page");
    let block = block(&page, recipe.name).unwrap_or_else(|| panic!("no block {}", recipe.name));
    let shown = &page[block.start..block.end];
    let bin = prepare(machine.scratch(), recipe);
    let mut made = String::new();
    for command in shown.lines().filter_map(|line| line.strip_prefix("# ")) {
        let said = on_terminal(machine.scratch(), &bin, command);
        let _ = write!(made, "# {command}\n{}", plain(&said, machine.scratch()));
    }
    if recipe.name == "rewrites" && made.contains("needs Linux") {
        return machine.skip("rewrites need Linux 6.7");
    }
    check(recipe, &made, "the output");
    if std::env::var_os("RMAP_BLESS").is_some() {
        let whole = [&page[..block.start], &made, &page[block.end..]].concat();
        return fs::write(&path, whole).expect("the page");
    }
    check(recipe, shown, "the page");
}

macro_rules! recipes {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            let recipe = RECIPES.iter().find(|recipe| recipe.name == $name);
            try_recipe(recipe.expect("a recipe of that name"));
        })*

        #[test]
        fn every_recipe_is_tried_and_on_the_page() {
            let page = fs::read_to_string(docs().join("cookbook.md")).expect("the page");
            let tried = [$($name),*];
            assert_eq!(page.matches("<!-- recipe: ").count(), tried.len());
            // By who mapped it, which a loaded machine may not learn in time.
            let java = block(&page, "java").expect("a block");
            assert!(page[java.start..java.end].contains("java heap"));
            for recipe in RECIPES {
                assert!(tried.contains(&recipe.name), "{}", recipe.name);
                assert!(block(&page, recipe.name).is_some(), "{}", recipe.name);
            }
        }
    };
}

recipes! {
    a_heap_that_grows: "grows";
    the_peak_of_a_script: "peak";
    node_names_its_functions: "node";
    java_names_its_functions: "java";
    a_window_of_a_recording: "window";
    a_fork_server_in_python: "fork-server";
    a_snapshot_by_fork: "save";
    shared_buffers: "buffers";
    a_database_in_a_mapped_file: "store";
    who_writes_again: "rewrites";
    memory_that_the_allocator_keeps: "keeps";
    before_the_limit: "until";
    a_budget: "budget";
    before_and_after: "diff";
}

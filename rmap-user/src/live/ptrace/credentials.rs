//! As whom a command runs.
//!
//! Comes in: the name of a user. Goes out: [`Credentials`], from the user database.
//!
//! The system's own `getent` and `id` are asked, and not getpwnam(3): that loads the libraries that
//! nsswitch.conf(5) names, and a statically linked rmap must not load those of another C library.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Output, Stdio};
use std::{fs, io, str};

use super::Error;

/// Where the system's programs are; the caller's PATH does not choose what root runs.
const SYSTEM: &str = "/usr/bin:/bin:/usr/sbin:/sbin:/run/current-system/sw/bin";
/// Read where there is no `getent`.
const PASSWD: &str = "/etc/passwd";
/// Exit status of getent(1): the database has no such entry.
const NO_ENTRY: i32 = 2;

/// As whom a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// What a login sets in the environment.
    pub environment: Vec<(&'static str, OsString)>,
}

impl Credentials {
    /// Those of a user by name, or by number; the groups are those of a login (initgroups).
    ///
    /// # Errors
    /// [`Error::User`] if there is no such user or the database cannot be read.
    pub fn of_user(name: &str) -> Result<Self, Error> {
        let failure = |reason: String| Error::User { name: name.to_owned(), reason };
        let line = entry(name)
            .map_err(|error| failure(error.to_string()))?
            .ok_or_else(|| failure("there is no such user".to_owned()))?;
        let user = User::parse(&line)
            .ok_or_else(|| failure("the user database has a line that is none".to_owned()))?;
        let groups = groups(user.name).map_err(|error| failure(error.to_string()))?;
        let own = OsStr::from_bytes(user.name);
        let environment = vec![
            ("HOME", OsStr::from_bytes(user.home).to_owned()),
            ("USER", own.to_owned()),
            ("LOGNAME", own.to_owned()),
            ("SHELL", shell(user.shell)),
        ];
        Ok(Self { uid: user.uid, gid: user.gid, groups, environment })
    }
}

/// A line of passwd(5).
#[derive(Debug, PartialEq, Eq)]
struct User<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
    shell: &'a [u8],
}

impl<'a> User<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let [name, _password, uid, gid, _gecos, home, shell] = fields[..] else { return None };
        (!name.is_empty()).then_some(Self {
            name,
            uid: number(uid)?,
            gid: number(gid)?,
            home,
            shell,
        })
    }
}

fn number(text: &[u8]) -> Option<u32> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// The user's line, by name or number; `None` if there is no such user.
fn entry(name: &str) -> io::Result<Option<Vec<u8>>> {
    // What begins so would be an option of getent's.
    if name.is_empty() || name.starts_with('-') {
        return Ok(None);
    }
    let output = match ask("getent", &[OsStr::new("passwd"), OsStr::new(name)]) {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(line_of(&fs::read(PASSWD)?, name).map(<[u8]>::to_vec));
        }
        Err(error) => return Err(error),
    };
    match output.status.code() {
        Some(0) => Ok(output.stdout.split(|byte| *byte == b'\n').next().map(<[u8]>::to_vec)),
        Some(NO_ENTRY) => Ok(None),
        _ => Err(io::Error::other(format!("getent passwd ended with {}", output.status))),
    }
}

/// The line of a passwd(5) file with that name, or else with that number.
fn line_of<'a>(passwd: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let users = || {
        let lines = passwd.split(|byte| *byte == b'\n');
        lines.filter_map(|line| Some((line, User::parse(line)?)))
    };
    let by_name = users().find(|(_, user)| user.name == name.as_bytes());
    let by_number = || users().find(|(_, user)| name.parse() == Ok(user.uid));
    by_name.or_else(by_number).map(|(line, _)| line)
}

/// All groups of a user.
fn groups(name: &[u8]) -> io::Result<Vec<u32>> {
    let output = ask("id", &[OsStr::new("-G"), OsStr::from_bytes(name)])
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run id -G: {error}")))?;
    if !output.status.success() {
        return Err(io::Error::other(format!("id -G ended with {}", output.status)));
    }
    let words = output.stdout.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words
        .map(|word| number(word).ok_or_else(|| io::Error::other("id -G printed no numbers")))
        .collect()
}

fn ask(program: &str, arguments: &[&OsStr]) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", SYSTEM).current_dir("/");
    command.stdin(Stdio::null()).stderr(Stdio::null()).output()
}

/// An empty entry stands for the shell that every system has (passwd(5)).
fn shell(shell: &[u8]) -> OsString {
    if shell.is_empty() { "/bin/sh".into() } else { OsStr::from_bytes(shell).to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{User, line_of};

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/bash\n# a remark\nbroken:x:many:1::/:/bin/sh\n\
        7:x:9:9::/seven:\nada:x:7:100:Ada:/home/ada:/bin/sh\n";

    #[test]
    fn lines_of_passwd_are_found_by_name_and_then_by_number() {
        let name = |key| User::parse(line_of(PASSWD, key)?).map(|user| user.name);
        assert_eq!(name("ada"), Some(&b"ada"[..]));
        assert_eq!(name("0"), Some(&b"root"[..]));
        assert_eq!(name("7"), Some(&b"7"[..]), "a name goes before a number");
        for none in ["broken", "# a remark", "1000", "", "ro"] {
            assert_eq!(name(none), None, "{none}");
        }
    }

    #[test]
    fn lines_that_are_none_are_refused() {
        for bad in ["", ":::::", "a:x:1:1:::/bin/sh:more", "a:x:-1:1:::", ":x:1:1:::", "a:x:1"] {
            assert_eq!(User::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}

//! As whom a command runs.
//!
//! Comes in: the name of a user. Goes out: [`Credentials`], from the user database.

use std::ffi::{CString, OsString};

use super::Error;

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
        let by_name = nix::unistd::User::from_name(name);
        let user = match (by_name, name.parse()) {
            (Ok(None), Ok(uid)) => nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)),
            (by_name, _) => by_name,
        };
        let user = user
            .map_err(|errno| failure(errno.desc().to_owned()))?
            .ok_or_else(|| failure("there is no such user".to_owned()))?;
        let environment = vec![
            ("HOME", user.dir.into_os_string()),
            ("USER", OsString::from(&user.name)),
            ("LOGNAME", OsString::from(&user.name)),
            ("SHELL", shell(user.shell.into_os_string())),
        ];
        let name = CString::new(user.name).map_err(|error| failure(error.to_string()))?;
        let groups = nix::unistd::getgrouplist(&name, user.gid)
            .map_err(|errno| failure(errno.desc().to_owned()))?;
        Ok(Self {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
            environment,
        })
    }
}

/// An empty entry stands for the shell that every system has (passwd(5)).
fn shell(shell: OsString) -> OsString {
    if shell.is_empty() { "/bin/sh".into() } else { shell }
}

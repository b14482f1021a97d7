//! One-time codes that let an account of this host in while the daemon is out of service. A list of codes belongs to one
//! account. It is a file that only root can read, and holds hashes of the codes.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

mod code;
mod file;

use std::io;
use std::path::{Path, PathBuf};

use mfad_api::HostLogin;
use serde::{Deserialize, Serialize};

pub use code::{CODE_BYTES, code};

/// The directory of the lists.
const DIRECTORY: &str = "/var/lib/mfad-pam/break-glass";
/// What the name of a list ends with.
const SUFFIX: &str = ".json";

/// A login by one of the codes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// When the code was used, in seconds since 1970.
    pub at: u64,
    /// What PAM said of the login.
    #[serde(flatten)]
    pub login: HostLogin,
    /// Whether the daemon has it in its audit log.
    #[serde(default)]
    pub is_reported: bool,
}

/// The list of one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The account.
    pub account: String,
    /// Differs for each list, so that the hashes of two lists cannot be compared.
    salt: String,
    codes: Vec<Entry>,
}

/// One code of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    hash: String,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    used: Option<Use>,
}

impl List {
    /// The number of codes, used ones too.
    pub fn total(&self) -> usize {
        self.codes.len()
    }

    /// The number of codes that were not used.
    pub fn left(&self) -> usize {
        self.codes.iter().filter(|entry| entry.used.is_none()).count()
    }

    /// The uses, oldest first.
    pub fn uses(&self) -> impl Iterator<Item = &Use> {
        let mut uses: Vec<&Use> = self.codes.iter().filter_map(|entry| entry.used.as_ref()).collect();
        uses.sort_by_key(|used| used.at);
        uses.into_iter()
    }

    /// Whether the daemon has all uses in its audit log.
    pub fn is_reported(&self) -> bool {
        self.uses().all(|used| used.is_reported)
    }

    /// The entry of this code, if it was not used.
    fn unused(&mut self, code: &str) -> Option<&mut Entry> {
        let hash = code::hash(&self.salt, &self.account, code);
        self.codes.iter_mut().find(|entry| entry.hash == hash && entry.used.is_none())
    }
}

/// The lists of this host.
#[derive(Clone, Debug)]
pub struct Lists {
    directory: PathBuf,
}

impl Default for Lists {
    fn default() -> Self {
        Self { directory: PathBuf::from(DIRECTORY) }
    }
}

impl Lists {
    /// The list of an account; `None` if there is none. A list that others than root could have written is an error.
    pub fn of(&self, account: &str) -> io::Result<Option<List>> {
        let Some(path) = self.path_of(account) else { return Ok(None) };
        let list = file::read(&self.directory, &path)?;
        Ok(list.filter(|list| list.account == account))
    }

    /// The accounts that have a list, in order, each with its list or why it cannot be used.
    pub fn all(&self) -> io::Result<Vec<(String, io::Result<List>)>> {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut accounts: Vec<String> = names.filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned)).collect();
        accounts.sort();
        let list = |account: String| self.of(&account).transpose().map(|list| (account, list));
        Ok(accounts.into_iter().filter_map(list).collect())
    }

    /// Writes the list of an account in place of the one that it had. `salt` is random. An old list with uses that were
    /// not reported stays, and is an error: they would be lost.
    pub fn replace(&self, account: &str, salt: [u8; 16], codes: &[impl AsRef<str>]) -> io::Result<()> {
        let path =
            self.path_of(account).ok_or_else(|| io::Error::other("no list can have the name of this account"))?;
        let salt = data_encoding::HEXLOWER.encode(&salt);
        let hashed = |code: &str| Entry { hash: code::hash(&salt, account, code), used: None };
        let codes = codes.iter().map(|code| hashed(code.as_ref())).collect();
        let list = List { account: account.to_owned(), salt, codes };
        file::make_directory(&self.directory)?;
        let _lock = file::lock(&self.directory)?;
        self.must_be_reported(account)?;
        file::write(&self.directory, &path, &list)
    }

    /// Refuses a list with uses that were not reported. One that cannot be read may be replaced.
    fn must_be_reported(&self, account: &str) -> io::Result<()> {
        let is_reported = self.of(account).ok().flatten().is_none_or(|list| list.is_reported());
        if is_reported { Ok(()) } else { Err(io::Error::other("codes were used, and the uses are not reported yet")) }
    }

    /// Deletes the list of an account; `false` if there was none. As with [`Self::replace`], its uses must be reported.
    pub fn remove(&self, account: &str) -> io::Result<bool> {
        let Some(path) = self.path_of(account).filter(|path| path.exists()) else { return Ok(false) };
        let _lock = file::lock(&self.directory)?;
        self.must_be_reported(account)?;
        std::fs::remove_file(path)?;
        Ok(true)
    }

    /// Uses a code up. Returns how many are left, or `None` if it is none of the list, or was used before. When this
    /// returns, the use is on disk.
    pub fn redeem(&self, account: &str, code: &str, used: Use) -> io::Result<Option<usize>> {
        let Some(path) = self.path_of(account) else { return Ok(None) };
        // The lock is for those who have a code. Else anybody could take it, stop the program there, and keep others out.
        if self.of(account)?.is_none_or(|mut list| list.unused(code).is_none()) {
            return Ok(None);
        }
        let _lock = file::lock(&self.directory)?;
        let Some(mut list) = self.of(account)? else { return Ok(None) };
        let Some(entry) = list.unused(code) else { return Ok(None) };
        entry.used = Some(used);
        file::write(&self.directory, &path, &list)?;
        Ok(Some(list.left()))
    }

    /// Marks uses of an account as reported.
    pub fn set_reported(&self, account: &str, reported: &[Use]) -> io::Result<()> {
        let Some(path) = self.path_of(account) else { return Ok(()) };
        let _lock = file::lock(&self.directory)?;
        let Some(mut list) = self.of(account)? else { return Ok(()) };
        for used in list.codes.iter_mut().filter_map(|entry| entry.used.as_mut()) {
            used.is_reported = used.is_reported || reported.contains(used);
        }
        file::write(&self.directory, &path, &list)
    }

    /// The file of an account's list; `None` for a name that would leave the directory.
    fn path_of(&self, account: &str) -> Option<PathBuf> {
        let is_plain = !account.is_empty() && !account.starts_with('.') && !account.contains(['/', '\0']);
        is_plain.then(|| self.directory.join(Path::new(&format!("{account}{SUFFIX}"))))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn lists() -> (tempfile::TempDir, Lists) {
        let dir = tempfile::tempdir().unwrap();
        let lists = Lists { directory: dir.path().join("break-glass") };
        (dir, lists)
    }

    fn used(at: u64) -> Use {
        Use { at, login: HostLogin { service: "sshd".to_owned(), ..HostLogin::default() }, is_reported: false }
    }

    #[test]
    fn a_code_is_accepted_once_and_only_for_its_account() {
        let (_dir, lists) = lists();
        let codes = [code([1; 10]), code([2; 10])];
        lists.replace("emmy", [7; 16], &codes).unwrap();
        lists.replace("root", [8; 16], &[code([3; 10])]).unwrap();

        assert_eq!(lists.redeem("root", codes[0].as_str(), used(5)).unwrap(), None);
        assert_eq!(lists.redeem("emmy", codes[1].as_str(), used(5)).unwrap(), Some(1));
        assert_eq!(lists.redeem("emmy", codes[1].as_str(), used(6)).unwrap(), None);
        // As somebody types it.
        let typed = codes[0].as_str().to_lowercase().replace('-', " ").replace('0', "o");
        assert_eq!(lists.redeem("emmy", &typed, used(7)).unwrap(), Some(0));
        let list = lists.of("emmy").unwrap().unwrap();
        assert_eq!((list.total(), list.left()), (2, 0));
        assert_eq!(list.uses().map(|used| used.at).collect::<Vec<_>>(), [5, 7]);
        for nobody in ["anna", "", "..", "../emmy"] {
            assert_eq!(lists.redeem(nobody, codes[0].as_str(), used(8)).unwrap(), None, "{nobody:?}");
        }
    }

    #[test]
    fn a_use_is_reported_once() {
        let (_dir, lists) = lists();
        lists.replace("emmy", [7; 16], &[code([1; 10]), code([2; 10])]).unwrap();
        lists.redeem("emmy", code([1; 10]).as_str(), used(5)).unwrap();
        let reported: Vec<Use> = lists.of("emmy").unwrap().unwrap().uses().cloned().collect();
        lists.redeem("emmy", code([2; 10]).as_str(), used(6)).unwrap();

        lists.set_reported("emmy", &reported).unwrap();

        let list = lists.of("emmy").unwrap().unwrap();
        assert_eq!(list.uses().map(|used| used.is_reported).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn the_file_holds_no_code_and_only_its_owner_reads_it() {
        let (dir, lists) = lists();
        lists.replace("emmy", [7; 16], &[code([1; 10])]).unwrap();
        let path = dir.path().join("break-glass/emmy.json");

        let text = fs::read_to_string(&path).unwrap();

        assert!(!text.contains(code([1; 10]).as_str()) && !text.contains(&code([1; 10]).as_str().replace('-', "")));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(lists.all().unwrap().into_iter().map(|(account, _)| account).collect::<Vec<_>>(), ["emmy"]);
        assert!(lists.remove("emmy").unwrap() && !lists.remove("emmy").unwrap());
        assert_eq!(lists.of("emmy").unwrap(), None);
    }

    #[test]
    fn a_list_that_others_could_have_written_is_not_used() {
        let (dir, lists) = lists();
        lists.replace("emmy", [7; 16], &[code([1; 10])]).unwrap();
        let place = dir.path().join("break-glass");
        let path = place.join("emmy.json");
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();

        for (file, mode, good) in [(&path, 0o622, 0o600), (&place, 0o770, 0o700), (&place, 0o1777, 0o700)] {
            set(file, mode);
            assert!(lists.redeem("emmy", code([1; 10]).as_str(), used(5)).is_err(), "{mode:o}");
            set(file, good);
        }
        let elsewhere = dir.path().join("elsewhere.json");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(lists.of("emmy").is_err(), "a link");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "{").unwrap();
        set(&path, 0o600);
        assert!(lists.of("emmy").is_err(), "no JSON");
    }

    #[test]
    fn of_many_logins_with_one_code_one_gets_in() {
        let (_dir, lists) = lists();
        lists.replace("emmy", [7; 16], &[code([1; 10])]).unwrap();

        let winners = std::thread::scope(|scope| {
            let logins: Vec<_> = (0..8)
                .map(|at| {
                    let lists = lists.clone();
                    scope.spawn(move || lists.redeem("emmy", code([1; 10]).as_str(), used(at)).unwrap().is_some())
                })
                .collect();
            logins.into_iter().filter_map(|login| login.join().ok()).filter(|is_in| *is_in).count()
        });

        assert_eq!(winners, 1);
    }
}

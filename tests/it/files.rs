//! Rules for the files of the repository: tracked ones, and new ones that are not ignored.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use windlass_tests::paths;

const SOURCE_LINES: usize = 500;
const TEST_LINES: usize = 700;
const ARCHITECTURE_LINES: usize = 150;

/// First words of messages that are names, and so keep their capital.
const NAMES: &[&str] = &[
    "Deployment",
    "Endpoint",
    "Endpoints",
    "Event",
    "Job",
    "Kafka",
    "Kubernetes",
    "Lease",
    "Namespace",
    "Node",
    "Pod",
    "Prometheus",
    "Rabbit",
    "Redis",
    "Role",
    "Scale",
    "Secret",
    "Service",
    "Windlass",
];

fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(paths::root())
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let mut files: Vec<PathBuf> = listed.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
    // A file that is deleted and not yet committed is still listed.
    files.retain(|path| paths::root().join(path).is_file());
    files.sort();
    files.dedup();
    assert!(files.len() > 20, "only {files:?}");
    files
}

/// Files with one of these endings, and their text.
fn texts(endings: &[&str]) -> Vec<(PathBuf, String)> {
    let matching = |path: &PathBuf| path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending));
    files().into_iter().filter(matching).map(|path| (path.clone(), read(&path))).collect()
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(paths::root().join(path)).expect("a listed file")).into_owned()
}

fn none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

fn is_test(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.components().any(|part| part.as_os_str() == "tests") || stem.ends_with("_test") || stem.ends_with("_tests")
}

#[test]
fn sources_are_short() {
    let long = |(path, text): (PathBuf, String)| {
        let (lines, limit) = (text.lines().count(), if is_test(&path) { TEST_LINES } else { SOURCE_LINES });
        (lines > limit).then(|| format!("{}: {lines} lines", path.display()))
    };
    let broken: Vec<_> = texts(&["rs", "go", "ts", "tsx", "py", "sh"]).into_iter().filter_map(long).collect();
    none(&broken, &format!("more than {SOURCE_LINES} lines ({TEST_LINES} in tests): split by what a part is about"));
}

#[test]
fn every_module_says_what_it_is() {
    let silent = |(path, text): (PathBuf, String)| {
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let said = first.strip_prefix("//!").is_some_and(|said| said.trim().len() > "stub".len());
        (!said).then(|| path.display().to_string())
    };
    let broken: Vec<_> = texts(&["rs"]).into_iter().filter_map(silent).collect();
    none(&broken, "does not start with //! and a sentence on what the module does");
}

#[test]
fn architecture_fits_in_one_reading() {
    let path = Path::new("ARCHITECTURE.md");
    if files().iter().any(|file| file == path) {
        let lines = read(path).lines().count();
        assert!(lines <= ARCHITECTURE_LINES, "ARCHITECTURE.md has {lines} lines, more than {ARCHITECTURE_LINES}");
    }
}

/// Whether a text names a folder of the root, such as one of the machine that it was written on.
fn names_folder(text: &str, folder: &str) -> bool {
    let part_of_a_word = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    text.match_indices(folder).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + folder.len()..].chars().next();
        !before.is_some_and(|c| part_of_a_word(c) || "/*~})".contains(c))
            && !after.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c))
    })
}

#[test]
fn no_file_names_a_folder_of_one_machine() {
    let folders = ["work", "farm", "root/.cache"].map(|name| format!("/{name}"));
    let mut broken = Vec::new();
    for path in files() {
        let text = read(&path);
        for (number, line) in text.lines().enumerate() {
            if folders.iter().any(|folder| names_folder(line, folder)) {
                broken.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    none(&broken, "a path that is there on one machine only");
}

#[test]
fn a_folder_is_told_from_a_part_of_a_path() {
    for hit in ["/x/a", "see `/x`", "path=/x/y", "/x"] {
        assert!(names_folder(hit, "/x"), "{hit}");
    }
    for miss in ["a/x/b", "/xy", "https://host/x", "./x", "/x-ray", "${DIR}/x"] {
        assert!(!names_folder(miss, "/x"), "{miss}");
    }
}

/// The message in a line that makes an error or a log line, if it begins there.
fn message(line: &str) -> Option<&str> {
    const MAKERS: &[&str] =
        &["#[error(\"", "anyhow!(\"", "bail!(\"", "context(\"", "trace!(\"", "debug!(\"", "info!(\""];
    const MORE: &[&str] = &["warn!(\"", "error!(\""];
    let maker = MAKERS.iter().chain(MORE).find_map(|maker| line.split_once(maker))?;
    Some(maker.1)
}

fn shouts(message: &str) -> bool {
    let word: String = message.chars().take_while(|c| c.is_alphanumeric()).collect();
    let mut letters = word.chars();
    // Acronyms and names with a capital inside (AMQP, ScaledObject) stay as they are.
    letters.next().is_some_and(char::is_uppercase)
        && letters.clone().next().is_some()
        && letters.all(|c| c.is_lowercase() || c.is_numeric())
        && !NAMES.contains(&&*word)
}

#[test]
fn messages_begin_in_lower_case() {
    let mut broken = Vec::new();
    for (path, text) in texts(&["rs"]) {
        for (number, line) in text.lines().enumerate() {
            if let Some(message) = message(line).filter(|message| shouts(message)) {
                broken.push(format!("{}:{}: {message}", path.display(), number + 1));
            }
        }
    }
    none(&broken, "errors and log lines begin in lower case");
}

#[test]
fn a_shout_is_told_from_a_name() {
    assert!(message("    #[error(\"Cannot go on\")]").is_some_and(shouts));
    for quiet in
        ["bail!(\"cannot go on\")", "bail!(\"AMQP is gone\")", "bail!(\"ScaledObject a\")", "bail!(\"Secret a\")"]
    {
        assert!(!message(quiet).is_some_and(shouts), "{quiet}");
    }
    assert_eq!(message("let a = 1;"), None);
}

#[test]
fn the_table_of_proofs_names_functions_that_are_there() {
    let code: String = texts(&["rs"]).into_iter().map(|(_, text)| text).collect();
    let table = read(Path::new("sources/tests/README.md"));
    let rows = table.lines().filter(|line| line.starts_with("| "));
    // Names of sources have no underscore, and one helper of a test has none.
    let names =
        rows.flat_map(|row| row.split('`').skip(1).step_by(2)).filter(|name| name.contains('_') || *name == "figures");
    let missing: Vec<_> = names.clone().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(names.count() > 30 && missing.is_empty(), "no such tests: {missing:?}");
}

//! Runs every golden case of the kinds found in a directory laid out like `fixtures/` and prints a line per case.
//! `COCOOP_PARITY_DIR` names the directory (default: the repository's `fixtures/`); `COCOOP_FULL=1` adds the slow cases;
//! `cargo test --test parity -- TEXT` runs only the cases whose name holds TEXT.

mod batch_norm;
mod clip_family;
mod preprocess;
mod sampling;
mod synthetic;
mod tokenizer;
mod traj;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Finds the cases of one kind; none if the directory does not hold that kind.
type Cases = fn(&Path) -> Vec<Case>;

/// Every kind of case, in the order of the report.
const KINDS: [(&str, Cases); 5] = [
    ("tokenizer", tokenizer::cases),
    ("sampling", sampling::cases),
    ("preprocess", preprocess::cases),
    ("clip_family", clip_family::cases),
    ("traj", traj::cases),
];

/// One comparison with the original.
struct Case {
    /// Unique within its kind.
    name: String,
    /// Runs only with `COCOOP_FULL=1`.
    slow: bool,
    run: Box<dyn FnOnce() -> Outcome>,
}

impl Case {
    fn new(name: impl Into<String>, run: impl FnOnce() -> Outcome + 'static) -> Self {
        Self { name: name.into(), slow: false, run: Box::new(run) }
    }

    /// A file of cases that cannot be read: one case, which fails.
    fn unreadable(name: impl Into<String>, why: String) -> Self {
        Self::new(name, move || panic!("{why}"))
    }
}

/// What a case measured. It passes if `error` is at most `limit`; NaN does not.
struct Outcome {
    error: f64,
    limit: f64,
    /// What else is worth a word on the line.
    note: String,
}

/// Reads a JSON file of cases: `None` if it does not exist.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<Result<T, String>> {
    let broken = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(broken(&error))),
        Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| broken(&error))),
    }
}

fn main() -> ExitCode {
    let directory = std::env::var_os("COCOOP_PARITY_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")),
        PathBuf::from,
    );
    let full = std::env::var_os("COCOOP_FULL").is_some_and(|value| value == "1");
    // The test runner's own flags reach this program as well; only plain words are filters.
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    std::panic::set_hook(Box::new(|_| {})); // a panic is a failed case, told on its line

    let (mut found, mut passed, mut failed, mut skipped) = (0, 0, 0, 0);
    for (kind, cases) in KINDS {
        for case in cases(&directory) {
            found += 1;
            let name = format!("{kind}/{}", case.name);
            if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
                continue;
            }
            if case.slow && !full {
                println!("skip {name}  slow: COCOOP_FULL=1 runs it");
                skipped += 1;
                continue;
            }
            let outcome = catch_unwind(AssertUnwindSafe(case.run)).unwrap_or_else(|panic| {
                Outcome { error: f64::NAN, limit: 0.0, note: panic_message(panic.as_ref()) }
            });
            let ok = outcome.error <= outcome.limit;
            *(if ok { &mut passed } else { &mut failed }) += 1;
            let Outcome { error, limit, note } = outcome;
            let word = if ok { "ok  " } else { "FAIL" };
            println!("{}", format!("{word} {name}  {error:.3e}  {limit:.3e}  {note}").trim_end());
        }
    }
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    println!("parity: {passed} passed, {failed} failed{skipped}");
    if found == 0 {
        println!("no cases in {}", directory.display());
    }
    ExitCode::from(u8::from(failed > 0 || found == 0))
}

/// The largest difference, relative to the largest magnitude of `theirs`; where that is 0, the largest magnitude of `ours`.
fn relative_error(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0f64, |max, x| max.max(f64::from(x.abs())));
    let difference = ours.iter().zip(theirs).map(|(a, b)| f64::from(a - b).abs());
    let worst = difference.fold(0.0, |max: f64, d| if d > max || d.is_nan() { d } else { max });
    if largest > 0.0 { worst / largest } else { worst }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message")).replace('\n', " ")
}

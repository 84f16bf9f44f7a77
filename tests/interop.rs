//! The program against the independent implementation in `proto/reference`, live over loopback, with the program at either end:
//! bytes both ways, every end of a stream, credit and its return, rekey, refusals, drain.

use std::path::Path;
use std::process::Command;

/// Runs the reference's own tests of one pair. They start real processes and wait in real time, for about a minute.
fn run(class: &str) {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/reference");
    let setup = Command::new(reference.join("setup.sh"))
        .output()
        .expect("setup.sh runs");
    assert!(
        setup.status.success(),
        "setup.sh needs Debian's package python3-venv  (apt-get install python3-venv)  and once PyPI or a mirror of it:\n{}",
        String::from_utf8_lossy(&setup.stderr)
    );
    let python = String::from_utf8(setup.stdout).expect("a path");
    let output = Command::new(python.trim())
        .args(["-m", "unittest", &format!("tests.test_interop.{class}")])
        .current_dir(&reference)
        .env("WA_SIDECAR", env!("CARGO_BIN_EXE_wa-sidecar"))
        .output()
        .expect("python runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // Tests that are skipped pass too.
    let whole = said.contains("Ran ") && !said.contains("Ran 0 tests") && !said.contains("skipped");
    assert!(whole, "{said}");
}

#[test]
fn the_program_dials_the_reference() {
    run("ProgramDials");
}

#[test]
fn the_reference_dials_the_program() {
    run("ReferenceDials");
}

//! Runs the component that was built, in a world with crashes, and with attempts that fail or end late: `obelisk build`, then
//! `cargo test`.

use std::process::Command;

use serde_json::{Value, json};

fn fibo(n: u8) -> Value {
    let output = Command::new("obelisk")
        .args(["simulate", "--json", "--seeds", "3"])
        .args(["--function", "template-fibo:activity/fibo-activity-ifc.fibo"])
        .args(["--params", &json!([n]).to_string()])
        .output()
        .expect("obelisk is on PATH");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["ok"]["result"].clone()
}

#[test]
fn numbers() {
    for (n, expected) in [(0, 0), (1, 1), (10, 55), (93, 12200160415121876738_u64)] {
        assert_eq!(fibo(n), json!({"ok": expected}));
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    assert_eq!(fibo(94), json!({"err": null}));
}

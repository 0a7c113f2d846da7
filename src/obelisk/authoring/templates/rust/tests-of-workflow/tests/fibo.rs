//! Runs the components that were built, in a world with crashes, lost acknowledgements, and activities that fail or end late:
//! `obelisk build`, then `cargo test`.

use std::process::Command;

use serde_json::{Value, json};

const FIBO: &str = "template-fibo:activity/fibo-activity-ifc.fibo";
const WORKFLOW: &str = "template-fibo:workflow/fibo-workflow-ifc";

fn simulate(function: &str, params: Value, options: &[&str]) -> Value {
    let output = Command::new("obelisk")
        .args(["simulate", "--json", "--function", &format!("{WORKFLOW}.{function}")])
        .args(["--params", &params.to_string()])
        .args(options)
        .output()
        .expect("obelisk is on PATH");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["ok"]["result"].clone()
}

#[test]
fn workflows_do_not_notice_faults() {
    for function in ["fiboa", "fiboa-concurrent"] {
        assert_eq!(simulate(function, json!([10, 4]), &["--seeds", "10"]), json!({"ok": 55}));
    }
}

#[test]
fn an_error_of_the_activity_ends_the_workflow() {
    let given = format!("{FIBO}={}", json!({"err": null})); // in place of the real one
    for function in ["fiboa", "fiboa-concurrent"] {
        assert_eq!(simulate(function, json!([10, 2]), &["--activity", &given, "--seeds", "3"]), json!({"err": null}));
    }
}

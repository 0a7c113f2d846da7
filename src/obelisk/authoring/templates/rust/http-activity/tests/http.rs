//! Runs the component that was built in a server, against a small one that answers it: `obelisk build`, then `cargo test`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

use serde_json::{Value, json};

const FETCH: &str = "template-http:activity/http-activity-ifc.fetch";

/// A server that has one page; its address.
fn pages() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().expect("it is open")).lines().map_while(Result::ok);
            let Some(first) = lines.next() else { continue };
            lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
            let found = first.starts_with("GET / ");
            let (status, body) = if found { ("200 OK", "hello") } else { ("404 Not Found", "not here") };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            write!(stream, "{head}{body}").expect("it is read");
        }
    });
    address
}

/// A server of Obelisk with the configuration of this project, and a database of its own.
struct Server {
    child: Child,
    api: String,
    database: String,
}

impl Server {
    fn start() -> Server {
        let database = format!("{}/db-of-tests", env!("CARGO_TARGET_TMPDIR"));
        let _ = fs::remove_dir_all(&database); // of an earlier run
        let mut child = Command::new("obelisk")
            .args(["server", "run", "--config", concat!(env!("CARGO_MANIFEST_DIR"), "/obelisk.toml")])
            .env("OBELISK__API__LISTENING_ADDR", "127.0.0.1:0")
            .env("OBELISK__SQLITE__DIRECTORY", &database)
            .stdout(Stdio::piped())
            .spawn()
            .expect("obelisk is on PATH");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let begin = "Serving gRPC requests at ";
        let line = lines.find(|line| line.contains(begin)).expect("it starts");
        thread::spawn(move || lines.for_each(drop));
        let api = line.split_once(begin).map(|(_, address)| format!("http://{address}")).expect("it is there");
        Server { child, api, database }
    }

    fn fetch(&self, url: &str) -> Value {
        let output = Command::new("obelisk")
            .args(["execution", "submit", "--json", "--follow", FETCH, &json!([url]).to_string()])
            .env("OBELISK_API_URL", &self.api)
            .output()
            .expect("obelisk is on PATH");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("it runs");
        let _ = fs::remove_dir_all(&self.database);
    }
}

#[test]
fn pages_and_errors() {
    let (pages, server) = (pages(), Server::start());
    assert_eq!(server.fetch(&format!("{pages}/")), json!({"ok": {"status": 200, "body": "hello"}}));
    assert_eq!(server.fetch(&format!("{pages}/x?y=1")), json!({"ok": {"status": 404, "body": "not here"}}));
    let denied = server.fetch("http://192.0.2.1/"); // obelisk.toml does not allow it
    assert!(denied["err"].as_str().is_some_and(|text| text.contains("HttpRequestDenied")), "{denied}");
    assert!(server.fetch("nowhere")["err"].is_string());
}

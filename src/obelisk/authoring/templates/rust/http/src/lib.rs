//! The activity template-http:activity/http-activity-ifc: an implementation of the trait `Guest`, which is generated, as all
//! bindings are, out of `wit/`.

use exports::template_http::activity::http_activity_ifc::{Guest, Page};
use wasi::http::outgoing_handler::handle;
use wasi::http::types::{Fields, IncomingBody, IncomingResponse, OutgoingRequest, Scheme};
use wasi::io::streams::StreamError;

wit_bindgen::generate!({ world: "activity", generate_all });

struct Component;
export!(Component);

const BODY_MAX: usize = 64 << 10;

/// Activities may do anything: they run again when they fail, and their results are kept.
impl Guest for Component {
    /// Fetches a URL.
    fn fetch(url: String) -> Result<Page, String> {
        let response = get(&url).map_err(|reason| format!("GET {url}: {reason}"))?;
        let status = response.status();
        let body = beginning(response).map_err(|reason| format!("GET {url}: {reason}"))?;
        Ok(Page { status, body })
    }
}

fn get(url: &str) -> Result<IncomingResponse, String> {
    let (scheme, rest) = match url.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        _ => return Err("not an address of http or https".to_string()),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let path = if path.starts_with('/') { path.to_string() } else { format!("/{path}") };

    let request = OutgoingRequest::new(Fields::new()); // the method is GET
    request.set_scheme(Some(&scheme)).map_err(|()| "not a scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "not an authority")?;
    request.set_path_with_query(Some(&path)).map_err(|()| "not a path")?;
    // An error that is `HttpRequestDenied`: `obelisk execution events` shows what would allow it.
    let response = handle(request, None).map_err(|code| format!("{code:?}"))?;
    response.subscribe().block();
    let outcome = response.get().expect("it is there").expect("it was not taken before");
    outcome.map_err(|code| format!("{code:?}"))
}

/// The first bytes of a body, as text.
fn beginning(response: IncomingResponse) -> Result<String, String> {
    let body: IncomingBody = response.consume().expect("it was not taken before");
    let stream = body.stream().expect("it was not taken before");
    let mut bytes = Vec::new();
    while bytes.len() < BODY_MAX {
        match stream.blocking_read((BODY_MAX - bytes.len()) as u64) {
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

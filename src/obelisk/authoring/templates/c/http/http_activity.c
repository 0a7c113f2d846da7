// The activity template-http:activity/http-activity-ifc. `obelisk build` makes bindings/activity.h out of wit/: what may be
// called, and what is to be written. Whoever is given a handle drops it, or gives it away; children before their parents.
// Activities may do anything: they run again when they fail, and their results are kept.

#include "bindings/activity.h"

#define BODY_MAX (64 << 10)

static bool starts_with(string_t text, string_t prefix) {
  size_t i = 0;
  while (i < text.len && i < prefix.len && text.ptr[i] == prefix.ptr[i]) i++;
  return i == prefix.len;
}

static string_t joined(string_t one, string_t other) {
  char *made = memory_take(one.len + other.len, 1);
  memcpy(made, one.ptr, one.len);
  memcpy(made + one.len, other.ptr, other.len);
  return (string_t){made, one.len + other.len};
}

// Why there is no response. What would allow one that was denied, `obelisk execution events` shows.
static string_t reason_of(error_code_t code) {
  switch (code.tag) {
    case ERROR_CODE_HTTP_REQUEST_DENIED: return STRING("HTTP-request-denied");
    case ERROR_CODE_CONNECTION_REFUSED: return STRING("connection-refused");
    case ERROR_CODE_DNS_ERROR: return STRING("DNS-error");
    case ERROR_CODE_INTERNAL_ERROR: return code.internal_error.is_some ? code.internal_error.some : STRING("internal-error");
    default: return STRING("no response");
  }
}

// A GET request for a URL, which must begin with http:// or https://.
static bool request_for(string_t url, outgoing_request_t *request) {
  bool tls = starts_with(url, STRING("https://"));
  if (!tls && !starts_with(url, STRING("http://"))) return false;
  size_t begin = tls ? 8 : 7, at = begin;
  while (at < url.len && url.ptr[at] != '/') at++;
  string_t authority = {url.ptr + begin, at - begin};
  string_t path = at < url.len ? (string_t){url.ptr + at, url.len - at} : STRING("/");
  *request = outgoing_request_new(fields_new());
  option_scheme_t scheme = {true, {.tag = tls ? SCHEME_HTTPS : SCHEME_HTTP}};
  if (outgoing_request_set_scheme(*request, scheme) &&
      outgoing_request_set_authority(*request, (option_string_t){true, authority}) &&
      outgoing_request_set_path_with_query(*request, (option_string_t){true, path})) {
    return true;
  }
  outgoing_request_drop(*request);
  return false;
}

static bool response_to(outgoing_request_t request, incoming_response_t *response, error_code_t *why) {
  future_incoming_response_t future;
  if (!handle(request, (option_request_options_t){false}, &future, why)) return false;
  pollable_t arrived = future_incoming_response_subscribe(future);
  pollable_block(arrived);
  pollable_drop(arrived);
  result_result_incoming_response_error_code_t got = future_incoming_response_get(future).some;  // it is there
  future_incoming_response_drop(future);
  if (got.ok.is_err) {
    *why = got.ok.err;
    return false;
  }
  *response = got.ok.ok;
  return true;
}

// The first bytes of a body. It must be UTF-8: anything else traps.
static string_t beginning(incoming_response_t response) {
  incoming_body_t body;
  input_stream_t stream;
  incoming_response_consume(response, &body);
  incoming_body_stream(body, &stream);
  char *bytes = memory_take(BODY_MAX, 1);
  size_t size = 0;
  while (size < BODY_MAX) {
    list_u8_t piece;
    stream_error_t end;
    if (!input_stream_blocking_read(stream, BODY_MAX - size, &piece, &end)) break;
    memcpy(bytes + size, piece.ptr, piece.len);
    size += piece.len;
  }
  input_stream_drop(stream);
  incoming_body_drop(body);
  return (string_t){bytes, size};
}

// Fetches a URL.
bool fetch(string_t url, page_t *ok, string_t *err) {
  outgoing_request_t request;
  incoming_response_t response;
  error_code_t why;
  if (!request_for(url, &request)) {
    *err = joined(url, STRING(" is not an address of http or https"));
    return false;
  }
  if (!response_to(request, &response, &why)) {
    *err = joined(joined(url, STRING(": ")), reason_of(why));
    return false;
  }
  ok->status = incoming_response_status(response);
  ok->body = beginning(response);
  incoming_response_drop(response);
  return true;
}

"""The egress policy: nothing goes out that no entry allows, and no name leads where its entry does not."""

from __future__ import annotations

import msgspec
import pytest

from obelisk.core.egress import (
    AllowedHost,
    Denial,
    EgressPolicy,
    InvalidPattern,
    Outgoing,
    Permission,
    Place,
    address_of,
    decide,
    is_public,
    normal_host,
    parse_host_pattern,
    parse_network,
)


def entry(pattern: str, *methods: str, **more) -> AllowedHost:
    return AllowedHost(parse_host_pattern(pattern), methods or ("*",), **more)


def policy(*entries: AllowedHost, operator: tuple[AllowedHost, ...] | None = None) -> EgressPolicy:
    return EgressPolicy(entries, operator, "fetch")


def request(url: str, method: str = "GET") -> Outgoing:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    host, colon, port = authority.rpartition(":") if not authority.endswith("]") else (authority, "", "")
    if not colon:
        host, port = authority, ""
    named = normal_host(host)
    assert named is not None
    return Outgoing(method, scheme, named, int(port or {"http": 80, "https": 443}[scheme]), slash + path or "/")


def allows(pattern: str, url: str) -> bool:
    return isinstance(decide(policy(entry(pattern)), request(url)), Permission)


def denial(policy: EgressPolicy, request: Outgoing) -> str:
    decision = decide(policy, request)
    assert isinstance(decision, Denial)
    return decision.message


def permission(policy: EgressPolicy, request: Outgoing) -> Permission:
    decision = decide(policy, request)
    assert isinstance(decision, Permission)
    return decision


# --- hosts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("api.example.com", "https://api.example.com/"),
        ("api.example.com", "http://api.example.com/"),
        ("API.example.com", "https://api.EXAMPLE.com./"),
        ("https://api.example.com:8443", "https://api.example.com:8443/x"),
        ("https://api.example.com/", "https://api.example.com/x"),
        ("*.example.com", "https://a.b.example.com/"),
        ("api.example.com:*", "http://api.example.com:9000/"),
        ("http://127.0.0.1:8081", "http://127.0.0.1:8081/"),
        ("[::1]:80", "http://[0:0:0:0:0:0:0:1]/"),
        ("*", "https://anything.example/"),
        ("*:*", "https://anything.example:81/"),
    ],
)
def test_a_pattern_matches(pattern: str, url: str):
    assert allows(pattern, url)


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("api.example.com", "https://example.com/"),
        ("api.example.com", "https://api.example.com.evil.example/"),
        ("api.example.com", "https://evil-api.example.com/"),
        ("api.example.com", "https://api.example.com:8443/"),
        ("http://api.example.com", "https://api.example.com/"),
        ("https://api.example.com", "http://api.example.com/"),
        ("https://api.example.com", "https://api.example.com:80/"),
        ("*.example.com", "https://example.com/"),
        ("*.example.com", "https://badexample.com/"),
        ("http://127.0.0.1:8081", "http://127.0.0.1:8082/"),
        ("127.0.0.1", "http://127.0.0.2/"),
        ("*", "https://anything.example:81/"),
    ],
)
def test_a_pattern_does_not_match(pattern: str, url: str):
    assert not allows(pattern, url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "ftp://a.example",
        "a b",
        "a.example/path",
        "user@a.example",
        "a..b",
        "-a",
        "a*.example",
        "*.127.0.0.1",
        "a.example:0",
        "a.example:70000",
        "[127.0.0.1]",
        "[::1",
        "::1",
        "a.*",
        "münchen.example",
    ],
)
def test_what_is_no_pattern(text: str):
    with pytest.raises(InvalidPattern):
        parse_host_pattern(text)


@pytest.mark.parametrize(
    "text", ["api.example.com", "*.a.b", "https://a.b:8443", "http://127.0.0.1:8081", "http://[::1]:*", "*", "*:*"]
)
def test_a_pattern_is_written_as_it_is_read(text: str):
    assert str(parse_host_pattern(text)) == text


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "a b", "a\r\nb", "a\0", "ä.example", "[::1]x", "[fe80::1%eth0]", "x" * 64]
)
def test_what_is_no_host(text: str):
    assert normal_host(text) is None


# --- methods and URLs ------------------------------------------------------------------------------------------------


def test_an_entry_without_methods_allows_nothing():
    message = denial(policy(AllowedHost(parse_host_pattern("a.example"))), request("https://a.example/"))
    assert message == (
        'GET https://a.example/ is not allowed: the allowed_host of fetch with pattern "a.example" is not for GET; if it'
        ' should be, set there:\nmethods = ["GET"]'
    )


def test_a_method_that_is_missing_is_added_to_those_there_are():
    message = denial(policy(entry("a.example", "GET")), request("https://a.example/", "POST"))
    assert message.endswith('methods = ["GET", "POST"]')


def test_the_missing_entry_is_spelled_out_without_the_query():
    message = denial(policy(entry("b.example")), request("http://a.example:8080/p?q=1", "POST"))
    assert message == (
        "POST http://a.example:8080/p is not allowed: no allowed_host of fetch is about http://a.example:8080; if it"
        ' should be, add, below the [[activity_wasm]] with name = "fetch":\n'
        '[[activity_wasm.allowed_host]]\npattern = "http://a.example:8080"\nmethods = ["POST"]'
    )


def test_what_is_spelled_out_helps():
    asked = request("http://[::1]:8080/", "PUT")
    written = denial(policy(), asked).partition("pattern = ")[2].partition("\n")[0].strip('"')
    assert isinstance(decide(policy(entry(written, "PUT")), asked), Permission)


def test_the_whole_url_must_match():
    one = policy(entry("a.example", request_url_regex=r"https://a\.example/v1/[a-z]+(\?.*)?"))
    assert isinstance(decide(one, request("https://a.example/v1/items?x=1")), Permission)
    assert "request_url_regex" in denial(one, request("https://a.example/v1/items/1"))
    assert "request_url_regex" in denial(one, request("https://a.example/v2/v1/items"))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../admin",
        "/v1/%2e%2E/admin",
        "/v1/.%2e",
        "/v1/./x",
        "/..",
        "/v1/x%2f..%2F../admin",
        "/v1/..%5cadmin",
        "/v1/..\\admin",
        "/v1\\..",
        "/v1/..;/admin",
        "/v1/..;a=b/admin",
        "/v1/..%3B/admin",
    ],
)
def test_a_path_that_a_server_would_read_otherwise_matches_no_expression(path: str):
    one = policy(entry("a.example", request_url_regex=r"https://a\.example/.*"))
    assert "request_url_regex" in denial(one, request(f"https://a.example{path}"))
    assert isinstance(decide(one, request("https://a.example/v1/..x/.y/z...")), Permission)


def test_both_sides_must_allow():
    asked = request("https://a.example/")
    mine = entry("a.example")
    assert isinstance(decide(policy(mine, operator=(entry("*.example"),)), asked), Permission)
    message = denial(policy(mine, operator=()), asked)
    assert message.endswith('add:\n[[outbound_http.allowed_host]]\npattern = "https://a.example"\nmethods = ["GET"]')
    assert "of fetch" in denial(policy(operator=(entry("*.example"),)), asked)


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::a9fe:a9fe",
        "::7f00:1",
    ],
)
def test_a_name_leads_to_no_address_that_is_not_public(address: str):
    parsed = address_of(address)
    assert parsed is not None and not is_public(parsed)
    for pattern in ("a.example", "*.example", "*"):
        assert not permission(policy(entry(pattern)), request("https://a.example/")).reaches(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f::1", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"])
def test_a_name_leads_to_public_addresses(address: str):
    assert permission(policy(entry("a.example")), request("https://a.example/")).reaches(address)


def test_what_is_no_address_is_not_reached():
    assert not permission(policy(entry("*")), request("https://a.example/")).reaches("a.example")


def test_an_entry_says_where_else_its_name_may_lead():
    one = policy(entry("a.example", addresses=(parse_network("10.1.0.0/16"), parse_network("::1"))))
    permitted = permission(one, request("https://a.example/"))
    assert permitted.reaches("10.1.2.3") and permitted.reaches("::1")
    assert not permitted.reaches("10.2.0.1") and not permitted.reaches("127.0.0.1")
    assert permitted.unreachable(["10.2.0.1"]).endswith('addresses = ["10.2.0.1"]')


def test_a_pattern_that_is_an_address_means_that_address_and_no_other():
    permitted = permission(policy(entry("http://127.0.0.1:81")), request("http://127.0.0.1:81/"))
    assert permitted.reaches("127.0.0.1") and not permitted.reaches("127.0.0.2")
    assert not permission(policy(entry("*:*")), request("http://127.0.0.1:81/")).reaches("127.0.0.1")


def test_an_entry_for_an_address_says_nothing_about_names():
    both = policy(entry("127.0.0.1"), entry("a.example"))
    assert not permission(both, request("http://a.example/")).reaches("127.0.0.1")


def test_localhost_is_this_machine():
    permitted = permission(policy(entry("localhost")), request("http://localhost/"))
    assert permitted.reaches("127.0.0.1") and permitted.reaches("::1") and not permitted.reaches("10.0.0.1")
    assert not permission(policy(entry("*")), request("http://localhost/")).reaches("127.0.0.1")


def test_an_address_must_suit_both_sides():
    asked = request("https://a.example/")
    mine = entry("a.example", addresses=("10.0.0.0/8",))
    assert not permission(policy(mine, operator=(entry("*"),)), asked).reaches("10.0.0.1")
    assert permission(policy(mine, operator=(entry("*", addresses=("10.0.0.0/8",)),)), asked).reaches("10.0.0.1")


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_a_secret_goes_where_its_entry_says():
    one = policy(entry("a.example", secrets={"KEY": "V"}, replace_in=(Place.PARAMS,)), entry("*"))
    permitted = permission(one, request("https://a.example/"))
    assert permitted.may_carry("KEY", Place.PARAMS)
    assert not permitted.may_carry("KEY", Place.HEADERS)
    assert not permitted.may_carry("OTHER", Place.PARAMS)
    assert not permission(one, request("https://b.example/")).may_carry("KEY", Place.PARAMS)
    assert permitted.withheld("KEY", Place.BODY).endswith('secrets = ["KEY"], replace_in = ["body"]')


def test_a_secret_goes_without_tls_only_where_the_pattern_says_http():
    loose, plain = entry("a.example", secrets={"KEY": "V"}), entry("http://a.example", secrets={"KEY": "V"})
    asked = request("http://a.example/")
    assert not permission(policy(loose), asked).may_carry("KEY", Place.HEADERS)
    assert "without TLS" in permission(policy(loose), asked).withheld("KEY", Place.HEADERS)
    assert permission(policy(plain), asked).may_carry("KEY", Place.HEADERS)
    assert permission(policy(loose), request("https://a.example/")).may_carry("KEY", Place.HEADERS)


def test_a_policy_is_data():
    one = policy(entry("*.example", "GET", secrets={"KEY": "V"}, addresses=("10.0.0.0/8",)), operator=())
    assert msgspec.json.decode(msgspec.json.encode(one), type=EgressPolicy) == one

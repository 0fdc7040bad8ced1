"""Addresses, fetched from servers that stand on this machine."""

import gzip
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.corpus.reading.reading import read_all
from workbench.corpus.reading import asking, robots, web
from workbench.corpus.reading.robots import parse
from workbench.corpus.sources import expand, fingerprint
from workbench.errors import WorkbenchError


@dataclass
class Site:
    """What a server has, and what it was asked for. `pages`: path -> (status, headers, body), or a list of them."""

    root: str = ""
    pages: dict = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    found = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            found.agents.add(self.headers["User-Agent"])
            status, headers, body = found.pages.get(self.path, (404, {}, b"gone"))
            if isinstance(status, list):
                status = status.pop(0) if len(status) > 1 else status[0]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.root = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(asking, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(web, "SECONDS_BEFORE_RETRY", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield found
    server.shutdown()
    server.server_close()


HTML = {"Content-Type": "text/html; charset=iso-8859-1"}
TEXT = {"Content-Type": "text/plain"}


def test_kinds_by_address_and_server(site, tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner.txt", "inside")
    site.pages = {
        "/": (200, HTML, "<p>Grüße</p>".encode("latin-1")),
        "/page.php?x=1&y=a%20b": (200, HTML, b"<p>two</p>"),
        "/rows.jsonl": (200, TEXT, b'{"text": "row"}\n'),
        "/a.zip?download": (200, {"Content-Type": "application/octet-stream"}, packed.getvalue()),
        "/plain": (200, TEXT, b"plain text"),
        "/a.txt.gz": (200, {"Content-Type": "application/gzip"}, gzip.compress(b"packed")),
        "/squeezed": (200, {**TEXT, "Content-Encoding": "gzip"}, gzip.compress(b"squeezed on the way")),
    }
    addresses = [site.root + path for path in site.pages]
    found = read_all(*addresses, scratch=tmp_path / "new" / "scratch")
    assert found.rejects == []
    texts = {one.source.removeprefix(site.root): (one.text, one.markup) for one in found.documents}
    assert texts == {
        "/": ("<p>Grüße</p>", "html"),
        "/page.php?x=1&y=a%20b": ("<p>two</p>", "html"),
        "/rows.jsonl": ("row", ""),
        "/a.zip?download:inner.txt": ("inside", ""),
        "/plain": ("plain text", ""),
        "/a.txt.gz": ("packed", ""),
        "/squeezed": ("squeezed on the way", ""),
    }
    assert len(site.agents) == 1
    assert site.agents.pop().startswith("llm-workbench/")
    assert site.asked.count("/robots.txt") == 1

    before = list(site.asked)
    assert read_all(*addresses, scratch=tmp_path / "new" / "scratch").texts == found.texts
    assert site.asked == before  # an interrupted run goes on with what it has


def test_a_list_of_addresses(site, tmp_path):
    site.pages = {f"/{n}": (200, TEXT, f"text {n}".encode()) for n in range(3)}
    lines = ["# a list", "", *(f"{site.root}/{n}" for n in range(3)), f"{site.root}/1", f"{site.root}/none"]
    (tmp_path / "pages.urls").write_text("\n".join(lines))
    found = read_all(tmp_path / "pages.urls", scratch=tmp_path / "new" / "scratch")
    assert found.texts == ["text 0", "text 1", "text 2"]
    assert found.reasons == [(f"{site.root}/none", "not fetched")]
    assert found.rejects[0].excerpt == f"{site.root}/none was not fetched: the answer was 404 Not Found."
    assert site.asked.count("/none") == 1  # what is not there will not be there a second later
    assert read_all(tmp_path / "pages.urls", scratch=tmp_path / "new" / "scratch", max_rows=2).texts == [
        "text 0",
        "text 1",
    ]


def test_robots_are_obeyed(site, tmp_path):
    site.pages = {
        "/robots.txt": (200, TEXT, b"User-agent: *\nDisallow: /private\nAllow: /private/open\n"),
        "/private/a": (200, TEXT, b"secret"),
        "/private/open/a": (200, TEXT, b"open"),
        "/b": (302, {"Location": "/private/a"}, b""),
        "/c": (301, {"Location": "/private/open/a"}, b""),
    }
    found = read_all(
        *(site.root + path for path in ("/private/a", "/private/open/a", "/b", "/c")),
        scratch=tmp_path / "new" / "scratch",
    )
    assert found.texts == ["open", "open"]
    assert [reason for _, reason in found.reasons] == ["robots.txt forbids it"] * 2
    assert "/private/a" not in site.asked


def test_a_site_whose_robots_cannot_be_had(site, tmp_path):
    site.pages = {"/robots.txt": (503, {}, b""), "/a": (200, TEXT, b"text")}
    found = read_all(f"{site.root}/a", scratch=tmp_path / "new" / "scratch")
    assert found.texts == []
    assert "its robots.txt cannot be had: the answer was 503" in found.rejects[0].excerpt
    assert site.asked == ["/robots.txt"] * 2


def test_one_retry(site, tmp_path):
    site.pages = {"/a": ([503, 200], TEXT, b"at last"), "/b": ([503], TEXT, b"never")}
    found = read_all(f"{site.root}/a", f"{site.root}/b", scratch=tmp_path / "new" / "scratch")
    assert found.texts == ["at last"]
    assert (site.asked.count("/a"), site.asked.count("/b")) == (2, 2)


def test_what_failed_is_tried_again_by_the_next_run(site, tmp_path):
    site.pages = {"/a": ([500, 500, 200], TEXT, b"back again")}
    first = read_all(f"{site.root}/a", scratch=tmp_path)
    assert first.reasons == [(f"{site.root}/a", "not fetched")]
    assert list(tmp_path.iterdir()) == []
    assert read_all(f"{site.root}/a", scratch=tmp_path).texts == ["back again"]


@pytest.mark.parametrize("told", [True, False])
def test_the_limit_on_downloads(site, tmp_path, told):
    body = b"x" * 300_000
    headers = TEXT if told else {**TEXT, "Content-Length": "", "Connection": "close"}
    bomb = gzip.compress(bytes(50 << 20))
    site.pages = {
        "/a": (200, headers, body),
        "/b": (200, {**TEXT, "Content-Encoding": "gzip"}, bomb),
        "/c": (200, TEXT, b"c"),
    }
    if not told:
        del headers["Content-Length"]
    found = read_all(
        *(site.root + path for path in site.pages), scratch=tmp_path / "new" / "scratch", max_download_bytes=100_000
    )
    assert found.texts == ["c"]
    assert [reason for _, reason in found.reasons] == ["address over the limit"] * 2
    assert all(path.stat().st_size < 1 << 21 for path in tmp_path.rglob("*") if path.is_file())


def test_servers_that_misbehave(site, tmp_path):
    site.pages = {
        "/loop": (302, {"Location": "/loop"}, b""),
        "/file": (302, {"Location": "file:///etc/passwd"}, b""),
        "/short": (200, {**TEXT, "Content-Length": "999"}, b"less"),
        "/image": (200, {"Content-Type": "image/png"}, b"\x89PNG"),
    }
    found = read_all(
        *(site.root + path for path in site.pages), "http://127.0.0.1:1/closed", scratch=tmp_path / "new" / "scratch"
    )
    why = {
        source.rpartition("/")[2]: reject.excerpt
        for (source, _), reject in zip(found.reasons, found.rejects, strict=True)
    }
    assert found.texts == []
    assert "leads on more than 5 times" in why["loop"]
    assert "leads to what is no page of the web" in why["file"]
    assert why["image"] == "image/png"
    assert "was not fetched: " in why["short"]
    assert "Connection refused" in why["closed"]


def test_a_server_that_says_nothing(tmp_path, monkeypatch):
    import socket

    monkeypatch.setattr(asking, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(web, "SECONDS_BEFORE_RETRY", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = read_all(f"http://127.0.0.1:{server.getsockname()[1]}/a", scratch=tmp_path / "new" / "scratch")
    assert "timed out" in found.rejects[0].excerpt


def test_addresses_are_planned_without_the_network(tmp_path):
    address = "http://unreachable.invalid/a.txt"
    found = expand([address, "hf:org/name:en@v1#content"])
    assert [(file.name, file.kind, file.size) for file in found.files] == [
        ("hf:org/name:en@v1#content", "hub", 0),
        (address, "address", 0),
    ]
    assert found.size is None
    assert fingerprint([address]) == fingerprint([address])
    assert fingerprint([address]) != fingerprint([f"{address}#june"])


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("https://", "'https://' is no address"),
        ("https://user:secret@host.example/a", "https://host.example… holds a password"),
        ("https://host.example:x/a", "is no address: Port could not be cast"),
        ("https://host.example/a b", "with %20 for a space"),
        ("hf:a/b/c", "'hf:a/b/c' names no data set"),
        ("hf:", "names no data set"),
    ],
)
def test_addresses_that_are_none(source, sentence):
    with pytest.raises(WorkbenchError) as raised:
        expand([source])
    assert sentence in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"https://a.example/\nftp://a\n", r"Line 2 of .*pages\.urls is no address: 'ftp://a'"), (b"\xff", "no UTF-8")],
)
def test_lists_that_are_none(tmp_path, content, sentence):
    (tmp_path / "pages.urls").write_bytes(content)
    with pytest.raises(WorkbenchError, match=sentence):
        expand([str(tmp_path / "pages.urls")])


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        ("User-agent: *\nDisallow: /", "/a", False),
        ("User-agent: *\nDisallow:", "/a", True),
        ("User-agent: other\nDisallow: /", "/a", True),
        ("User-agent: LLM-Workbench\nDisallow: /a\n\nUser-agent: *\nDisallow: /b", "/b", True),
        ("User-agent: other\nUser-agent: llm-workbench\nDisallow: /a", "/a/b", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/x/a.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/x/a.pdf?x", True),
        ("User-agent: *\nDisallow: /a/*/c", "/a/b/c/d", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a", "/a", True),
        ("User-agent: *\nDisallow: /a%c3%bc", "/aü", False),
        ("User-agent: *\nDisallow: / # all", "/robots.txt", True),
        ("<html>no rules</html>", "/a", True),
    ],
)
def test_rules_of_robots(rules, path, allowed):
    assert parse(rules, "llm-workbench").allows(path) is allowed


def test_the_delay_that_robots_ask_for():
    assert parse("User-agent: *\nCrawl-delay: 2.5", "x").delay == 2.5
    assert parse("User-agent: *\nCrawl-delay: 86400", "x").delay == robots.MAX_DELAY_SECONDS

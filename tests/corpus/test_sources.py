"""What sources stand for, and when a fingerprint changes."""

import os
import shutil
import subprocess
import sys

import pytest

from workbench.corpus import sources
from workbench.corpus.kinds import kind_of
from workbench.corpus.sources import expand, fingerprint
from workbench.errors import WorkbenchError


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "texts"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "b.txt").write_text("b")
    (folder / "a.MD").write_text("a")
    (folder / "deep" / "rows.jsonl").write_text('{"text": "x"}\n')
    (folder / "deep" / "er" / "c.txt").write_text("c")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.txt").write_text("hidden")
    (folder / ".git" / "log.txt").write_text("hidden")
    return folder


def names(*sources):
    return [file.name for file in expand([str(source) for source in sources]).files]


def test_a_folder_is_walked(texts):
    assert names(texts) == ["a.MD", "b.txt", "deep/er/c.txt", "deep/rows.jsonl"]
    found = expand([str(texts), str(texts / "*"), str(texts / "deep")])
    assert [file.kind for file in found.files] == ["text", "text", "text", "jsonl"]
    assert found.unknown == ["picture.png"]  # once, and nothing that is hidden


def test_globs(texts):
    assert names(texts / "*.txt") == ["b.txt"]
    assert names(texts / "**" / "*.txt") == ["b.txt", "deep/er/c.txt"]
    assert names(texts / "**") == ["a.MD", "b.txt", "deep/er/c.txt", "deep/rows.jsonl"]
    assert names(texts / "d*") == ["deep/er/c.txt", "deep/rows.jsonl"]


def test_brackets_in_a_real_name_are_no_glob(tmp_path):
    (tmp_path / "notes [1].txt").write_text("x")
    assert names(tmp_path / "notes [1].txt") == ["notes [1].txt"]


def test_each_file_once(texts):
    assert names(texts, texts / "b.txt", texts / "*.txt") == names(texts)


def test_loops_of_links_and_dangling_ones(texts):
    (texts / "deep" / "up").symlink_to(texts)
    (texts / "self.txt").symlink_to("self.txt")
    (texts / "gone.txt").symlink_to("nowhere.txt")
    found = expand([str(texts)])
    assert [file.name for file in found.files] == ["a.MD", "b.txt", "deep/er/c.txt", "deep/rows.jsonl"]
    assert dict(found.unreadable) == {
        "self.txt": "Too many levels of symbolic links",
        "gone.txt": "No such file or directory",
    }


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    assert expand([str(tmp_path)]).unreadable == [("pipe.txt", "not a regular file")]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_may_not_be_entered(texts):
    (texts / "deep").chmod(0)
    program = (
        "import os, sys; from workbench.corpus.sources import expand; os.setuid(65534)\n"
        "found = expand([sys.argv[1]]); print([f.name for f in found.files], found.unreadable)"
    )
    for folder in texts.parents:
        if folder.stat().st_uid == os.getuid() and folder.name.startswith(("pytest", "popen", "test_", "texts")):
            folder.chmod(0o755)
    result = subprocess.run([sys.executable, "-c", program, str(texts)], capture_output=True, text=True, check=True)
    assert result.stdout == "['a.MD', 'b.txt'] [('deep', 'Permission denied')]\n"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("texst", r"There is no file or folder '.*texst'\. Did you mean '.*texts'\?"),
        ("texts/none/x.txt", r"There is no file or folder .* Check the path"),
        ("texts/*.rst", r"Nothing matches '.*\*\.rst'\."),
        ("texts/*.png", r"No file that matches .* can be read: there are \.png \(1\)\. .*\.parquet"),
        ("texts/picture.png", r"'.*picture\.png' is not a kind of file that can be read\. .*\.jsonl"),
        ("pictures", r"The folder '.*pictures' has no file that can be read; it holds \.jpg \(2\)\."),
        ("empty", r"The folder '.*empty' has no file that can be read; it is empty\."),
    ],
)
def test_sources_that_are_none(tmp_path, texts, source, sentence):
    for folder, files in (("empty", []), ("pictures", ["a.jpg", "b.JPG"])):
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / name).touch()
    with pytest.raises(WorkbenchError, match=sentence):
        expand([str(tmp_path / source)])
    with pytest.raises(WorkbenchError, match=sentence):
        fingerprint([str(tmp_path / source)])


def test_fingerprint_follows_contents_and_names_alone(texts, tmp_path):
    before = fingerprint([str(texts)])
    assert len(before) == 32
    copy = shutil.copytree(texts, tmp_path / "elsewhere" / "copy")
    os.utime(copy / "b.txt", (0, 0))
    assert fingerprint([str(copy)]) == before
    assert fingerprint([str(copy), str(copy / "b.txt")]) == before

    (copy / "b.txt").write_text("B")
    assert fingerprint([str(copy)]) != before
    (copy / "b.txt").write_text("b")
    assert fingerprint([str(copy)]) == before
    (copy / "b.txt").rename(copy / "z.txt")
    assert fingerprint([str(copy)]) != before


def test_contents_beyond_the_limit_count_by_size_and_time(texts, monkeypatch):
    monkeypatch.setattr(sources, "HASHED_BYTES", 2)
    before = fingerprint([str(texts)])
    late = texts / "deep" / "rows.jsonl"  # after a.MD and b.txt, which fill the two bytes
    status = late.stat()
    late.write_text('{"text": "y"}\n')
    os.utime(late, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fingerprint([str(texts)]) == before
    os.utime(late, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert fingerprint([str(texts)]) != before
    os.utime(late, ns=(status.st_atime_ns, status.st_mtime_ns))
    (texts / "b.txt").write_text("B")
    assert fingerprint([str(texts)]) != before


def test_kinds_by_name():
    kinds = {
        "a.txt": "text", "README.md": "text", "a.HTM": "html", "a.py": "code", "Makefile": "code",
        "a.ipynb": "notebook", "a.pdf": "pdf", "a.epub": "epub", "a.jsonl": "jsonl", "a.csv": "csv",
        "a.parquet": "parquet", "a.arrow": "arrow", "a.warc.gz": "warc", "CC-MAIN.warc.wet.gz": "warc",
        "a.warc.xz": "compressed", "a.zip": "zip", "a.tar": "tar", "a.tar.gz": "tar", "a.tgz": "tar",
        "a.tar.zst": "tar", "a.jsonl.zst": "compressed", "a.txt.gz.gz": "compressed", "syslog.1.gz": "", "a.png": "",
        "a": "", ".gz": "", "a.json": "",
    }  # fmt: skip
    assert {name: kind_of(name) for name in kinds} == kinds


def test_all_kinds_of_a_folder_are_found(texts):
    for name in ("a.pdf", "b.epub", "c.zip", "d.csv", "e.py", "f.warc.gz", "g.json"):
        (texts / name).write_bytes(b"x")
    found = expand([str(texts)])
    assert {file.name for file in found.files} >= {"a.pdf", "b.epub", "c.zip", "d.csv", "e.py", "f.warc.gz"}
    assert "g.json" not in {file.name for file in found.files}
    assert [file.name for file in expand([str(texts)], (".json",), "").files] == ["g.json"]


def test_the_border_between_two_files_counts(tmp_path):
    for folder, first, second in (("one", "ab", "c"), ("two", "a", "bc")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.txt").write_text(first)
        (tmp_path / folder / "2.txt").write_text(second)
    assert fingerprint([str(tmp_path / "one")]) != fingerprint([str(tmp_path / "two")])


@pytest.fixture
def project(tmp_path):
    """A project with texts of the user's own, and what it made itself."""
    root = tmp_path / "my-llm"
    for path, text in {
        "workbench.yaml": "format: 1",
        "notes.txt": "mine",
        "texts/deep/own.md": "mine",
        "models/base/artifact.json": "{}",
        "models/base/held_out.txt": "made",
        "runs/pretrain-1/run.json": "{}",
        "runs/pretrain-1/log.txt": "made",
        "runs/pretrain-1/checkpoints/step-1/merges.txt": "made",
        "corpora/import-2.partial/left.txt": "made",
        "judgements/0123/judgements.jsonl": "{}",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.mark.parametrize("source", [".", "..", "**/*.*"])
def test_what_a_project_made_is_no_source(project, monkeypatch, source):
    monkeypatch.chdir(project)
    found = expand([source])
    assert sorted(file.path.name for file in found.files) == ["notes.txt", "own.md"]
    assert [os.path.realpath(root) for root in found.projects] == [str(project)]


def test_a_file_that_a_project_made_can_be_named(project):
    assert [file.name for file in expand([str(project / "models/base/held_out.txt")]).files] == ["held_out.txt"]


def test_a_project_without_texts_says_so(project):
    (project / "notes.txt").unlink()
    shutil.rmtree(project / "texts")
    with pytest.raises(WorkbenchError, match="no file that can be read besides what the project made"):
        expand([str(project)])


def test_a_folder_that_only_looks_like_an_artifact_is_read(texts):
    (texts / "deep" / "er" / "artifact.json").write_text("{}")
    found = expand([str(texts)])
    assert "deep/er/c.txt" in {file.name for file in found.files}
    assert found.projects == []


def test_python_docs_have_files_and_no_tests():
    found = expand(["python-docs"])
    listed = {file.name for file in found.files}
    assert {"asyncio/base_events.py", "pydoc_data/topics.py", "json/__init__.py"} <= listed
    assert not [name for name in listed if "site-packages" in name or "/test/" in name or name.startswith("test/")]
    assert fingerprint(["python-docs"]) == fingerprint(["python-docs"])


def test_looking_at_sources_loads_nothing_heavy():
    program = (
        "import sys; from workbench.corpus.sources import fingerprint; fingerprint(['python-docs'])\n"
        "from workbench import registry; registry.engine('corpus').capabilities()\n"
        "print({'numpy', 'pyarrow', 'tokenizers', 'torch', 'transformers', 'orjson'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"

"""Versions that come and go under a server, and exports that are not as they were written."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app import Run, export
from app.errors import ExportError
from app.exports.request import Request
from app.serving.watching import find_models
from tests.serving import Server, clients, serving


@pytest.fixture(scope="module")
def careful(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers `unsure`, too: so an answer tells which version it is of."""
    return export(finished, tmp_path_factory.mktemp("careful"), Request(unsure_below=0.999))


@pytest.fixture(scope="module")
def photo(finished: Run) -> bytes:
    return next(iter(finished.test_images())).read_bytes()


@pytest.fixture
def folder(copied: Path) -> Path:
    return copied.parent


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as one:
        yield one


def put(export: Path, version: Path) -> None:
    """Puts a version into its folder at once, as an export does."""
    temporary = version.with_name(f".{version.name}")
    shutil.copytree(export, temporary)
    temporary.rename(version)


def until(found: Callable[[], Any], seconds: float = 120) -> Any:
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while not (said := found()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)
    return said


def newest(server: Server) -> str:
    return str(server.get("/v1/models")[1]["models"][0]["versions"][0])


def states(server: Server) -> dict[str, str]:
    rows = server.get("/v1/models/tiny")[1]["model_version_status"]
    return {row["version"]: row["state"] for row in rows}


def damaged(version: Path) -> None:
    graph = version / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")


def test_versions_come_and_go_under_load_without_a_failed_request(
    server: Server, folder: Path, careful: Path, exported: Path, photo: bytes
) -> None:
    answers: list[tuple[int, Any]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(server.post("/classify", photo))
            time.sleep(0.05)  # loading takes the time that is left, of which there must be some

    with ThreadPoolExecutor(3) as clients:
        asking = [clients.submit(ask) for _ in range(3)]
        try:
            put(careful, folder / "2")
            until(lambda: newest(server) == "2")
            put(exported, folder / "10")
            until(lambda: newest(server) == "10")
            shutil.rmtree(folder / "10")  # back to the one before
            until(lambda: newest(server) == "2")
        finally:
            stop.set()
        for each in asking:
            each.result()
    assert {status for status, _ in answers} == {200}
    kinds = {(told["version"], "unsure" in told) for _, told in answers}
    assert kinds == {("1", False), ("2", True), ("10", False)}
    order = [told["version"] for _, told in answers]
    assert order.index("1") < order.index("2") < order.index("10")
    # The last of the clients' answers may be of a request that came before the change.
    assert server.post("/classify", photo)[1]["version"] == "2"
    until(lambda: states(server) == {"1": "END", "2": "AVAILABLE", "10": "END"})


def test_a_version_whose_hashes_do_not_match_is_not_served(
    server: Server, folder: Path, careful: Path, photo: bytes
) -> None:
    put(careful, folder / "2")
    damaged(folder / "2")
    until(lambda: states(server).get("2") == "END")
    (row,) = server.get("/v1/models/tiny/versions/2")[1]["model_version_status"]
    assert "saved_model.pb has changed" in row["status"]["error_message"]
    assert server.post("/classify", photo)[1]["version"] == "1"
    assert server.post("/classify?version=2", photo)[0] == 404
    shutil.rmtree(folder / "2")
    put(careful, folder / "2")  # a good one in its place is taken up
    until(lambda: newest(server) == "2")


def test_a_version_that_is_still_being_copied_is_taken_up_when_it_is_whole(
    server: Server, folder: Path, careful: Path
) -> None:
    (folder / "2").mkdir()
    shutil.copy(careful / "SHA256SUMS", folder / "2")
    until(lambda: states(server).get("2") == "END")
    shutil.copytree(careful, folder / "2", dirs_exist_ok=True)
    until(lambda: newest(server) == "2")


def test_the_last_version_goes_on_when_its_folder_is_emptied(
    server: Server, folder: Path, photo: bytes
) -> None:
    shutil.rmtree(folder / "1")
    time.sleep(2.5)
    assert server.post("/classify", photo)[1]["version"] == "1"
    assert server.get("/readyz")[0] == 200


@pytest.mark.slow
def test_memory_does_not_grow_with_versions(
    server: Server, folder: Path, careful: Path, exported: Path
) -> None:
    held = []
    for number in range(2, 22):
        put((exported, careful)[number % 2], folder / str(number))
        until(lambda wanted=number: newest(server) == str(wanted))
        until(lambda wanted=number: states(server)[str(wanted - 1)] == "END")
        shutil.rmtree(folder / str(number - 1))
        held.append(server.megabytes)
    assert held[-1] - held[4] < 30, held  # 2 MB a version


def test_several_models_and_versions_are_served_side_by_side(
    folder: Path, careful: Path, tmp_path: Path, photo: bytes
) -> None:
    put(careful, folder / "2")
    put(careful, folder / "3")
    shutil.copytree(careful, tmp_path / "other" / "7")
    shutil.copytree(careful, tmp_path / "other" / "8")
    with serving(folder, tmp_path / "other" / "7", "--versions", "2") as server:
        assert "tiny: version 3, 2" in server.told
        assert "other: version 7" in server.told
        assert server.post("/classify", photo)[0] == 404
        for query, version in {
            "model=tiny": "3",
            "model=tiny&version=2": "2",
            "model=other": "7",
        }.items():
            assert server.post(f"/classify?{query}", photo)[1]["version"] == version
        assert server.get("/v1/models/tiny/versions/1")[0] == 404
        assert server.get("/v1/models/other/versions/8")[0] == 404


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damaged, "saved_model.pb has changed"),
        (lambda version: (version / "SHA256SUMS").unlink(), "has no hashes"),
        (lambda version: (version / "extra").write_text("x"), "extra is not of the export"),
    ],
)
def test_a_server_does_not_start_with_a_damaged_export(
    folder: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    spoil(folder / "1")
    done = subprocess.run(
        [*clients.GRAFT, str(folder), "--port", "0", "--grpc-port", "0"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout) == (2, "")
    assert said in last
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said(server: Server, folder: Path) -> None:
    for option, port in {"--port": server.port, "--grpc-port": server.grpc_port}.items():
        other = "--grpc-port" if option == "--port" else "--port"
        words = [str(folder), option, str(port), other, "0"]
        done = subprocess.run(
            [*clients.GRAFT, *words], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 2
        assert f"try {option}" in done.stderr.splitlines()[-1]


def test_models_are_named_by_their_folders(folder: Path, tmp_path: Path) -> None:
    (found,) = find_models([folder])
    assert (found.name, found.only) == ("tiny", None)
    (one,) = find_models([folder / "1"])
    assert (one.name, one.folder, one.only) == ("tiny", folder, 1)


def test_folders_without_a_model_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty" / "latest").mkdir(parents=True)
    with pytest.raises(ExportError, match="holds no export"):
        find_models([tmp_path / "empty"])
    with pytest.raises(ExportError, match="does not exist"):
        find_models([tmp_path / "nowhere"])
    with pytest.raises(ExportError, match="two exports are named tiny"):
        find_models([folder, folder / "1"])
    shutil.copytree(folder, tmp_path / "tiny:2")
    with pytest.raises(ExportError, match="no address can name a model with ':'"):
        find_models([tmp_path / "tiny:2"])
    (folder / "1").rename(folder / "first")
    with pytest.raises(ExportError, match="must be named by a number"):
        find_models([folder / "first"])


def test_the_card_of_an_answer_is_that_of_its_version(server: Server, folder: Path) -> None:
    card = json.loads((folder / "1" / "assets.extra" / "card.json").read_text())
    (model,) = server.get("/v1/models")[1]["models"]
    assert model["accuracy"]["value"] == card["metrics"]["test"]["accuracy"]["value"]

"""The page of `graft serve` in a real browser: before a real server, and before one in trouble."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser import Browser, find_browser, until
from tests.conftest import COLOURS
from tests.page_faults import Faulty, Reply, describe
from tests.serving import Server, serving

pytestmark = pytest.mark.skipif(
    not find_browser(), reason="there is neither Chromium nor Chrome on this machine"
)

READY = "document.title.includes(' · ')"
FOUND = "document.querySelectorAll('.share:not(:empty)').length > 0"
HEAT = "!document.querySelector('#heat').hidden"
STATE = "document.querySelector('#answer').dataset.state"
LABELS = "[...document.querySelectorAll('#strip button')].map(({ariaLabel}) => ariaLabel)"
SHIFTED = "shifts.reduce((sum, {value}) => sum + value, 0)"
CHOICE = "document.querySelector('#model-choice')"
WIDTHS = {320: 640, 360: 740, 768: 1024, 1280: 800}
ODD = [
    "<b>bold</b> & <script>alert(1)</script>",
    "شقائق النعمان (زهرة)",
    "line\nbreak\ttab",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2,
    "🌷",
    "%20;&class=x#y",
]


@pytest.fixture(scope="module")
def folder(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the versions that the real server serves."""
    return shutil.copytree(exported, tmp_path_factory.mktemp("served") / "tiny" / "1").parent


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as one:
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Browser]:
    """The page of the real server; whatever is done on it, it complains of nothing."""
    address = f"http://127.0.0.1:{server.port}/"
    browser.look_like(1280, 800)
    browser.open(address)
    browser.wait(READY)
    yield browser
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith(address)] == []


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    with Faulty() as one:
        yield one


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Something of each class, so that the answer is not too plain."""
    path = tmp_path_factory.mktemp("photo") / "mixed.jpg"
    pixels = (
        np.random.default_rng(0).normal(0, 30, (240, 320, 3)) + np.repeat(COLOURS, 107, 0)[:320]
    )
    Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(path)
    return path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Thirteen photographs; the last byte of each says what a faulty server sees in it."""
    paths = [tmp_path_factory.mktemp("drawn") / f"{number}.png" for number in range(13)]
    for number, path in enumerate(paths):
        Image.new("RGB", (64, 48), (20 * number, 90, 120)).save(path)
        path.write_bytes(path.read_bytes() + bytes([number % 3]))
    return paths


def go(browser: Browser, faulty: Faulty) -> None:
    browser.look_like(1280, 800)
    browser.open(faulty.address)
    browser.wait(READY)


def pick(browser: Browser, model: str) -> None:
    browser.evaluate(f"{CHOICE}.value = {model!r}; {CHOICE}.dispatchEvent(new Event('change'))")


def rows(answer: Any) -> list[str]:
    """The bars of an answer, as they are to be read."""

    def words(share: float) -> str:
        if share > 0.9995:
            return ">99.9%"
        return "<0.1%" if 0 < share < 0.0005 else f"{100 * share:.1f}%"

    return [f"{row['name']} {words(row['probability'])}" for row in answer["classes"]]


def bars(browser: Browser) -> list[str]:
    return [" ".join(text.split()) for text in browser.texts(".bar")]


def test_a_photograph_is_named_as_the_server_names_it(
    page: Browser, server: Server, photo: Path
) -> None:
    assert page.text("#verdict") == "It tells these apart"
    assert bars(page) == ["2", "10", "fern leaf"]
    page.choose_files("#file", [photo])
    page.wait(FOUND)
    answer = server.post("/classify", photo.read_bytes())[1]
    assert page.text("#verdict") == answer["label"]
    assert bars(page) == rows(answer)
    assert page.text("#kicker") == rows(answer)[0].split()[-1]
    assert page.text("#detail").startswith(f"tiny, version {answer['version']}, in ")
    tested = server.get("/v1/models")[1]["models"][0]["accuracy"]
    value, low, high = (round(100 * tested[key]) for key in ("value", "low", "high"))
    said = f"Right on {value}% of {tested['count']} test images ({low} to {high}%)"
    assert page.text("#accuracy") == said


def test_the_heat_map_is_warmest_where_the_server_says(
    page: Browser, server: Server, photo: Path
) -> None:
    page.choose_files("#file", [photo])
    page.wait(HEAT)
    heat = np.array(server.post("/explain", photo.read_bytes())[1]["heat"])
    y, x = (np.argwhere(heat == heat.max())[0] + 0.5) / heat.shape
    colour = page.evaluate(
        "(({width, height}, canvas) => [...canvas.getContext('2d')"
        f".getImageData({x} * width, {y} * height, 1, 1).data])"
        "(document.querySelector('#heat'), document.querySelector('#heat'))"
    )
    np.testing.assert_allclose(colour[:3], [255, 226, 110], atol=25)


def test_another_class_can_be_chosen_and_is_asked_for_once(page: Browser, photo: Path) -> None:
    page.choose_files("#file", [photo])
    page.wait(HEAT)
    names = page.evaluate("[...document.querySelectorAll('button.bar')].map(({value}) => value)")
    for place in (2, 1):
        page.click(f"li:nth-child({place}) > .bar")
        page.wait(HEAT)
        assert f"What spoke for \u2068{names[place - 1]}\u2069:" in page.text("#heat-note")
        pressed = "[...document.querySelectorAll('[aria-pressed=true]')].map(({value}) => value)"
        assert page.evaluate(pressed) == [names[place - 1]]
    assert len([url for url in page.requests() if "/explain" in url]) == 2


def test_the_heat_map_can_be_put_out_and_made_paler(page: Browser, photo: Path) -> None:
    page.choose_files("#file", [photo])
    page.wait(HEAT)
    page.click("#heat-on")
    assert not page.evaluate(HEAT)
    page.click("#heat-on")
    assert page.evaluate(HEAT)
    opacity = "Number(getComputedStyle(document.querySelector('#heat')).opacity)"
    before = page.evaluate(opacity)
    page.evaluate("document.querySelector('#strength').focus()")
    page.press("Home", 36)
    assert page.evaluate(opacity) < before


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl on this machine")
def test_the_line_for_a_shell_answers_as_the_page_does(
    page: Browser, photo: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "it's <b>odd $HOME.jpg"
    shutil.copy(photo, odd)
    page.choose_files("#file", [odd])
    page.wait(FOUND)
    line = page.text("#command")
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, check=True)
    assert bars(page) == rows(json.loads(done.stdout))
    page.click("#copy")
    page.wait("document.querySelector('#copy').textContent !== 'Copy'")
    assert page.evaluate("String(getSelection())") == line


# The picture on the stage, as a file in a person's hand; the page's policy forbids fetching it.
MOVE = """new Promise((done) => {
  const picture = document.querySelector('#picture'), canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  canvas.getContext('2d').drawImage(picture, 0, 0);
  canvas.toBlob((blob) => {
    const moved = new DataTransfer();
    moved.items.add(new File([blob], NAME, {type: blob.type}));
    done(document.body.dispatchEvent(EVENT));
  });
})"""


def test_photographs_can_be_dropped_and_pasted(page: Browser, photo: Path) -> None:
    page.choose_files("#file", [photo])
    page.wait(HEAT)
    events = {
        "dropped.png": "new DragEvent('drop', {dataTransfer: moved, bubbles: true})",
        "pasted.png": "new ClipboardEvent('paste', {clipboardData: moved, bubbles: true})",
    }
    for name, event in events.items():
        page.evaluate(MOVE.replace("NAME", repr(name)).replace("EVENT", event))
        page.wait(f"document.querySelector('#command').textContent.includes('{name}')")
        page.wait(HEAT)
    said = [label.split(": ")[1] for label in page.evaluate(LABELS)]
    assert said == ["pasted.png", "dropped.png", photo.name]


def test_the_camera_takes_a_photograph(page: Browser) -> None:
    seeing = "document.querySelector('#video').videoWidth > 0"
    page.click("#camera")
    page.wait(seeing)
    page.press("Escape", 27)
    assert page.evaluate("document.querySelector('#video').srcObject === null")
    page.click("#camera")
    page.wait(seeing)
    page.click("#shutter")
    page.wait(HEAT)
    assert "@photograph.jpg" in page.text("#command")
    assert page.evaluate("document.querySelector('#video').srcObject === null")


def test_the_keyboard_is_enough(page: Browser, photo: Path) -> None:
    page.choose_files("#file", [photo])
    page.wait(HEAT)
    page.call("Page.setInterceptFileChooserDialog", enabled=True)
    stops = []
    for _ in range(8):
        page.press("Tab", 9)
        stops.append(page.evaluate("document.activeElement.id || document.activeElement.value"))
        outline = "getComputedStyle(document.activeElement).outlineWidth"
        assert page.evaluate(outline) == "3px"
        if stops[-1] == "choose":
            page.press("Enter", 13, "\r")
    names = page.evaluate("[...document.querySelectorAll('button.bar')].map(({value}) => value)")
    assert stops == ["choose", "camera", "heat-on", "strength", *names, "copy"]
    page.call("Page.setInterceptFileChooserDialog", enabled=False)
    assert [event for event in page.events if event["method"] == "Page.fileChooserOpened"]
    page.evaluate("document.querySelector('li:nth-child(2) > .bar').focus()")
    page.press("Enter", 13, "\r")
    page.wait("document.activeElement.ariaPressed === 'true'")


def test_a_screen_reader_is_told_everything(page: Browser, server: Server, photo: Path) -> None:
    page.choose_files("#file", [photo])
    page.wait(HEAT)
    told = page.accessible()
    names = {role: [name for kind, name in told if kind == role] for role, _ in told}
    answer = server.post("/classify", photo.read_bytes())[1]
    assert answer["label"] in names["heading"]
    assert {"Choose a photograph", "Camera", "Copy", *rows(answer)} <= set(names["button"])
    assert names["switch"] == ["Heat map"]
    assert names["slider"] == ["Strength"]
    images = names["image"] if "image" in names else names["img"]
    assert any(name.startswith("What spoke for") for name in images)
    assert all(name for role, name in told if role in ("button", "slider", "switch", "link"))


def test_a_file_that_cannot_be_read_shows_what_the_server_says(
    browser: Browser, server: Server, tmp_path: Path
) -> None:
    unknown = tmp_path / "IMG_0001.HEIC"
    unknown.write_bytes(b"\0\0\0\x18ftypheic" + bytes(3000))
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.wait(READY)
    browser.choose_files("#file", [unknown])
    browser.wait(f"{STATE} === 'error' && !document.querySelector('#unshowable').hidden")
    status, told = server.post("/classify", unknown.read_bytes())
    assert (status, browser.text("#detail")) == (400, told["error"])
    assert browser.evaluate("document.querySelector('#again').hidden")
    browser.wait("document.querySelector('#strip button').textContent === 'HEIC'")
    browser.look_like(360, 740)
    assert browser.misfits() == []


def test_it_fits_every_window_and_can_be_read_by_day_and_night(page: Browser, photo: Path) -> None:
    found = {}
    for chosen in ([], [photo]):
        if chosen:
            page.choose_files("#file", chosen)
            page.wait(HEAT)
        for width, height in WIDTHS.items():
            for dark in (False, True):
                page.look_like(width, height, dark=dark)
                found[bool(chosen), width, dark] = page.misfits()
    assert {key: misfits for key, misfits in found.items() if misfits} == {}


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_moves_when_an_answer_comes(page: Browser, photo: Path, width: int) -> None:
    page.look_like(width, WIDTHS[width], still=False)
    time.sleep(0.2)
    page.evaluate("shifts.length = 0")
    page.choose_files("#file", [photo])
    page.wait(HEAT)
    time.sleep(0.6)  # as long as bars grow
    assert page.evaluate(SHIFTED) < 0.005, page.evaluate("shifts")


def test_only_what_is_needed_is_asked_for(page: Browser, server: Server, photo: Path) -> None:
    page.choose_files("#file", [photo])
    page.wait(HEAT)
    paths = [url.removeprefix(f"http://127.0.0.1:{server.port}/") for url in page.requests()]
    likeliest = page.evaluate("document.querySelector('button.bar').value").replace(" ", "+")
    explain = f"explain?class={likeliest}"
    assert sorted(paths) == ["", "classify", explain, "page.css", "page.js", "v1/models"]


@pytest.mark.slow
def test_a_new_version_answers_the_next_photograph(
    page: Browser, server: Server, folder: Path, photo: Path
) -> None:
    def newest() -> str:
        return str(server.get("/v1/models")[1]["models"][0]["versions"][0])

    shutil.copytree(folder / "1", folder / ".2")
    (folder / ".2").rename(folder / "2")
    until(lambda: newest() == "2", 60, "version 2")
    page.choose_files("#file", [photo])
    page.wait(HEAT)
    assert page.text("#detail").startswith("tiny, version 2, ")


@pytest.mark.parametrize(
    ("reply", "title", "detail", "again"),
    [
        (Reply(400, "This is no image."), "No answer", "This is no image.", False),
        (Reply(413, "Too many bytes."), "Too large", "Too many bytes.", False),
        (Reply(500, "It failed."), "No answer", "It failed.", True),
        (Reply(502), "No answer", "It answered 502 and gave no reason.", True),
        (Reply(503, "It is stopping."), "Not ready", "It is stopping.", True),
    ],
)
def test_troubles_are_told_plainly(
    browser: Browser,
    faulty: Faulty,
    drawn: list[Path],
    reply: Reply,
    title: str,
    detail: str,
    again: bool,
) -> None:
    faulty.replies["classify"] = [reply]
    go(browser, faulty)
    browser.choose_files("#file", drawn[:1])
    browser.wait(f"{STATE} === 'error'")
    assert (browser.text("#verdict"), browser.text("#detail")) == (title, detail)
    assert browser.evaluate("document.querySelector('#again').hidden") != again
    if again:
        browser.click("#again")
        browser.wait(HEAT)


@pytest.mark.parametrize("busy", [1, 3])
def test_a_busy_server_is_asked_again_for_a_while(
    browser: Browser, faulty: Faulty, drawn: list[Path], busy: int
) -> None:
    faulty.replies["classify"] = [Reply(429, "Wait.", {"Retry-After": "1"})] * busy
    go(browser, faulty)
    browser.choose_files("#file", drawn[:1])
    browser.wait("document.querySelector('#detail').textContent.includes('Asking again in 1 s')")
    browser.wait(f"{STATE} === '{'error' if busy == 3 else 'sure'}'")
    assert browser.text("#verdict") == ("Too busy" if busy == 3 else "daisy")


def test_a_server_that_is_not_ready_is_waited_for(
    browser: Browser, faulty: Faulty, drawn: list[Path]
) -> None:
    faulty.replies["v1/models"] = [Reply(503, "The model is being loaded.")]
    browser.open(faulty.address)
    browser.wait(f"{STATE} === 'error'")
    assert browser.text("#detail") == "The model is being loaded. Asking again by itself."
    browser.choose_files("#file", drawn[1:2])
    browser.wait(HEAT)
    assert browser.text("#verdict") == "roses"


def test_being_offline_is_told_and_ends_by_itself(
    browser: Browser, faulty: Faulty, drawn: list[Path]
) -> None:
    go(browser, faulty)
    browser.go_offline()
    try:
        browser.choose_files("#file", drawn[:1])
        browser.wait(f"{STATE} === 'error'")
        assert browser.text("#detail") == "You are offline."
    finally:
        browser.go_offline(False)
    browser.wait(FOUND)


def test_a_late_answer_stays_with_its_photograph(
    browser: Browser, faulty: Faulty, drawn: list[Path]
) -> None:
    let_go = faulty.hold(drawn[0].read_bytes())
    go(browser, faulty)
    browser.choose_files("#file", drawn[:1])
    browser.wait(f"{STATE} === 'busy'")
    browser.choose_files("#file", drawn[1:2])
    browser.wait(FOUND)
    let_go.set()
    browser.wait(f"{LABELS}[1].startsWith('daisy')")
    assert browser.text("#verdict") == "roses"
    browser.click("#strip li:nth-child(2) button")
    browser.wait(HEAT)
    assert browser.text("#verdict") == "daisy"


def test_a_late_answer_of_a_model_that_was_left_is_dropped(
    browser: Browser, drawn: list[Path]
) -> None:
    with Faulty(describe("slow", "a", "b"), describe("quick", "c", "d")) as faulty:
        let_go = faulty.hold("slow")
        go(browser, faulty)
        browser.choose_files("#file", drawn[:1])
        browser.wait(f"{STATE} === 'busy'")
        pick(browser, "quick")
        browser.wait(HEAT)
        let_go.set()
        time.sleep(0.5)
        assert browser.text("#detail").startswith("quick, version 2, ")
        assert browser.text("#command").endswith(f"{faulty.address}classify?model=quick'")


def test_odd_names_are_only_text(browser: Browser, drawn: list[Path]) -> None:
    with Faulty(describe("odd", *ODD)) as faulty:
        go(browser, faulty)
        browser.choose_files("#file", drawn[:1])
        for place, name in enumerate(ODD, 1):
            browser.wait(f"{FOUND} && {HEAT}")
            browser.click(f"li:nth-child({place}) > .bar")
            wanted = json.dumps(f"What spoke for \u2068{name}\u2069: most")
            browser.wait(f"document.querySelector('#heat').ariaLabel.startsWith({wanted})")
        assert browser.evaluate("document.querySelector('#verdict').textContent") == ODD[0]
        assert browser.evaluate("document.querySelectorAll('section :is(b, script)').length") == 0
        for width in (320, 1280):
            browser.look_like(width, WIDTHS[width])
            assert browser.misfits() == []
        assert browser.complaints() == []


@pytest.mark.parametrize(
    ("shares", "more", "kicker", "verdict"),
    [
        ([0.4, 0.35, 0.25], {"unsure": True}, "The model is unsure. Perhaps", "daisy"),
        ([0.9, 0.2, 0.6], {"many_labels": True}, "Its labels", "daisy, tulips"),
        ([0.3, 0.2, 0.0], {"many_labels": True}, "Its labels", "None"),
        ([0.9999, 0.0001, 0.0], {}, ">99.9%", "daisy"),
    ],
)
def test_what_an_answer_means_is_said(
    browser: Browser,
    faulty: Faulty,
    drawn: list[Path],
    shares: list[float],
    more: dict[str, bool],
    kicker: str,
    verdict: str,
) -> None:
    faulty.shares, faulty.more = shares, more
    go(browser, faulty)
    browser.choose_files("#file", drawn[:1])
    browser.wait(HEAT)
    assert (browser.text("#kicker"), browser.text("#verdict")) == (kicker, verdict)
    assert browser.misfits() == []


def test_many_classes_are_shown_on_demand(browser: Browser, drawn: list[Path]) -> None:
    with Faulty(describe("breeds", *(f"breed {number}" for number in range(120)))) as faulty:
        go(browser, faulty)
        browser.choose_files("#file", drawn[:1])
        browser.wait(HEAT)
        assert len(bars(browser)) == 10
        assert browser.text("#more") == "and 110 more"
        browser.click("#more")
        assert len(bars(browser)) == 120
        assert bars(browser)[119] == "breed 119 <0.1%"
        browser.click("#more")
        assert len(bars(browser)) == 10


def test_a_model_that_explains_nothing_says_so(browser: Browser, drawn: list[Path]) -> None:
    with Faulty(describe("blind", "a", "b", explains=False, accuracy=None)) as faulty:
        go(browser, faulty)
        browser.choose_files("#file", drawn[:1])
        browser.wait(FOUND)
        assert browser.text("#heat-note") == "This model cannot show what it looked at."
        assert browser.text("#accuracy") == "How often it is right was not measured."
        assert browser.evaluate("document.querySelectorAll('button.bar').length") == 0


def test_a_missing_heat_map_is_told_and_can_be_asked_for_again(
    browser: Browser, faulty: Faulty, drawn: list[Path]
) -> None:
    faulty.replies["explain"] = [Reply(500, "It failed.")]
    go(browser, faulty)
    browser.choose_files("#file", drawn[:1])
    browser.wait("document.querySelector('#heat-note').textContent.includes('It failed.')")
    assert browser.text("#verdict") == "daisy"
    browser.click("li:nth-child(1) > .bar")
    browser.wait(HEAT)


def test_twelve_photographs_are_kept(browser: Browser, faulty: Faulty, drawn: list[Path]) -> None:
    go(browser, faulty)
    browser.choose_files("#file", drawn)
    assert browser.text("#note") == "The first 12 of 13 were taken."
    browser.wait(f"{LABELS}.every((label) => /^(daisy|roses|tulips): /.test(label))")
    names = ["daisy", "roses", "tulips"] * 4
    wanted = [f"{name}: {number}.png" for number, name in enumerate(names)]
    assert browser.evaluate(LABELS) == wanted

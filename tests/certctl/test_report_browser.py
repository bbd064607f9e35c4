"""The report in a real browser: no console message, no request, and a PDF with text; skipped where there is no Chromium."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from small_bundles import prove, write_case

from certctl.cli.main import run
from certctl.report import browser, write_report
from certctl.view import open_view

CHROMIUM = browser.find_browser()
OWN = {"clients2.google.com", "update.googleapis.com", "accounts.google.com", "optimizationguide-pa.googleapis.com", "redirector.gvt1.com"}
"""Where Chromium itself asks for the time, updates and accounts, whatever page is open."""
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine; apt install chromium brings it")


def look(page: Path, folder: Path) -> tuple[str, list[str], Image.Image]:
    """What the browser logs, the URLs that it requests, and a screenshot of a page."""
    log, shot = folder / "net.json", folder / "shot.png"
    quiet = ["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--disable-default-apps", f"--user-data-dir={folder / 'profile'}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    done = subprocess.run([str(CHROMIUM), *quiet, "--enable-logging=stderr", f"--log-net-log={log}", "--net-log-capture-mode=Everything",
                           "--window-size=900,1500", f"--screenshot={shot}", page.resolve().as_uri()],
                          capture_output=True, text=True, timeout=180, check=True, stdin=subprocess.DEVNULL)
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    urls = sorted({str(e["params"]["url"]) for e in events if isinstance(e.get("params"), dict) and "url" in e["params"]})
    return done.stderr, urls, Image.open(shot).convert("RGB")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    requirement = write_case(folder / "policies")
    return write_report(open_view(prove(requirement), requirement), folder / "report.html", requirement)[0]


@needs_browser
def test_the_page_opens_without_a_message_and_without_a_request(page, tmp_path):
    log, urls, shot = look(page, tmp_path)
    assert "CONSOLE" not in log
    assert [url for url in urls if url.startswith(("http", "ws", "ftp")) and urlsplit(url).hostname not in OWN] == []
    colours = shot.getcolors(maxcolors=1 << 20)
    assert colours is not None and len(colours) > 50, "the picture and the verdict are drawn"


@needs_browser
def test_the_look_sees_a_message_and_a_request(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://127.0.0.1:9/absent.png"><script>console.error("broken")</script>', encoding="utf-8")
    log, urls, _ = look(bad, tmp_path)
    assert "CONSOLE" in log and "broken" in log and any(url.startswith("http://127.0.0.1:9/") for url in urls)


@needs_browser
def test_the_report_is_printed_as_pdf(page, tmp_path, capsys):
    bundle = page.parent / "policies" / "loop.cert"
    assert run(["report", str(bundle), "-o", str(tmp_path / "report.pdf")]) == 0
    data = (tmp_path / "report.pdf").read_bytes()
    assert data.startswith(b"%PDF") and len(data) > 20_000
    assert capsys.readouterr().out.splitlines()[-1].startswith("PROVED loop")


def test_without_a_browser_the_command_says_what_to_do(page, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(browser, "_NAMES", ())
    bundle = page.parent / "policies" / "loop.cert"
    assert run(["report", str(bundle), "-o", str(tmp_path / "report.pdf")]) == 2
    assert "needs Chromium" in capsys.readouterr().err and not (tmp_path / "report.pdf").exists()


def test_a_browser_that_fails_is_no_page(page, tmp_path, monkeypatch):
    monkeypatch.setattr(browser, "_NAMES", ("false",))
    with pytest.raises(browser.NoBrowser, match="did not print"):
        browser.print_pdf(page, tmp_path / "report.pdf")

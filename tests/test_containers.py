"""The containers of docs/recipes: their files, and the same services as processes."""

import asyncio
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from customers_async.cli.commands import app
from tests.test_emulator_lists import FIRST
from tests.test_recipes import RECIPES

CONTAINERS = RECIPES / "containers"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are those of a POSIX shell")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of compose.yaml."""
    services: dict[str, Any] = yaml.safe_load((CONTAINERS / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return services


def test_commands_of_the_services_exist(services: dict[str, Any]) -> None:
    """Each command line is one that the command, or uvicorn, understands."""
    assert services.keys() == {"emulator", "web", "export"}
    for service in services.values():
        program, *arguments = shlex.split(service["command"])
        if program == "customers-async":
            app.parse_args(arguments, print_error=False, exit_on_error=False)
        else:
            assert (program, arguments[0]) == ("uvicorn", "fastapi_app:app")


def test_services_find_one_another(services: dict[str, Any]) -> None:
    """By the emulator's name and port, with its token, over plain http that is allowed for that name only."""
    port = re.search(r"--port (\d+)", services["emulator"]["command"])
    assert port is not None
    for name in ("web", "export"):
        environment = services[name]["environment"]
        assert environment["CUSTOMERS_BASE_URL"] == f"http://emulator:{port[1]}"
        assert environment["CUSTOMERS_ALLOW_HTTP"] == "emulator"
        assert environment["CUSTOMERS_TOKEN"] == services["emulator"]["environment"]["CUSTOMERS_EMULATOR_TOKENS"]
        assert services[name]["depends_on"] == {"emulator": {"condition": "service_healthy"}}
    assert services["emulator"]["healthcheck"]["test"][0] == "CMD"


def test_ports_are_published_to_this_machine_only(services: dict[str, Any]) -> None:
    """The emulator's token is no secret."""
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_image_runs_without_privileges(services: dict[str, Any]) -> None:
    """Its files exist, its user is not root, and its data directory belongs to that user."""
    lines = (CONTAINERS / "Dockerfile").read_text(encoding="utf-8").splitlines()
    instructions = [line.split(maxsplit=1) for line in lines if line and line[0] not in "# "]
    assert instructions[0] == ["FROM", "python:3.11-slim"]
    for name, value in instructions:
        if name == "COPY":
            assert all((RECIPES / source).exists() for source in value.split()[:-1])
    assert ["USER", "app"] in instructions[-3:]
    assert {service["build"]["context"] for service in services.values()} == {".."}
    assert all((RECIPES / service["build"]["dockerfile"]).exists() for service in services.values())
    assert "chown app /data" in "".join(lines)
    assert services["export"]["volumes"] == ["exports:/data"]


# The services as processes

RESOLVER = """
import socket
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *args, **kwargs: resolve("127.0.0.1" if host == "emulator" else host, *args, **kwargs)
"""


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


@contextmanager
def composed(services: dict[str, Any], folder: Path) -> Iterator[tuple[str, str, "subprocess.Popen[str]"]]:
    """Run the emulator and the web service, then the export; yield both URLs and the export."""
    (folder / "sitecustomize.py").write_text(RESOLVER, encoding="utf-8")
    ports = {"8000": str(free_port()), "8080": str(free_port())}
    inherited = os.environ.get("PYTHONPATH")

    def start(service: str) -> "subprocess.Popen[str]":
        command = re.sub(r"\b80[08]0\b", lambda port: ports[port[0]], services[service]["command"])
        words = shlex.split(command.replace("/data/", f"{folder}/"))
        module = {"customers-async": "customers_async.cli"}.get(words[0], words[0])
        variables = {
            key: value.replace("8000", ports["8000"]) for key, value in services[service]["environment"].items()
        }
        return subprocess.Popen(  # noqa: S603  # our own programs
            [sys.executable, "-m", module, *words[1:]],
            cwd=RECIPES,
            env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join([f"{folder}", *filter(None, [inherited])])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    with ExitStack() as stack:
        for service, port in (("emulator", ports["8000"]), ("web", ports["8080"])):
            process = start(service)
            stack.callback(stop, process)
            wait_for_port(int(port))
        export = start("export")
        stack.callback(stop, export)
        yield f"http://127.0.0.1:{ports['8000']}", f"http://127.0.0.1:{ports['8080']}", export


def stop(process: "subprocess.Popen[str]") -> None:
    """End a process as ``docker stop`` does."""
    process.terminate()
    process.communicate(timeout=20)


def wait_for_port(port: int) -> None:
    """Wait until something listens on the port."""
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"nothing listens on port {port}")


@pytest.mark.slow
def test_services_work_together_as_processes(services: dict[str, Any], tmp_path: Path) -> None:
    """Under their own names: no look-up fails beside the export, which is complete, and none causes a 429."""
    control = {"Authorization": f"Bearer {services['emulator']['environment']['CUSTOMERS_EMULATOR_CONTROL_TOKEN']}"}

    async def use(emulator: str, web: str, export: "subprocess.Popen[str]") -> dict[str, Any]:
        async with aiohttp.ClientSession() as session:
            looked_up = 0
            while export.poll() is None:
                if looked_up < 80:
                    async with session.get(f"{web}/customers/{FIRST}") as response:
                        assert response.status == 200, await response.text()
                        looked_up += 1
                await asyncio.sleep(0.02)
            assert looked_up > 0
            async with session.get(f"{emulator}/_emulator/stats", headers=control) as response:
                stats: dict[str, Any] = await response.json()
                return stats

    with (
        composed(services, tmp_path) as (emulator, web, export),
        asyncio.Runner(debug=False, loop_factory=asyncio.SelectorEventLoop) as runner,
    ):
        stats = runner.run(use(emulator, web, export))
        assert export.returncode == 0, export.communicate()[1]
    assert (tmp_path / "customers.jsonl").read_bytes().count(b"\n") == 30_000
    assert stats["statuses"].keys() == {"200"}
    assert [*stats["rate_limit"]["addresses"]] == ["shared"]

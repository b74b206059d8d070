"""nginx as the service that the benchmarks read: it sends files, with the headers of the real service."""

import gzip
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.service import GZIP_PREFIX, LIMIT, PER_PAGE, Responses, Service

__all__ = ["is_installed", "run_nginx"]

_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  keepalive_requests 1000000;
  sendfile on;
  tcp_nopush on;
  default_type application/json;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $arg_page $has_more {{ {pages} false; default true; }}
  server {{
    listen 127.0.0.1:{port};
    add_header X-Api-Total {total};
    add_header X-Api-Per-Page {per_page};
    add_header X-Api-Current-Page $arg_page;
    add_header X-Api-Has-More-Pages $has_more;
    add_header X-RateLimit-Limit {limit};
    add_header X-RateLimit-Remaining {remaining};
    etag off;
    location = /api/v1/customers {{ alias {folder}/pages/$arg_page.json; }}
    location = {gzip}/api/v1/customers {{ gzip_static always; alias {folder}/pages/$arg_page.json; }}
  }}
}}
"""


def is_installed() -> bool:
    """Whether there is an nginx that this machine can run."""
    return shutil.which("nginx") is not None


@contextmanager
def run_nginx(*, pages: int) -> Iterator[Service]:
    """Run nginx with that many pages."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)  # the worker may run as another user
        (folder / "pages").mkdir()
        responses = Responses(pages)
        for number in range(1, pages + 1):
            body = responses.make_body(number)
            (folder / f"pages/{number}.json").write_bytes(body)
            (folder / f"pages/{number}.json.gz").write_bytes(gzip.compress(body))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        figures = {"total": pages * PER_PAGE, "per_page": PER_PAGE, "limit": LIMIT, "remaining": LIMIT - 1}
        configuration = folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(folder=folder, port=port, pages=pages, gzip=GZIP_PREFIX, **figures)
        )
        command = ["nginx", "-c", str(configuration), "-p", str(folder), "-e", str(folder / "error.log")]
        with subprocess.Popen(command) as nginx:  # noqa: S603  # a fixed command
            try:
                _wait_until_it_listens(port)
                yield Service(f"http://127.0.0.1:{port}")
            finally:
                nginx.terminate()


def _wait_until_it_listens(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("nginx does not listen")

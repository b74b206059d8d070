"""The control's page: HTML with forms, without scripts and without anything from elsewhere.

It shows uuids and no other customer data: the customers may be given ones.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any

from customers_async.emulator.faults import NAMED_FAULTS

__all__ = ["CONTENT_SECURITY_POLICY", "SHOWN_UUIDS", "render_page"]

SHOWN_UUIDS = 20
"""Customers whose uuids the page shows."""

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 64rem; margin: 0 auto; padding: 1rem; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem 2rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: .5rem 0; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .1rem 1rem .1rem 0; font-weight: normal; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
form { display: flex; flex-wrap: wrap; gap: .5rem; align-items: end; margin: .5rem 0; }
label { display: flex; flex-direction: column; font-size: .85rem; }
input, select, button { font: inherit; padding: .15rem .4rem; } input[type=number] { width: 7rem; }
.problem { border: 2px solid #c00; padding: .5rem 1rem; }
"""
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_FAULTS = (*NAMED_FAULTS, "204", "400", "401", "403", "404", "422", "429", "500", "503")
_FORMS = {
    "window": """
<form method="post" action="/_emulator/rate_limit">
<label>Requests <input type="number" name="limit" min="1" value="{limit}" required></label>
<label>Seconds <input name="window" inputmode="decimal" value="{window}" required></label>
<button>Change the limit</button>
</form>
<form method="post" action="/_emulator/expire_token">
<label>After requests <input type="number" name="after" min="0" value="0"></label>
<button>Expire the tokens</button>
</form>""",
    "faults": """
<form method="post" action="/_emulator/fail_next">
<label>Fault <input name="fault" list="faults" required></label>
<label>Times <select name="times"><option>1<option>2<option>5<option value="null">until removed</select></label>
<label>Page <input type="number" name="page" min="1"></label>
<label>After <input type="number" name="after" min="0"></label>
<button>Fail</button>
</form>
<form method="post" action="/_emulator/reset">
<input type="hidden" name="parts" value="faults"><button>Remove all faults</button>
</form>""",
    "list": """
<form method="post" action="/_emulator/mutate">
<label>Insert <input type="number" name="insert" min="0"></label>
<label>Delete <input type="number" name="delete" min="0"></label>
<label>At position <input type="number" name="at" min="0" value="0"></label>
<button>Change the list</button>
</form>
<form method="post" action="/_emulator/mutate">
<label>Touch the position <input type="number" name="touch" min="0" required></label>
<button>Touch</button>
</form>
<form method="post" action="/_emulator/mutate">
<label>Swap the position <input type="number" name="swap" min="0" required></label>
<label>with <input type="number" name="swap" min="0" required></label>
<button>Swap</button>
</form>""",
}


def render_page(state: Mapping[str, Any], uuids: Sequence[str], problem: str = "") -> str:
    """Return the page.

    Args:
        state: The document of ``/_emulator/stats``.
        uuids: The first customers of the list.
        problem: Why the last form was refused.
    """
    rate_limit = state["rate_limit"]
    changes = [script for script in state["pending"] if not script.startswith("fail_next")]
    sections = [
        _render_section(
            "Rate limit",
            _render_pairs({"limit": f"{rate_limit['limit']} in {rate_limit['window']:g} s"}),
            _render_rows(
                ("address", "remaining", "ends in"),
                (
                    (address, window["remaining"], f"{window['resets_in']} s")
                    for address, window in rate_limit["addresses"].items()
                ),
            ),
            _render_pairs({"valid tokens": state["valid_tokens"]}),
            _FORMS["window"].format(limit=rate_limit["limit"], window=f"{rate_limit['window']:g}"),
        ),
        _render_section(
            "Requests",
            _render_pairs({name: state[name] for name in ("requests", "admitted", "rejected", "in_flight")}),
            _render_rows(("status", "responses"), state["statuses"].items()),
            _render_items(state["latest"][::-1], "no request yet"),
            _render_pairs({"unexpected": len(state["unexpected"])}),
            _render_items(state["unexpected"][-5:], ""),
        ),
        _render_section("Faults", _render_items([*state["faults"], *changes], "none"), _FORMS["faults"]),
        _render_section(
            "List",
            _render_pairs({"customers": ", ".join(f"{total:,}" for total in state["totals"])}),
            _render_items(uuids, "no customer", first=0),
            _FORMS["list"],
        ),
    ]
    options = "".join(f'<option value="{name}">' for name in _FAULTS)
    notice = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Emulator of the customers service</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Emulator of the customers service</h1>
{notice}
<form method="get" action="/_emulator"><button>Refresh</button></form>
<form method="post" action="/_emulator/reset"><button>Reset everything</button></form>
<main>{"".join(sections)}
</main>
<datalist id="faults">{options}</datalist>
</body>
</html>
"""


def _render_section(title: str, *parts: str) -> str:
    return f"\n<section>\n<h2>{title}</h2>\n{''.join(parts)}\n</section>"


def _render_pairs(pairs: Mapping[str, object]) -> str:
    rows = (f"<tr><th>{escape(name.replace('_', ' '))}<td>{escape(str(value))}" for name, value in pairs.items())
    return f"<table>{''.join(rows)}</table>"


def _render_rows(names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td>{escape(str(value))}' for value in row)}" for row in rows)
    head = "".join(f"<th>{escape(name)}" for name in names)
    return f"<table><tr>{head}{cells}</table>" if cells else ""


def _render_items(items: Sequence[str], empty: str, first: int = 1) -> str:
    if not items:
        return f"<p>{empty}</p>" if empty else ""
    return f'<ol start="{first}">{"".join(f"<li>{escape(item)}" for item in items)}</ol>'

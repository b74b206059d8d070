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
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
header { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin-bottom: 1rem; }
h1 { font-size: 1.4rem; margin: 0 auto 0 0; }
h2 { font-size: 1.1rem; margin: 0 0 .5rem; }
h3 { font-size: .9rem; margin: .75rem 0 .25rem; }
main { columns: 2 24rem; column-gap: 1rem; }
section { border: 1px solid #8886; border-radius: .5rem; padding: .75rem 1rem; margin: 0 0 1rem; break-inside: avoid; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .1rem 1.5rem .1rem 0; font-weight: normal; }
th, label { color: color-mix(in srgb, CanvasText 70%, Canvas); }
ol { margin: 0; padding-left: 2rem; font: .87rem/1.5 ui-monospace, monospace; }
form { display: flex; flex-wrap: wrap; gap: .5rem; align-items: end; }
section form { border-top: 1px solid #8884; margin-top: .75rem; padding-top: .75rem; }
label { display: flex; flex-direction: column; font-size: .85rem; }
input, select, button { font: inherit; box-sizing: border-box; height: 2rem; padding: 0 .5rem; }
input, select { width: 7rem; }
[name=fault], [name=path] { width: 12rem; }
meter { width: 6rem; }
.problem { border: 2px solid #c00; border-radius: .5rem; padding: .5rem 1rem; }
"""
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_FAULTS = (*NAMED_FAULTS, "204", "400", "401", "403", "404", "422", "429", "500", "503")
_FORMS = {
    "rate limit": """
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
<label>Requests <select name="times"><option>1<option>2<option>5<option value="null">all</select></label>
<label>Path <input name="path" placeholder="any"></label>
<label>Page <input type="number" name="page" min="1" placeholder="any"></label>
<label>After requests <input type="number" name="after" min="0" value="0"></label>
<button>Let them fail</button>
</form>
<form method="post" action="/_emulator/reset">
<input type="hidden" name="parts" value="faults"><button>Remove all faults</button>
</form>""",
    "list": """
<form method="post" action="/_emulator/mutate">
<label>Insert <input type="number" name="insert" min="0"></label>
<label>Delete <input type="number" name="delete" min="0"></label>
<label>At position <input type="number" name="at" min="0" value="0"></label>
<label>Before page <input type="number" name="page" min="1" placeholder="now"></label>
<button>Change the list</button>
</form>
<form method="post" action="/_emulator/mutate">
<label>Position <input type="number" name="touch" min="0" required></label>
<button>Touch</button>
</form>
<form method="post" action="/_emulator/mutate">
<label>Position <input type="number" name="swap" min="0" required></label>
<label>Position <input type="number" name="swap" min="0" required></label>
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
    changes = [script for script in state["pending"] if not script.startswith("fail_next")]
    requests = {name: state[name] for name in ("requests", "admitted", "rejected", "in_flight")}
    statuses = {f"status {status}": count for status, count in state["statuses"].items()}
    sections = [
        _render_section("Rate limit", _render_rate_limit(state["rate_limit"], state["valid_tokens"])),
        _render_section(
            "Requests",
            _render_pairs(requests | statuses),
            _render_items("Latest responses", state["latest"][::-1]),
            _render_items(f"Unexpected: {len(state['unexpected'])}", state["unexpected"][-5:]),
        ),
        _render_section("Faults", _render_items("Scripted", [*state["faults"], *changes]), _FORMS["faults"]),
        _render_section("List", _render_list(state["totals"], uuids)),
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
<header>
<h1>Emulator of the customers service</h1>
<form method="get" action="/_emulator"><button>Refresh</button></form>
<form method="post" action="/_emulator/reset"><button>Reset everything</button></form>
</header>
{notice}
<main>{"".join(sections)}
</main>
<datalist id="faults">{options}</datalist>
</body>
</html>
"""


def _render_section(title: str, *parts: str) -> str:
    return f"\n<section>\n<h2>{title}</h2>\n{''.join(parts)}\n</section>"


def _render_rate_limit(rate_limit: Mapping[str, Any], valid_tokens: int) -> str:
    limit, window = rate_limit["limit"], f"{rate_limit['window']:g}"
    addresses = "".join(
        f"<tr><td>{escape(address)}<td>{state['remaining']:,}"
        f'<td><meter min="0" max="{limit}" value="{state["remaining"]}"></meter><td>{state["resets_in"]} s'
        for address, state in rate_limit["addresses"].items()
    )
    return "".join(
        (
            _render_pairs({"limit": f"{limit:,} requests in {window} s", "valid tokens": valid_tokens}),
            f"<table><tr><th>address<th>remaining<th><th>ends in{addresses}</table>" if addresses else "",
            _FORMS["rate limit"].format(limit=limit, window=window),
        )
    )


def _render_list(totals: Sequence[int], uuids: Sequence[str]) -> str:
    first, *others = (f"{total:,}" for total in totals)
    pairs = {"customers": first, **({"of other tokens": "; ".join(others)} if others else {})}
    return f"{_render_pairs(pairs)}{_render_items('First customers', uuids, start=0)}{_FORMS['list']}"


def _render_pairs(pairs: Mapping[str, object]) -> str:
    rows = (f"<tr><th>{escape(name.replace('_', ' '))}<td>{escape(str(value))}" for name, value in pairs.items())
    return f"<table>{''.join(rows)}</table>"


def _render_items(title: str, items: Iterable[str], start: int = 1) -> str:
    rows = "".join(f"<li>{escape(item)}" for item in items)
    return f'<h3>{title}</h3><ol start="{start}">{rows}</ol>' if rows else ""

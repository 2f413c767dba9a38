"""A namespace's graph as one HTML page that needs nothing else: the drawing, a legend, and every DoT with its times."""

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Final

from cli import ui
from cli.graph import Plan, right_texts
from cli.svg import draw
from wave.times import instant_text, span_text

if TYPE_CHECKING:
    from wave.agent.wire import Edge

_STYLE: Final = """
    :root { color-scheme: light }
    body { margin: 0; padding: 24px 32px 48px; background: #fbfcfd; color: #1f2933; line-height: 1.45;
           font-family: system-ui, "Segoe UI", Helvetica, Arial, "DejaVu Sans", sans-serif }
    h2 { font-size: 16px; margin: 32px 0 8px }
    .drawing { overflow-x: auto; border: 1px solid #e4e7eb; border-radius: 10px }
    dl { display: grid; grid-template-columns: max-content 1fr; gap: 6px 14px; font-size: 14px; margin: 8px 0 }
    dt { font-weight: 600 } dd { margin: 0; color: #52606d }
    .line { display: inline-block; width: 34px; border-top: 2px solid #2f7d6b; vertical-align: middle }
    .waits .line { border-color: #b7791f; border-top-style: dotted }
    .dead .line { border-color: #b8bec6; border-top-style: dashed }
    table { border-collapse: collapse; font-size: 13px; width: 100% }
    th, td { text-align: left; vertical-align: top; padding: 7px 14px 7px 0; border-bottom: 1px solid #e4e7eb }
    th { color: #616e7c; font-weight: 600 } td.when { white-space: nowrap }
    tr.dead td { color: #8b95a1 } tr.dead .what { text-decoration: line-through }
    .valid .state { color: #2f7d6b } .waits .state { color: #b7791f } .dead .state { color: #b03a2e }
    code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 11px; color: #7b8794 }
"""
_LEGEND: Final = (
    ("valid", "a DoT that holds now: the left one gives, the right one receives"),
    ("waits", "a DoT that does not hold yet"),
    ("dead", "a DoT that was revoked, or has expired"),
)


def page(plan: Plan, *, now: int) -> str:
    """Return the page of ``plan``, made at ``now`` (UTC seconds)."""
    return "\n".join(_lines(plan, now)) + "\n"


def _lines(plan: Plan, now: int) -> Iterator[str]:
    title = f"Who holds what in {plan.name(plan.namespace)}"
    yield "<!DOCTYPE html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>"
    yield f'<div class="drawing">{draw(plan, now=now)}</div>'
    yield "<h2>Legend</h2><dl>"
    for kind, meaning in _LEGEND:
        yield f'<dt class="{kind}"><span class="line"></span></dt><dd>{meaning}</dd>'
    yield "<dt>N hops</dt><dd>so often may what is received be handed on</dd></dl>"
    yield f"<h2>The {len(plan.edges)} DoTs</h2>" if plan.edges else "<p>Nothing was given.</p>"
    if plan.edges:
        heads = ("From", "To", "What", "Hops", "Since", "Until", "State", "Comment")
        yield f"<table><thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>"
        for edge in plan.edges:
            yield _row(plan, edge, now)
        yield "</tbody></table>"
    yield "</body></html>"


def _row(plan: Plan, edge: "Edge", now: int) -> str:
    kind = "valid" if edge.state == "valid" else "waits" if edge.state == "not yet valid" else "dead"
    left = f" (in {span_text(edge.expires - now)})" if kind != "dead" else ""
    what = "<br>".join(map(_text, right_texts(edge, plan)))
    return (
        f'<tr class="{kind}"><td>{_text(plan.name(edge.giver))}</td><td>{_text(plan.name(edge.receiver))}</td>'
        f'<td><span class="what">{what}</span><br><code>{_text(edge.dot)}</code></td><td>{edge.indirections}</td>'
        f'<td class="when">{instant_text(edge.created)}</td><td class="when">{instant_text(edge.expires)}{left}</td>'
        f'<td class="state">{_text(edge.state)}</td><td>{_text(edge.comment)}</td></tr>'
    )


def _text(text: str) -> str:
    return escape(ui.plain(text))

"""Latency against load: the measurement of several servers at several rates, and its section of a report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from openbei.load.client import run
from openbei.load.generator import LoadResult, Schedule, capacity, is_success, run_open_loop
from openbei.load.server import Server
from openbei.report.page import Section, Table
from openbei.report.svg import Chart, Line

PERCENTILES = (50, 90, 99, 99.9)

SHARES = (0.1, 0.25, 0.5, 0.7, 0.85, 0.95, 1.1)
"""Default rates, as shares of the measured capacity."""

CAPACITY_CONNECTIONS = 32

COLUMNS = [
    *("server", "offered /s", "achieved /s"),
    *(f"p{percent:g} ms" for percent in PERCENTILES),
    *("errors", "client lag p99 ms", "client CPU"),
]

METHOD = (
    "Requests arrive at random times (a Poisson process), whether or not earlier ones have been answered. Latency is "
    "counted from the scheduled time of a request to the end of its response, so waiting is never left out. Timeouts "
    "count with the time waited; other errors have no latency. At rates above the capacity, the queue grows until the "
    "test ends, and latencies depend on its length."
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to send: `rates` in requests per second (empty: shares of each server's capacity), times in seconds."""

    rates: Sequence[float]
    seconds: float
    warmup: float
    timeout: float
    max_connections: int
    texts: Sequence[str]
    texts_per_request: int


@dataclass(frozen=True)
class Curve:
    """The results of a server, by rising rate."""

    label: str
    results: list[LoadResult] = field(default_factory=list)


def measure(servers: Sequence[Server], plan: Plan, log: Callable[[str], None]) -> list[Curve]:
    """Measure all servers at each rate by turns; `log` gets a line before each step.

    Raises InputError if a server cannot be reached, or answers no request.
    """
    requests = [server.requests(plan.texts, plan.texts_per_request) for server in servers]
    rates = [_rates(*pair, plan, log) for pair in zip(servers, requests, strict=True)]
    curves = [Curve(server.label) for server in servers]
    for step in range(len(rates[0])):
        for i, server in enumerate(servers):
            rate = rates[i][step]
            log(f"{server.label}: {rate:.3g} requests/s for {plan.seconds:g} s")
            schedule = Schedule.poisson(rate, plan.seconds, warmup=plan.warmup, seed=step)
            loop = run_open_loop(
                server,
                requests[i],
                schedule,
                timeout=plan.timeout,
                max_connections=plan.max_connections,
            )
            curves[i].results.append(run(loop))
    return curves


def _rates(server: Server, requests: Iterator[bytes], plan: Plan, log: Callable[[str], None]) -> list[float]:
    """The rates to measure. The capacity is measured in any case, which warms the server up."""
    num_connections = min(CAPACITY_CONNECTIONS, plan.max_connections)
    log(f"{server.label}: capacity with {num_connections} connections")
    most = run(capacity(server, requests, seconds=plan.seconds / 4, num_connections=num_connections))
    log(f"{server.label}: {most:.3g} requests/s")
    return sorted(plan.rates) or [most * share for share in SHARES]


def section(curves: Sequence[Curve], texts_per_request: int) -> Section:
    """Charts and a table of the results."""
    table = Table(COLUMNS, [_row(curve.label, result) for curve in curves for result in curve.results])
    paragraphs = [METHOD, _about_client(curves)]
    charts = [*_latency_charts(curves), _rate_chart(curves, texts_per_request)]
    return Section("Latency against load", table, charts, paragraphs)


def _row(label: str, result: LoadResult) -> list[str]:
    errors = [f"{name}: {count}" for name, count in result.outcomes.items() if not is_success(name)]
    return [
        label,
        f"{result.offered_rate:,.1f}",
        f"{result.achieved_rate:,.1f}",
        *map(_milliseconds, (result.percentile(percent) for percent in PERCENTILES)),
        ", ".join(errors) or "0",
        f"{1e3 * result.lag:.2f}{' (!)' if result.is_client_limited else ''}",
        f"{result.cpu:.0%}",
    ]


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e3 * seconds:,.2f}"


def _about_client(curves: Sequence[Curve]) -> str:
    """Whether the client itself limited a result, and how many requests waited for a connection."""
    places = [
        (f"{curve.label} at {result.offered_rate:,.1f}/s", result) for curve in curves for result in curve.results
    ]
    limited = [place for place, result in places if result.is_client_limited]
    waits = [f"{place} ({result.num_waits:,})" for place, result in places if result.num_waits]
    text = "The client's own lag, from the scheduled time to its start on a request, is part of the latencies. "
    if limited:
        text += f"At the rates marked (!), the client was too slow or short of CPU time: {'; '.join(limited)}. "
    else:
        text += "The client was fast enough at all rates. "
    if waits:
        text += f"Requests waited for a connection, because all were in use: {'; '.join(waits)}. "
    return text + "A dash means too few requests for this percentile."


def _latency_charts(curves: Sequence[Curve]) -> list[Chart]:
    """One chart of all percentiles for one server, or a chart of the servers for each of two percentiles."""
    if len(curves) == 1:
        lines = [_latency_line(curves[0], percent, f"p{percent:g}") for percent in PERCENTILES]
        return [_latency_chart(f"Latency of {curves[0].label} by offered rate", lines)]
    return [
        _latency_chart(
            f"{percent}th percentile of latency by offered rate",
            [_latency_line(curve, percent, curve.label) for curve in curves],
        )
        for percent in (50, 99)
    ]


def _latency_line(curve: Curve, percent: float, name: str) -> Line:
    measured = ((result.offered_rate, result.percentile(percent)) for result in curve.results)
    return Line(name, [(rate, 1e3 * seconds) for rate, seconds in measured if seconds is not None])


def _latency_chart(title: str, lines: list[Line]) -> Chart:
    ends = [f"{line.name} {line.points[0][1]:.3g} to {line.points[-1][1]:.3g} ms" for line in lines if line.points]
    return Chart(
        title=title,
        description=f"From the lowest to the highest rate: {'; '.join(ends)}. The table has all values.",
        x_label="offered rate, requests per second",
        y_label="latency, ms",
        lines=[line for line in lines if line.points],
        is_log_y=True,
    )


def _rate_chart(curves: Sequence[Curve], texts_per_request: int) -> Chart:
    lines = [Line(curve.label, [(r.offered_rate, r.achieved_rate) for r in curve.results]) for curve in curves]
    highest = max(result.offered_rate for curve in curves for result in curve.results)
    most = [f"{c.label} at most {max(r.achieved_rate for r in c.results):,.1f}" for c in curves]
    texts = "1 text" if texts_per_request == 1 else f"{texts_per_request} texts"
    return Chart(
        title="Achieved rate by offered rate",
        description=f"Successful requests per second: {'; '.join(most)}. The table has all values.",
        x_label=f"offered rate, requests per second ({texts} each)",
        y_label="achieved rate, requests per second",
        lines=[*lines, Line("offered", [(0.0, 0.0), (highest, highest)], is_reference=True)],
    )

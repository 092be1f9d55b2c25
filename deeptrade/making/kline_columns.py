"""Which column of a file is what: names of many origins, and the orders in which exchanges write unnamed columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import DataError
from .kline_times import is_clock, is_time

COLUMNS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
"""The twelve columns of the exchange's archives; a file without a header has these, or the first six or seven."""

CHANNELS = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
)
"""The channels of a window; a source that lacks one of the last four gives the first five."""

_NAMES = {
    "open": "open o openprice priceopen 1open opening",
    "high": "high h highprice pricehigh 2high max",
    "low": "low l lowprice pricelow 3low min",
    "close": "close c closeprice priceclose 4close closing closelast last",
    "volume": "volume vol v basevolume volumebase basevol tickvol tickvolume volumetraded 5volume baseassetvolume",
    "quote_volume": "quotevolume quoteassetvolume quoteav qav quotevol volumequote turnover volccyquote volumecurrency",
    "count": "count numberoftrades numtrades trades tradecount n transactions tradescount numberoftrade nbtrades",
    "taker_buy_volume": "takerbuyvolume takerbuybaseassetvolume takerbuybasevolume tbbaseav tbbav takerbuybase "
    "takerbasevol takerbuybasevol takerbasevolume",
    "taker_buy_quote_volume": "takerbuyquotevolume takerbuyquoteassetvolume tbquoteav tbqav takerbuyquote "
    "takerquotevol takerbuyquotevol takerquotevolume",
    "symbol": "symbol ticker pair instrument instrumentid productid tic asset currencypair",
}
_BY_NAME = {spelling: name for name, spellings in _NAMES.items() for spelling in spellings.split()}
_PRICES = CHANNELS[:4]

_TIME_NAMES = (
    "opentime unix unixtimestamp unixtime epoch timestamp opentimestamp mts ts t starttime startat start windowstart "
    "timeperiodstart periodstart timeopen begin gmttime utctime timeutc timestamputc datetimeutc localtime datetime "
    "dateandtime date time dt candlebegintime bucket tsevent"
)
_TIMES = tuple(_TIME_NAMES.split())
"""Names of the open time, the most exact first: of several the first is used and the others are left out."""


_FLAGS = frozenset(
    [
        "confirm",
        "confirmed",
        "closed",
        "isclosed",
        "windowclose",
        "isfinal",
        "final",
        "complete",
        "iscomplete",
        "x",
        "kx",
    ]
)
"""Names of a column that is false, or 0, in a bar still open: OKX, Gate, Oanda, and the streams of Binance (x)."""


@dataclass(frozen=True)
class Roles:
    """Which column, by position, is what. `clock` stands beside a column of dates; `symbol` names the market; `closed`
    tells bars that are complete from one still open."""

    time: int
    clock: int | None
    symbol: int | None
    channels: dict[str, int]
    names: tuple[str, ...]
    left_out: tuple[str, ...] = field(default=())
    closed: int | None = None


def plain_name(name: str) -> str:
    """Return a name as the tables of names spell it: lower case, letters and digits alone.

    >>> plain_name("<Open Time>"), plain_name("Volume_(BTC)")
    ('opentime', 'volumebtc')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


def price_names(cells: Sequence[str]) -> int:
    """Return how many of the four prices the cells of a line name."""
    return len({_BY_NAME.get(plain_name(cell)) for cell in cells} & set(_PRICES))


def find_roles(names: Sequence[str] | None, sample: Sequence[Sequence[str]], file: str) -> Roles:
    """Return the roles of the columns of a file. Raises DataError that names a column missing or there twice."""
    return _unnamed(sample, file) if names is None else _named(names, sample, file)


def _named(names: Sequence[str], sample: Sequence[Sequence[str]], file: str) -> Roles:
    found: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        found.setdefault(_role(name), []).append(index)
    _prefer_huobi(found, names)
    _prefer_base_volume(found, names, sample)
    for role, indices in found.items():
        if role in (*CHANNELS, *_TIMES, "symbol") and len(indices) > 1:
            first, second = (names[index] for index in indices[:2])
            as_well = "" if first == second else f", as {first!r} and {second!r}"
            raise DataError(f"{file}: column {role!r} is there twice{as_well}; rename or remove one of them")
    missing = [name for name in CHANNELS[:5] if name not in found]
    times = [found[name][0] for name in _TIMES if name in found]
    if missing or not times:
        wanted = missing[0] if missing else "open_time"
        raise DataError(
            f"{file} has no column {wanted!r} among {', '.join(names):.100}; expected at least open_time, open, high, "
            f"low, close, volume: rename the column that holds it"
        )
    channels = {name: found[name][0] for name in CHANNELS if name in found}
    channels = channels if len(channels) == len(CHANNELS) else {name: channels[name] for name in CHANNELS[:5]}
    time, clock = _date_and_clock(found, times, sample)
    symbol = found["symbol"][0] if "symbol" in found else None
    closed = _flag(names, sample)
    used = {time, clock, symbol, closed, *channels.values()}
    left_out = tuple(
        name or f"column {i + 1}" for i, name in enumerate(names) if i not in used and not _is_index(i, name)
    )
    return Roles(time, clock, symbol, channels, tuple(names), left_out, closed)


def _flag(names: Sequence[str], sample: Sequence[Sequence[str]]) -> int | None:
    """The column that marks closed bars, known by its name and by cells that are true, false, 0 or 1 alone."""
    for index, name in enumerate(names):
        words = ("true", "false") if plain_name(name) in ("x", "kx") else ("true", "false", "0", "1", "0.0", "1.0")
        if plain_name(name) in _FLAGS and all(row[index].lower() in words for row in sample if len(row) > index):
            return index
    return None


def _is_index(index: int, name: str) -> bool:
    """Whether a first column without a name numbers the rows, as pandas writes it."""
    return index == 0 and name in ("", "Unnamed: 0", "__index_level_0__")


def _role(name: str) -> str:
    plain = plain_name(name)
    if plain in _BY_NAME:
        return _BY_NAME[plain]
    if plain in _TIMES:
        return plain
    return "coin_volume" if re.match(r"volume[\W_]*\w", name.strip().lower()) else ""


def _prefer_huobi(found: dict[str, list[int]], names: Sequence[str]) -> None:
    """HTX (Huobi) names the time `id`, the volume `amount` and the turnover `vol`."""
    plain = [plain_name(name) for name in names]
    if {"id", "amount", "vol", "count"} <= set(plain):
        found["ts"], found["volume"] = [plain.index("id")], [plain.index("amount")]
        found["quote_volume"] = [plain.index("vol")]


def _prefer_base_volume(found: dict[str, list[int]], names: Sequence[str], sample: Sequence[Sequence[str]]) -> None:
    """Of `Volume BTC`, `Volume USDT` that of the coin with which the symbol begins, else the first; of ticks and volume
    the ticks."""
    coins = found.pop("coin_volume", [])
    if "volume" not in found and coins:
        symbol = plain_name(sample[0][found["symbol"][0]]) if "symbol" in found else ""
        own = [index for index in coins if symbol.startswith(plain_name(names[index]).removeprefix("volume"))]
        found["volume"] = (own or coins)[:1]
    ticks = [index for index in found.get("volume", []) if plain_name(names[index]) in ("tickvol", "tickvolume")]
    if len(ticks) == 1:
        found["volume"] = ticks


def _date_and_clock(
    found: dict[str, list[int]], times: list[int], sample: Sequence[Sequence[str]]
) -> tuple[int, int | None]:
    """The column of times; where the date stands in one and the time of day in another, both."""
    date = next((found[name][0] for name in ("date", "dt") if name in found), None)
    clock = next((found[name][0] for name in ("time", "timestamp") if name in found), None)
    if date is None or clock is None or times[0] not in (date, clock):
        return times[0], None
    if is_clock(sample[0][clock]) and ":" not in sample[0][date]:
        return date, clock
    is_whole = is_time(sample[0][clock]) or len(sample[0][clock].replace(".", "")) >= 10
    return (clock, None) if is_whole else (times[0], None)


UNNAMED_ORDERS = {
    6: COLUMNS[:6],
    7: COLUMNS[:6],
    12: COLUMNS,
}
"""What the columns of a file without a header are, by their number; a seventh one is left out."""

_KNOWN_WIDTHS = {
    5: "Bitstamp's time, high, low, open, close? A volume is needed",
    8: "Kraken writes time, open, high, low, close, vwap, volume, count; Gate time, quote volume, close, high, low, "
    "open, volume, closed",
    9: "OKX writes time, open, high, low, close, vol, volCcy, volCcyQuote, confirm",
    11: "the archives have twelve",
}


def _unnamed(sample: Sequence[Sequence[str]], file: str) -> Roles:
    first = list(sample[0])
    while first and not first[-1] and len(first) not in UNNAMED_ORDERS:
        first.pop()
    width = len(first)
    if width in (7, 8) and is_clock(first[1]) and ":" in first[1]:  # MetaTrader 4: date, time, prices, volume
        names = ("date", "time", *COLUMNS[1:6], "column 8")[:width]
        return Roles(0, 1, None, {name: index + 2 for index, name in enumerate(CHANNELS[:5])}, names, names[7:])
    if width not in UNNAMED_ORDERS:
        hint = f" ({_KNOWN_WIDTHS[width]})" if width in _KNOWN_WIDTHS else ""
        raise DataError(
            f"{file} has no header and {width} columns; 6 or 12 are known without one{hint}: put a line with the "
            f"names above, such as open_time,open,high,low,close,volume"
        )
    order = UNNAMED_ORDERS[width]
    names = tuple(order[index] if index < len(order) else f"column {index + 1}" for index in range(width))
    wanted = CHANNELS if width == len(COLUMNS) else CHANNELS[:5]
    channels = {name: names.index(name) for name in wanted}
    used = {0, *channels.values()}
    return Roles(0, None, None, channels, names, tuple(name for i, name in enumerate(names) if i not in used))

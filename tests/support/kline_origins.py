"""The same bars as files of many origins: what docs/data.md lists, row by row."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

START = pd.Timestamp("2024-03-04", tz="UTC")
ARCHIVE = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def make_bars(bars=900, minutes=5, seed=1) -> pd.DataFrame:
    """Bars as numbers of four digits: time (UTC), open, high, low, close, volume, and the archives' other columns."""
    generator = np.random.default_rng(seed)
    close = (100 * np.exp(generator.normal(0, 1e-3, bars).cumsum())).round(4)
    opened = np.concatenate([[100.0], close[:-1]])
    table = pd.DataFrame(
        {
            "time": START + pd.to_timedelta(minutes * np.arange(bars), unit="min"),
            "open": opened,
            "high": (np.maximum(opened, close) + generator.random(bars) * 0.05 + 0.0001).round(4),
            "low": (np.minimum(opened, close) - generator.random(bars) * 0.05 - 0.0001).round(4),
            "close": close,
            "volume": generator.lognormal(3, 1, bars).round(3),
        }
    )
    table["ms"] = epoch(table["time"], "ms")
    table["close_ms"] = table["ms"] + minutes * 60_000 - 1
    table["quote"] = (table["volume"] * table["close"]).round(3)
    table["count"] = (table["volume"] * 3).astype(int)
    table["taker"] = (table["volume"] / 2).round(3)
    table["taker_quote"] = (table["quote"] / 2).round(3)
    return table


def epoch(times: pd.Series, unit: str = "s") -> pd.Series:
    return times.dt.tz_localize(None).astype(f"datetime64[{unit}]").astype("int64")


def archive(bars: pd.DataFrame, *, header: str | None = ARCHIVE, width: int = 12) -> str:
    columns = ["ms", *["open", "high", "low", "close", "volume", "close_ms", "quote", "count", "taker", "taker_quote"]]
    table = bars[columns].assign(ignore=0).iloc[:, :width]
    return ("" if header is None else header + "\n") + table.to_csv(index=False, header=False)


def lines(bars: pd.DataFrame, form: str, header: str = "", clock: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A line per bar by a format string over its fields; `clock` is how {when} is written, {s} are epoch seconds."""
    whens = bars["time"].dt.strftime(clock)
    rows = zip(bars.to_dict("records"), whens, epoch(bars["time"]), strict=True)
    body = "".join(form.format(**row, when=when, s=second) + "\n" for row, when, second in rows)
    return (header + "\n" if header else "") + body


def _zip(text: str, member: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(member, text)
    return content.getvalue()


def _feather(bars: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    bars.rename(columns={"time": "date"})[["date", "open", "high", "low", "close", "volume"]].to_feather(content)
    return content.getvalue()


def _parquet(bars: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    bars.set_index("time")[["open", "high", "low", "close", "volume"]].to_parquet(content)
    return content.getvalue()


def _arrays(bars: pd.DataFrame, columns: str) -> list[list]:
    return [list(row) for row in bars[columns.split()].itertuples(index=False)]


def _texts(rows: list[list]) -> list[list]:
    """All but the time as text, as most exchanges answer."""
    return [[row[0], *map(str, row[1:])] for row in rows]


def _metatrader(bars: pd.DataFrame) -> str:
    names = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"
    return lines(bars, "{when}\t{open}\t{high}\t{low}\t{close}\t{volume}\t0\t2", names, "%Y.%m.%d\t%H:%M:%S")


@dataclass(frozen=True)
class Origin:
    """A kind of file: its name, how bars are written in it, how many channels are read, and which columns are not."""

    name: str
    file: str
    write: Callable[[pd.DataFrame], str | bytes]
    channels: int = 5
    left_out: str = ""

    def to(self, folder: Path, bars: pd.DataFrame) -> Path:
        path = folder / self.file
        content = self.write(bars)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


OHLCV = "{open},{high},{low},{close},{volume}"
ORIGINS = (
    Origin("exchange archive", "BTCUSDT-5m-2024-03.csv", archive, 9, "close_time, ignore"),
    Origin(
        "exchange archive without a header",
        "BTCUSDT-5m-2024-03-04.csv",
        lambda bars: archive(bars, header=None),
        9,
        "close_time, ignore",
    ),
    Origin(
        "exchange archive, zip",
        "BTCUSDT-5m.zip",
        lambda bars: _zip(archive(bars), "BTCUSDT-5m.csv"),
        9,
        "close_time, ignore",
    ),
    Origin("six columns", "six.csv.GZ", lambda bars: gzip.compress(archive(bars, header=None, width=6).encode())),
    Origin(
        "python-binance and Kaggle",
        "kaggle.csv",
        lambda bars: archive(
            bars,
            header="Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades,"
            "Taker buy base asset volume,Taker buy quote asset volume,Ignore",
        ),
        9,
        "Close time, Ignore",
    ),
    Origin("ccxt", "ccxt.csv", lambda bars: archive(bars, header="timestamp,open,high,low,close,volume", width=6)),
    Origin(
        "freqtrade JSON",
        "BTC_USDT-5m.json",
        lambda bars: json.dumps(_arrays(bars, "ms open high low close volume")),
    ),
    Origin("freqtrade Feather", "BTC_USDT-5m.feather", _feather),
    Origin("pandas Parquet with the time as index", "bars.parquet", _parquet),
    Origin(
        "CryptoDataDownload",
        "Binance_BTCUSDT_5m.csv",
        lambda bars: lines(
            bars[::-1],
            "{s},{when},BTCUSDT," + OHLCV + ",{quote},{count}",
            "https://www.CryptoDataDownload.com\n"
            "Unix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount",
        ),
        5,
        "Date, Volume USDT, tradecount",
    ),
    Origin(
        "MetaTrader 4",
        "EURUSD5.csv",
        lambda bars: lines(bars, "{when}," + OHLCV, clock="%Y.%m.%d,%H:%M"),
    ),
    Origin("MetaTrader 5", "EURUSD_M5.csv", _metatrader, 5, "<VOL>, <SPREAD>"),
    Origin(
        "stooq",
        "eurusd.txt",
        lambda bars: lines(
            bars,
            "EURUSD,5,{when}," + OHLCV + ",0",
            "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>",
            "%Y%m%d,%H%M%S",
        ),
        5,
        "<PER>, <OPENINT>",
    ),
    Origin(
        "yfinance",
        "yfinance.csv",
        lambda bars: lines(
            bars,
            "{when},{open},{high},{low},{close},{close},{volume}",
            "Datetime,Open,High,Low,Close,Adj Close,Volume",
            "%Y-%m-%d %H:%M:%S+00:00",
        ),
        5,
        "Adj Close",
    ),
    Origin(
        "yfinance, three lines of names",
        "yf.csv",
        lambda bars: lines(
            bars,
            "{when},{close},{high},{low},{open},{volume}",
            "Price,Close,High,Low,Open,Volume\nTicker,BTC-USD,BTC-USD,BTC-USD,BTC-USD,BTC-USD\nDatetime,,,,,",
        ),
    ),
    Origin(
        "Coinbase with names",
        "coinbase.csv",
        lambda bars: lines(bars[::-1], "{s},{low},{high},{open},{close},{volume}", "time,low,high,open,close,volume"),
    ),
    Origin(
        "Bitfinex with names",
        "bitfinex.csv",
        lambda bars: lines(bars, "{ms},{open},{close},{high},{low},{volume}", "MTS,OPEN,CLOSE,HIGH,LOW,VOLUME"),
    ),
    Origin(
        "Gate with names",
        "gate.csv",
        lambda bars: lines(bars, "{s},{volume},{close},{high},{low},{open}", "t,v,c,h,l,o"),
    ),
    Origin(
        "Kraken (OHLCVT)",
        "XBTUSD_5.csv",
        lambda bars: lines(bars, "{s}," + OHLCV + ",{count}"),
        5,
        "column 7",
    ),
    Origin(
        "Bitstamp (Kaggle)",
        "bitstamp.csv",
        lambda bars: lines(
            bars,
            "{s}," + OHLCV + ",{quote},{close}",
            "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price",
        ),
        5,
        "Volume_(Currency), Weighted_Price",
    ),
    Origin(
        "OKX",
        "okx.csv",
        lambda bars: lines(bars, "{ms}," + OHLCV + ",{quote},{quote},1", "ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm"),
        5,
        "volCcy, volCcyQuote",
    ),
    Origin(
        "Kraken, answer in JSON",
        "kraken.json",
        lambda bars: json.dumps(
            {
                "error": [],
                "result": {
                    "XXBTZUSD": _texts(
                        _arrays(bars.assign(s=epoch(bars["time"])), "s open high low close close volume count")
                    ),
                    "last": 1709510400,
                },
            }
        ),
        5,
        "vwap, count",
    ),
    Origin(
        "OKX, answer in JSON",
        "okx.json",
        lambda bars: json.dumps(
            {
                "code": "0",
                "data": _texts(_arrays(bars.assign(one=1), "ms open high low close volume quote quote one")),
            }
        ),
        5,
        "volCcy, volCcyQuote",
    ),
    Origin(
        "KuCoin, answer in JSON",
        "kucoin.json",
        lambda bars: json.dumps(
            {
                "code": "200000",
                "data": _texts(_arrays(bars.assign(s=epoch(bars["time"])), "s open close high low volume quote")),
            }
        ),
        5,
        "turnover",
    ),
    Origin(
        "JSON lines",
        "k.jsonl",
        lambda bars: lines(
            bars,
            '{{"time": {ms}, "open": {open}, "high": {high}, "low": {low}, "close": {close}, "volume": {volume}}}',
        ),
    ),
    Origin(
        "Bybit",
        "bybit.json",
        lambda bars: json.dumps(
            {
                "retCode": 0,
                "result": {
                    "symbol": "BTCUSDT",
                    "list": [
                        [str(cell) for cell in row] for row in _arrays(bars, "ms open high low close volume quote")
                    ],
                },
            }
        ),
        5,
        "column 7",
    ),
    Origin(
        "KuCoin with names",
        "kucoin.csv",
        lambda bars: lines(
            bars, "{s},{open},{close},{high},{low},{volume},{quote}", "time,open,close,high,low,volume,turnover"
        ),
        5,
        "turnover",
    ),
    Origin(
        "HTX",
        "htx.csv",
        lambda bars: lines(
            bars,
            "{s},{open},{close},{low},{high},{volume},{quote},{count}",
            "id,open,close,low,high,amount,vol,count",
        ),
        5,
        "vol, count",
    ),
    Origin(
        "Polygon",
        "polygon.csv",
        lambda bars: lines(
            bars,
            "BTC,{volume},{open},{close},{high},{low},{s}000000000,{count}",
            "ticker,volume,open,close,high,low,window_start,transactions",
        ),
        5,
        "transactions",
    ),
    Origin(
        "Dukascopy",
        "dukascopy.csv",
        lambda bars: lines(bars, "{when}," + OHLCV, "Gmt time,Open,High,Low,Close,Volume", "%d.%m.%Y %H:%M:%S.000"),
    ),
    Origin(
        "HistData",
        "DAT_ASCII_EURUSD_M5_2024.csv",
        lambda bars: lines(bars, OHLCV.replace(",", ";").join(["{when};", ""]), clock="%Y%m%d %H%M%S"),
    ),
    Origin(
        "TradingView",
        "tradingview.csv",
        lambda bars: lines(
            bars, "{when}," + OHLCV + ",1.5", "time,open,high,low,close,Volume,RSI", "%Y-%m-%dT%H:%M:%SZ"
        ),
        5,
        "RSI",
    ),
    Origin(
        "CoinAPI",
        "coinapi.csv",
        lambda bars: lines(
            bars,
            "{when},x," + OHLCV + ",{count}",
            "time_period_start,time_period_end,price_open,price_high,price_low,price_close,volume_traded,trades_count",
            "%Y-%m-%dT%H:%M:%S.0000000Z",
        ),
        5,
        "time_period_end, trades_count",
    ),
)
"""Every origin that docs/data.md lists, under the name it has there."""

"""The market's name in the name of a file: NEARUSDT of binance_um_NEARUSDT-1m-2023-08.csv.gz."""

from __future__ import annotations

import re

from ..errors import SettingsError

_ENDINGS = re.compile(r"\.(csv|txt|prn|tsv|json|feather|arrow|parquet|pq|gz|zip|bz2|xz)$", re.IGNORECASE)
_PART = re.compile(r"[^\W_]+")
_TIMEFRAME = re.compile(r"([MHDW]\d{1,4}|MN1?|\d{1,4}[A-Z]{1,3}|Q[1-4]|H[12]|\d{4}Q[1-4])")
_WORDS = (
    "DAT ASCII CSV JSON TXT OHLC OHLCV OHLCVT UTC GMT EST DATA PART FILE KLINE KLINES CANDLE CANDLES BAR BARS SPOT UM "
    "CM FUTURES BID ASK MID TICK TRADES PRICE PRICES HISTORY EXPORT TEST TRAIN MT NEW OLD RAW ALL "
    "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC "
    "BINANCE BITFINEX BITSTAMP COINBASE KRAKEN GATE GATEIO OKX BYBIT KUCOIN HTX HUOBI GEMINI BITMEX"
)
_NO_SYMBOLS = frozenset(_WORDS.split())
_QUOTES = ("USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USD", "EUR", "GBP", "JPY", "BTC", "ETH", "BNB", "TRY")
_QUOTE_OR_KIND = (*_QUOTES, "PERP", "SWAP")
_WORDS_OF_PARTS = (
    "data part file page chunk split piece section batch csv json txt ohlc ohlcv kline klines candle candles bar bars "
    "price prices history historical recent new old raw all full rest more train test val valid validation first "
    "second last latest update copy from to until min minute minutes hour hours day days week weeks daily hourly "
    "weekly jan feb mar apr may jun jul aug sep oct nov dec january february march april june july august september "
    "october november december"
)
_PART_WORDS = frozenset(_WORDS_OF_PARTS.split())
"""Words of file names that tell the parts of one history apart, not markets."""
_METATRADER = re.compile(r"([A-Z]{6})(M1|M5|M15|M30|H1|H4|D1|W1|MN1?|1|5|15|30|60|240|1440|10080)")


def symbol_of(file_name: str) -> str:
    """Return the market that the name of a file names, '' where it names none.

    A symbol is a word in capitals with at least two letters, or a word in small letters that ends with a currency;
    words that belong together by `_` or `-`, such as BTC_USDT or BTC-USD, are one symbol.

    >>> symbol_of("BTCUSDT-15m-2024-01.zip"), symbol_of("BTC_USDT-5m.feather"), symbol_of("EURUSD_M5_202401.csv")
    ('BTCUSDT', 'BTC_USDT', 'EURUSD')
    """
    stem = file_name
    while _ENDINGS.search(stem):
        stem = _ENDINGS.sub("", stem)
    words = list(_PART.finditer(stem))
    for index, word in enumerate(words):
        if not _is_symbol(word[0]):
            continue
        end = word.end()
        for following in words[index + 1 :]:
            joined = stem[end : following.start()] in ("_", "-") and (
                (following[0] in _QUOTES or following[0] in ("PERP", "SWAP"))
                or (re.fullmatch(r"\d{6}", following[0]) and stem[following.end() : following.end() + 1] == "-")
            )
            if not joined:
                break
            end = following.end()
        symbol = stem[word.start() : end]
        match = _METATRADER.fullmatch(symbol)
        return match[1] if match else symbol
    return _small_symbol([word[0] for word in words])


def _is_symbol(word: str) -> bool:
    letters = sum(letter.isalpha() for letter in word)
    return (
        word.isupper()
        and word.isascii()
        and letters >= 2
        and not _TIMEFRAME.fullmatch(word)
        and word not in _NO_SYMBOLS
    )


def _small_symbol(words: list[str]) -> str:
    for word in words:
        if word.islower() and len(word) >= 5 and word.isalnum() and word.upper().endswith(_QUOTES):
            return word.upper()
    return ""


def market_key(name: str) -> str:
    """Return what is equal for spellings of one market: a sign before the currency, and case, make no difference.

    >>> {market_key(name) for name in ("BTC/USDT", "BTC_USDT", "btc-usdt", "btcusdt")}, market_key("BRK.A")
    ({'BTCUSDT'}, 'BRK.A')
    """
    first, *others = re.split(r"([/_-])", name.strip().upper())
    for sign, word in zip(others[::2], others[1::2], strict=True):
        first += word if word in _QUOTE_OR_KIND else sign + word
    return first


def telling_words(file_name: str) -> frozenset[str]:
    """Return the words of a file's name that may tell its market, without numbers, lengths of bars and words for parts.

    >>> sorted(telling_words("btc-part1.csv")), sorted(telling_words("data_2024-01_5min.csv"))
    (['btc'], [])
    """
    stem = file_name
    while _ENDINGS.search(stem):
        stem = _ENDINGS.sub("", stem)
    words = re.findall(r"[^\W\d_]+", stem.lower())
    return frozenset(word for word in words if len(word) > 1 and word not in _PART_WORDS)


def check_market(name: str) -> str:
    """Return a market's name without blanks at its ends; SettingsError for one that a plain cell cannot hold."""
    plain = name.strip()
    if not plain or any(letter in ',"' or not letter.isprintable() for letter in plain):
        raise SettingsError(f"market={name!r} is not a name; use letters, digits and signs but commas or quotes")
    return plain

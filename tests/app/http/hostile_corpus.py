"""Bodies and raw requests that are meant to break a service: made by rule, some hundreds of them, each with a name."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator

from tests.app.workspace import REQUEST, changed

# No answer repeats more of it than a person needs to recognise it.
CANARY = "Zq"
_WHOLE = json.dumps(REQUEST)

_TOKENS = {
    "NaN": "NaN",
    "Infinity": "Infinity",
    "minus Infinity": "-Infinity",
    "1e400": "1e400",
    "minus 1e400": "-1e400",
    "1e-400": "1e-400",
    "exponent of 400 digits": "1e" + "9" * 400,
    "integer of 400 digits": "9" * 400,
    "integer of 100,000 digits": "9" * 100_000,
    "fraction of 100,000 digits": "0." + "1" * 100_000,
    "2 to the 63": str(2**63),
    "2 to the 64": str(2**64),
    "2 to the 53, and 1": str(2**53 + 1),
    "minus zero": "-0",
    "minus zero point zero": "-0.0",
    "leading zero": "01",
    "leading plus": "+1",
    "no digit before the point": ".5",
    "no digit after the point": "5.",
    "hexadecimal": "0x10",
    "underscore": "1_000",
    "two points": "1.2.3",
    "comma": "1,5",
    "true in capitals": "True",
    "None": "None",
    "undefined": "undefined",
    "single quotes": "'text'",
    "back quotes": "`text`",
    "lone surrogate": '"\\ud800"',
    "lone low surrogate": '"\\udc00"',
    "swapped surrogates": '"\\udc00\\ud800"',
    "surrogate and letter": '"\\ud800a"',
    "escaped NUL": '"\\u0000"',
    "raw NUL": '"\0"',
    "raw newline": '"\n"',
    "raw tab": '"\t"',
    "raw escape": '"\x1b[2J"',
    "unknown escape": '"\\x41"',
    "half an escape": '"\\u12"',
    "escape at the end": '"\\"',
    "no end": '"text',
    "byte order mark inside": '"\ufeff"',
    "not a character": '"\uffff"',
    "private use": '"\U0010ffff"',
    "right to left": '"\u202e\u2066txt.py"',
    "combining marks": '"' + "e\u0301\u0302" * 3000 + '"',
    "long text": '"' + CANARY * 100_000 + '"',
    "long text of quotes": '"' + '\\"' * 100_000 + '"',
    "long list": "[" + ",".join(["1"] * 50_000) + "]",
    "long list of lists": "[" + ",".join(["[]"] * 50_000) + "]",
    "long object": "{" + ",".join(f'"{number}":1' for number in range(20_000)) + "}",
    "duplicate key": '{"a": 1, "a": 2}',
    "duplicate key, escaped": '{"a": 1, "\\u0061": 2}',
    "depth 60": "[" * 60 + "]" * 60,
    "depth 1,000": "[" * 1000 + "]" * 1000,
    "depth 100,000": "[" * 100_000 + "]" * 100_000,
    "objects of depth 100,000": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "depth 100,000, open": "[" * 100_000,
    "comment": "1 /* comment */",
    "trailing comma": "[1,]",
    "comma alone": "[,]",
    "colon alone": "{:}",
    "key without quotes": "{a: 1}",
    "number as key": "{1: 1}",
    "null as key": "{null: 1}",
    "nothing": "",
    "path of dots": json.dumps("../" * 300 + "etc/passwd"),
    "absolute path": '"/etc/passwd"',
    "device": '"/dev/zero"',
    "own memory": '"/proc/self/mem"',
    "URL": '"http://169.254.169.254/latest"',
    "file URL": '"file:///etc/passwd"',
    "UNC path": '"\\\\\\\\host\\\\share"',
    "shell": '"$(id); `id` | id && id"',
    "SQL": '"\'; DROP TABLE job; --"',
    "format": '"%s%n{0.__class__}${7*7}{{7*7}}"',
    "HTML": '"<script>alert(1)</script>"',
    "header": '"a\\r\\nSet-Cookie: x=1"',
    "regular expression": '"' + "a" * 5000 + '!"',
    "object": '{"__proto__": {"x": 1}, "constructor": {"prototype": 1}}',
    "dunder": '{"__class__": "Request", "py/object": "os.system"}',
    "list": "[]",
    "empty object": "{}",
    "true": "true",
    "null": "null",
}

_PLACES: dict[str, tuple[str | int, ...]] = {
    "the whole": (),
    "modelPath": ("modelPath",),
    "trainPath": ("dataConfig", "trainPath"),
    "batchSize": ("dataConfig", "batchSize"),
    "epochs": ("trainingConfig", "epochs"),
    "learningRate": ("trainingConfig", "learningRate"),
    "optimizerArgs": ("trainingConfig", "optimizerArgs"),
    "labels": ("labels",),
    "monitor": ("checkpointConfig", "monitor"),
    "a property that does not exist": ("trainingConfig", "learningrate"),
    "arguments of the model": ("modelConfig", "args"),
}


def bodies() -> Iterator[tuple[str, bytes]]:
    """Each with its name."""
    for place, path in _PLACES.items():
        for name, token in _TOKENS.items():
            yield f"{name} as {place}", _with(path, token)
    yield from _encodings()
    for cut in range(1, len(_WHOLE), 3):
        yield f"cut after {cut} bytes", _WHOLE.encode()[:cut]
    for place in range(0, len(_WHOLE), 5):
        whole = _WHOLE.encode()
        yield f"byte {place} is 0xff", whole[:place] + b"\xff" + whole[place + 1 :]
        yield f"byte {place} is NUL", whole[:place] + b"\0" + whole[place + 1 :]


def _with(path: tuple[str | int, ...], token: str) -> bytes:
    """A request that has ``token``, which need be no JSON, at ``path``."""
    if not path:
        return token.encode("utf-8", "surrogatepass")
    document = json.dumps(changed(*path, "@here@"))
    return document.replace('"@here@"', token).encode("utf-8", "surrogatepass")


def _encodings() -> Iterator[tuple[str, bytes]]:
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp037", "utf-8-sig"):
        yield f"in {encoding}", _WHOLE.encode(encoding)
    whole = _WHOLE.encode()
    yield "gzipped", gzip.compress(whole)
    yield "deflated", zlib.compress(whole)
    yield "overlong slash", whole.replace(b"models/", b"models\xc0\xaf")
    yield "surrogate as UTF-8", whole.replace(b"models", b"\xed\xa0\x80")
    yield "beyond Unicode", whole.replace(b"models", b"\xf4\x90\x80\x80")
    yield "two documents", whole + whole
    yield "two lines", whole + b"\n" + whole
    yield "with a prefix", b")]}',\n" + whole
    yield "NULs behind", whole + bytes(1000)
    yield "blanks before", b" " * 500_000 + whole
    yield "form", b"modelPath=models%2Fresnet.py&trainingConfig=%7B%7D"
    yield "multipart", b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--\r\n"
    yield "XML", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
    yield "YAML", b"modelPath: !!python/object/apply:os.system ['id']\n"
    yield "pickle", b"cos\nsystem\n(S'id'\ntR."
    yield "all bytes", bytes(range(256)) * 40
    yield "50 MB of blanks", b" " * 50_000_000
    yield "50 MB of text", b'"' + CANARY.encode() * 25_000_000 + b'"'


def heads(authorization: str) -> Iterator[tuple[str, bytes]]:
    """Raw requests whose first line, headers or chunks are wrong."""
    usual = f"Host: localhost\r\nAuthorization: {authorization}\r\n".encode()
    post = b"POST /v1/jobs HTTP/1.1\r\n" + usual + b"Content-Type: application/json\r\n"
    for name, line in {
        "HTTP/0.9": b"GET /healthz",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/9.9": b"GET /healthz HTTP/9.9\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "no version": b"GET /healthz\r\n",
        "no path": b"GET  HTTP/1.1\r\n",
        "absolute": b"GET http://evil.example/healthz HTTP/1.1\r\n",
        "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\n",
        "star": b"OPTIONS * HTTP/1.1\r\n",
        "long path": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n",
        "long query": b"GET /v1/jobs?label=" + b"a" * 60_000 + b" HTTP/1.1\r\n",
        "long method": b"G" * 70_000 + b" / HTTP/1.1\r\n",
        "lower case": b"get /healthz http/1.1\r\n",
        "NUL in the path": b"GET /v1/jobs/\0 HTTP/1.1\r\n",
        "bytes in the path": b"GET /v1/jobs/\xff\xfe HTTP/1.1\r\n",
        "broken percent": b"GET /v1/jobs/%zz%2 HTTP/1.1\r\n",
        "surrogate in the path": b"GET /v1/jobs/%ed%a0%80 HTTP/1.1\r\n",
        "dots": b"GET /v1/jobs/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1\r\n",
        "NUL in a parameter": b"GET /v1/jobs?cursor=%00 HTTP/1.1\r\n",
        "huge number": b"GET /v1/jobs?limit=" + b"9" * 5000 + b" HTTP/1.1\r\n",
        "bad state": b"GET /v1/jobs?state=%ff HTTP/1.1\r\n",
        "many parameters": b"GET /v1/jobs?" + b"state=queued&" * 3000 + b" HTTP/1.1\r\n",
        "blanks": b"   GET /healthz HTTP/1.1\r\n",
        "line feeds": b"\n\n\nGET /healthz HTTP/1.1\n",
    }.items():
        yield name, line + usual + b"\r\n"
    for name, headers in {
        "no host": b"\r\n",
        "many headers": b"".join(b"X-%d: 1\r\n" % number for number in range(3000)) + b"\r\n",
        "long header": b"X-Long: " + b"a" * 70_000 + b"\r\n\r\n",
        "header without colon": usual + b"nonsense\r\n\r\n",
        "header without name": usual + b": x\r\n\r\n",
        "folded header": usual + b"X: a\r\n b\r\n\r\n",
        "NUL in a header": usual + b"X: a\0b\r\n\r\n",
        "bytes in a header": usual + b"Last-Event-ID: \xff\xfe\r\n\r\n",
        "bytes in a token": b"Host: localhost\r\nAuthorization: Bearer \xff\xfe\xfd\r\n\r\n",
        "two hosts": b"Host: evil.example\r\n" + usual + b"\r\n",
        "blank before the colon": usual + b"X : a\r\n\r\n",
        "upgrade": usual + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
        "h2c": usual + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
        "expectation": usual + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        "strange expectation": usual + b"Expect: the worst\r\n\r\n",
        "range": usual + b"Range: bytes=0-18446744073709551615\r\n\r\n",
        "bad event id": usual + b"Accept: text/event-stream\r\nLast-Event-ID: 1e5\r\n\r\n",
        "bad wait": usual + b"Prefer: wait=" + b"9" * 400 + b"\r\n\r\n",
    }.items():
        yield name, b"GET /v1/jobs HTTP/1.1\r\n" + headers
    for name, body in {
        "length of minus 1": b"Content-Length: -1\r\n\r\n{}",
        "length of text": b"Content-Length: two\r\n\r\n{}",
        "length of 20 digits": b"Content-Length: 99999999999999999999\r\n\r\n{}",
        "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "too long": b"Content-Length: 2000000\r\n\r\n{}",
        "too short": b"Content-Length: 1\r\n\r\n{}{}{}{}",
        "never comes": b"Content-Length: 100\r\n\r\n{",
        "length and chunks": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "chunk of nonsense": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "chunk of minus 1": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
        "chunk of 2 to the 64": b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{}\r\n0\r\n\r\n",
        "chunk without end": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}",
        "chunk with a long extension": b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 70_000 + b"\r\n{}\r\n0\r\n\r\n",
        "chunk of another length": b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
        "trailers": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: 1\r\n\r\n",
        "many chunks": b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 20_000 + b"0\r\n\r\n",
        "chunks beyond the limit": b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 20,
        "gzip": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "identity": b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
        "a second request": b"Content-Length: 2\r\n\r\n{}GET /healthz HTTP/1.1\r\n" + usual + b"\r\n",
    }.items():
        yield name, post + body


def longest_echo(answer: bytes) -> int:
    """Characters of the longest piece of the answer that is made of the canary."""
    found = re.findall(f"(?:{CANARY})+", answer.decode("utf-8", "replace"))
    return max(map(len, found), default=0)

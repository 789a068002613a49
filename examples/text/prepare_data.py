"""Makes a text data set out of the documentation that comes with Python: what is a paragraph about?

Paragraphs of the docstrings of the standard library are labelled by the group of modules they stand in (0: network,
1: language and numbers), turned into 50 token ids each, and written as data/train.npz and data/val.npz (x, y).
"""

import ast
import re
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

DATA = Path(__file__).parent / "data"
LIBRARY = Path(sysconfig.get_paths()["stdlib"])

LENGTH = 50
VOCABULARY = 5000  # as in request.json: modelConfig.args.vocab_size
SHORTEST = 6

GROUPS = (
    "asyncio email http urllib xmlrpc wsgiref ftplib.py imaplib.py poplib.py smtplib.py socket.py socketserver.py "
    "ssl.py ipaddress.py selectors.py mailbox.py webbrowser.py nntplib.py telnetlib.py smtpd.py asyncore.py",
    "_pydecimal.py ast.py calendar.py collections contextlib.py copy.py dataclasses.py datetime.py dis.py doctest.py "
    "enum.py fractions.py functools.py heapq.py importlib inspect.py json numbers.py pickle.py random.py "
    "statistics.py string.py textwrap.py tokenize.py typing.py unittest",
)


def paragraphs(group: str) -> Iterator[list[str]]:
    """The words of each paragraph of each docstring of the modules in ``group`` that this Python has."""
    for name in group.split():
        path = LIBRARY / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.exists() else []:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                        yield re.findall(r"[a-z]+", paragraph.lower())


def token_id(word: str) -> int:
    """1 ... VOCABULARY - 1, the same on every machine and in every version of Python; 0 is padding."""
    return 1 + zlib.crc32(word.encode()) % (VOCABULARY - 1)


def main() -> None:
    """Write the files; a second run writes the same again."""
    labels = {}
    for label, group in enumerate(GROUPS):
        for words in paragraphs(group):
            if len(words) >= SHORTEST:
                labels.setdefault(tuple(words[:LENGTH]), label)
    x = np.zeros((len(labels), LENGTH), dtype=np.int64)
    for row, words in zip(x, labels, strict=True):
        row[: len(words)] = [token_id(word) for word in words]
    y = np.array(list(labels.values()), dtype=np.int64)
    train, val = train_test_split(np.arange(len(y)), test_size=0.2, stratify=y, random_state=0)
    DATA.mkdir(exist_ok=True)
    np.savez(DATA / "train.npz", x=x[train], y=y[train])
    np.savez(DATA / "val.npz", x=x[val], y=y[val])
    print(f"{len(train)} training and {len(val)} validation paragraphs in {DATA}; {y.mean():.0%} have label 1")


if __name__ == "__main__":
    main()

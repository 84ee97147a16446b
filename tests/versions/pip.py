"""Answers for packaging which of two versions is the newer one, so that a test can ask it for many.

stdin: texts, each ended by a zero byte, two a pair. stdout: a line a pair: whether either is a version (0 it is, 1
it is not), and which way they stand, if both are.
"""
import sys

from packaging.version import InvalidVersion, Version


def read(text):
    try:
        return Version(text)
    except InvalidVersion:
        return None


def main():
    texts = sys.stdin.buffer.read().decode().split("\0")[:-1]
    lines = []
    for a, b in zip(texts[::2], texts[1::2]):
        a, b = read(a), read(b)
        order = "-"
        if a is not None and b is not None:
            order = "lt" if a < b else "gt" if a > b else "eq"
        lines.append(f"{int(a is None)} {int(b is None)} {order}\n")
    sys.stdout.write("".join(lines))


main()

"""Answers for librpm which of two versions is the newer one, so that a test can ask it for many.

stdin: texts, each ended by a zero byte, two a pair. stdout: a line a pair: whether rpm reads either (0 it does, 1
it does not), and which way they stand.
"""
import sys

import rpm


def read(text):
    try:
        return rpm.ver(text)
    except ValueError:
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

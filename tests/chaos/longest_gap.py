#!/usr/bin/env python3
"""How long a key stood still at most though an event of it was there.

    longest_gap.py HISTORY.jsonl [FROM TO]...     in milliseconds since 1970: the updates

Of each arrival: the time since the one before it of its topic and key, or since its own append when
that was later. An append is dated before its commit, so what a transaction still did counts too.
"""
import itertools
import json
import sys


def gaps(path):
    """(milliseconds, when it ended, topic, key) of each arrival of a key."""
    last = {}
    with open(path, encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            if line["f"] != "arrive" or "key" not in line:
                continue
            at, name = line["at_ms"], (line["topic"], line["key"])
            yield at - max(last.get(name, 0), line["appended_ms"]), at, *name
            last[name] = at


def told(of):
    of = sorted(of)
    if not of:
        return "no event"
    longest = of[-1]
    return (f"{longest[0]:.0f} ms (key {longest[3]} of {longest[2]}), p99 "
            f"{of[len(of) * 99 // 100][0]:.0f} ms, median {of[len(of) // 2][0]:.0f} ms, "
            f"{len(of)} events of {len({gap[2:] for gap in of})} keys")


def main(arguments):
    bounds = [int(bound) for bound in arguments[1:]]
    updates = list(itertools.zip_longest(bounds[::2], bounds[1::2]))
    during, calm = [], []
    for gap in gaps(arguments[0]):
        # The slots of the last one that stops are taken a little later.
        was = any(start <= gap[1] and gap[1] - gap[0] <= end + 2000 for start, end in updates)
        (during if was else calm).append(gap)
    print(f"longest gap of a key, calm\t{told(calm)}")
    print(f"longest gap of a key, updating\t{told(during)}")


if __name__ == "__main__":
    main(sys.argv[1:])

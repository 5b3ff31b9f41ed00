#!/usr/bin/env python3
"""Compares kcat's output with the truth, sharing no code with `sagaz verify`, and writes what it
read as a history (docs/internals/history.md).

    plain_check.py TRUTH.tsv KCAT.jsonl HISTORY.jsonl SEED
    plain_check.py --summary VERIFY.json      one line of a report of `sagaz verify`
"""
import hashlib
import json
import sys


def read_truth(path):
    truth = {}
    with open(path, encoding="utf-8") as rows:
        for row in rows:
            event_id, key, order, topic, digest = row.rstrip("\n").split("\t")
            # COPY doubles the backslash of the "\N" that stands for no key.
            key = None if key in ("\\N", "\\\\N") else key
            assert event_id not in truth, f"the truth names {event_id} twice"
            truth[event_id] = (topic, key, int(order), digest)
    return truth


def read_messages(path):
    """In the order of each partition; kcat mixes partitions as they come."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            names = message.get("headers", [])
            headers = dict(zip(names[::2], names[1::2]))
            yield message, headers.get("ce_id", "")


class History:
    def __init__(self, path, seed):
        self.file = open(path, "w", encoding="utf-8")
        self.seed = seed
        self.next = 0

    def write(self, proc, f, **members):
        line = {"seed": self.seed, "proc": proc, "monotonic_ns": self.next, "idx": self.next,
                "f": f, "type": "ok"}
        line.update({name: value for name, value in members.items() if value is not None})
        self.file.write(json.dumps(line) + "\n")
        self.next += 1


def compare(truth, messages, history):
    seen, last = {}, {}
    count = dict(messages=0, missing=0, foreign=0, inversions=0, altered=0, repeats=0)
    for message, event_id in messages:
        topic, key, payload = message["topic"], message.get("key"), message.get("payload") or ""
        digest = hashlib.md5(payload.encode()).hexdigest()
        history.write("broker", "arrive", id=event_id, topic=topic, key=key, digest=digest,
                      partition=message["partition"], offset=message["offset"])
        count["messages"] += 1
        if event_id not in truth:
            count["foreign"] += 1
            continue
        its_topic, its_key, order, its_digest = truth[event_id]
        if (its_topic, its_key, its_digest) != (topic, key, digest):
            count["altered"] += 1
        if event_id in seen:
            count["repeats"] += 1
            continue
        seen[event_id] = True
        if key is None:
            continue
        if order < last.get((topic, key), order):
            count["inversions"] += 1
        last[topic, key] = max(order, last.get((topic, key), order))
    count["missing"] = len(truth) - len(seen)
    return count


def main(arguments):
    if arguments[0] == "--summary":
        with open(arguments[1], encoding="utf-8") as file:
            report = json.load(file)
        damages = ", ".join(f"{name} {n}" for name, n in report["damages"].items())
        print(f"{report['verdict']}: messages {report['messages']}, {damages}, "
              f"repeats {report['repeats']}")
        return
    truth = read_truth(arguments[0])
    history = History(arguments[2], int(arguments[3]))
    for event_id, (topic, key, order, digest) in truth.items():
        history.write("producer", "append", id=event_id, topic=topic, key=key, order=order,
                      digest=digest)
        history.write("database", "truth", id=event_id)
    count = compare(truth, read_messages(arguments[1]), history)
    history.file.close()
    print(", ".join(f"{name} {n}" for name, n in count.items()))


if __name__ == "__main__":
    main(sys.argv[1:])

#!/usr/bin/env python3
"""Compares kcat's output with the truth, sharing no code with `sagaz verify`, and writes what it
read as a history (docs/internals/history.md).

    plain_check.py TRUTH.jsonl KCAT.jsonl HISTORY.jsonl SEED
    plain_check.py --summary VERIFY.json      one line of a report of `sagaz verify`
    plain_check.py --topics KCAT.json         the topics of `kcat -L -J` but Kafka's own
"""
import datetime
import hashlib
import json
import sys


def digest_of(payload_md5, event_type, own):
    """Of all that an event brings beside topic and key; its own headers in any order."""
    return hashlib.md5(json.dumps([payload_md5, event_type, sorted(own)]).encode()).hexdigest()


def read_truth(path):
    truth = {}
    with open(path, encoding="utf-8") as rows:
        for row in rows:
            event_id, key, order, topic, payload_md5, event_type, headers = json.loads(row)
            assert event_id not in truth, f"the truth names {event_id} twice"
            own = [list(pair) for pair in (headers or {}).items()]
            truth[event_id] = (topic, key, order, payload_md5, event_type, own)
    return truth


def milliseconds(time):
    """Of an RFC 3339 time, since 1970."""
    return datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() * 1000


def is_of_sagaz(name):
    return name.lower().startswith("ce_") or name.lower() in ("content-type", "message_id")


def read_messages(path):
    """In the order of each partition; kcat mixes partitions as they come."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            names = message.get("headers") or []
            yield message, list(zip(names[::2], names[1::2]))


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
    seen, last, partitions = {}, {}, {}
    count = dict(messages=0, missing=0, foreign=0, inversions=0, altered=0, headers=0,
                 split_keys=0, repeats=0)
    for message, headers in messages:
        topic, key, partition = message["topic"], message.get("key"), message["partition"]
        named = dict(headers)
        event_id, event_type = named.get("ce_id", ""), named.get("ce_type", "")
        own = [[name, value] for name, value in headers if not is_of_sagaz(name)]
        payload_md5 = hashlib.md5((message.get("payload") or "").encode()).hexdigest()
        history.write("broker", "arrive", id=event_id, topic=topic, key=key,
                      digest=digest_of(payload_md5, event_type, own),
                      partition=partition, offset=message["offset"], at_ms=message.get("ts"),
                      appended_ms=milliseconds(named["ce_time"]) if "ce_time" in named else None)
        count["messages"] += 1
        if event_id not in truth:
            count["foreign"] += 1
            continue
        its_topic, its_key, order, its_md5, its_type, its_own = truth[event_id]
        count["altered"] += (its_topic, its_key, its_md5) != (topic, key, payload_md5)
        count["headers"] += (its_type != event_type or sorted(its_own) != sorted(own)
                             or len(named) != len(headers) or not named.get("ce_source"))
        if event_id in seen:
            count["repeats"] += 1
            continue
        seen[event_id] = True
        if key is None:
            continue
        count["split_keys"] += partitions.setdefault((topic, key), partition) != partition
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
    if arguments[0] == "--topics":
        with open(arguments[1], encoding="utf-8") as file:
            names = sorted(topic["topic"] for topic in json.load(file)["topics"])
        print(*[name for name in names if not name.startswith("__")])
        return
    truth = read_truth(arguments[0])
    history = History(arguments[2], int(arguments[3]))
    for event_id, (topic, key, order, payload_md5, event_type, own) in truth.items():
        history.write("producer", "append", id=event_id, topic=topic, key=key, order=order,
                      digest=digest_of(payload_md5, event_type, own))
        history.write("database", "truth", id=event_id)
    count = compare(truth, read_messages(arguments[1]), history)
    history.file.close()
    print(", ".join(f"{name} {n}" for name, n in count.items()))


if __name__ == "__main__":
    main(sys.argv[1:])

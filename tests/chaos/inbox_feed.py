"""Writes the feeds of inbox.sh: inbox_feed.py FOLDER EVENTS COPIES CONSUMERS SEED.

Each message goes to COPIES places of the consumers' feeds, near each other, so that several
consumers meet it at about the same time. Half of the ids are no UUIDs, a quarter have a time of the
last twenty days or of the week to come, as if consumers or clocks were late. One message in eighty
always fails. FOLDER/truth.tsv holds each message once.
"""

import json
import pathlib
import random
import sys
import time
import uuid

DAY_MS = 86_400_000


def uuid_with_time(chance):
    made = int(time.time() * 1000) + chance.randint(-20 * DAY_MS, 7 * DAY_MS)
    bits = made << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62)
    return uuid.UUID(int=bits)


def main():
    folder = pathlib.Path(sys.argv[1])
    events, copies, consumers, seed = (int(text) for text in sys.argv[2:6])
    chance = random.Random(seed)
    deliveries = []
    with open(folder / "truth.tsv", "w", encoding="utf-8") as truth:
        for n in range(events):
            event_id = f"order-{n}"
            if n % 2:
                event_id = str(uuid.UUID(int=chance.getrandbits(128), version=4) if n % 4 == 1
                               else uuid_with_time(chance))
            debit, credit = sorted(chance.sample(range(1, 1001), 2))
            body = {"debit": debit, "credit": credit, "amount": chance.randint(1, 100),
                    "poison": chance.randrange(80) == 0}
            key = f"key-{n % max(1, events // 10)}"
            line = json.dumps({"id": event_id, "key": key, "body": body})
            deliveries += [(n + chance.uniform(0, 300), line) for _ in range(copies)]
            truth.write("\t".join(map(str, (event_id, debit, credit, body["amount"],
                                            "ft"[body["poison"]]))) + "\n")
    deliveries.sort()
    feeds = [open(folder / f"feed.{n}", "w", encoding="utf-8") for n in range(consumers)]
    for _, line in deliveries:
        feeds[chance.randrange(consumers)].write(line + "\n")
    for feed in feeds:
        feed.close()


if __name__ == "__main__":
    main()

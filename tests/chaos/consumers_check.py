"""Judges the ledger of consumers.sh, whose lines are "partition position pid payload".

consumers_check.py offsets LEDGER COMMITTED   no committed offset is past an unfinished message
consumers_check.py all LEDGER TOPIC COUNT     all of the topic ("partition position payload" lines)
                                              is finished, first times of a key in order,
                                              nothing foreign
"""

import sys

KEYS = 50  # Message n has key n % KEYS.


def rows(path, width):
    with open(path, encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            if len(fields) != width:
                sys.exit(f"{path}: not {width} fields: {line!r}")
            yield fields


def finished_of(ledger):
    finished = {}
    for partition, position, _, _ in rows(ledger, 4):
        finished.setdefault(int(partition), set()).add(int(position))
    return finished


def first_missing(positions):
    position = 0
    while position in positions:
        position += 1
    return position


def check_offsets(ledger, committed):
    finished, past, behind = finished_of(ledger), [], 0
    for partition, offset in rows(committed, 2):
        end = first_missing(finished.get(int(partition), set()))
        behind += end - int(offset)
        if int(offset) > end:
            past.append(f"partition {partition}: committed {offset}, unfinished {end}")
    print(f"past an unfinished message {len(past)}, finished and not committed {behind}")
    for text in past:
        print(text)
    return past


def check_all(ledger, topic, count):
    truth = {(int(p), int(o)): payload for p, o, payload in rows(topic, 3)}
    seen, following, repeats, early, foreign = set(), {}, 0, 0, 0
    members = set()
    for partition, position, pid, payload in rows(ledger, 4):
        place = (int(partition), int(position))
        members.add(pid)
        if truth.get(place) != payload:
            foreign += 1
        if place in seen:
            repeats += 1
            continue
        seen.add(place)
        number = int(payload)
        key = number % KEYS
        early += number != following.get(key, key or KEYS)
        following[key] = number + KEYS
    skipped = len(truth.keys() - seen)
    produced = set(truth.values()) == {str(n) for n in range(1, count + 1)}
    print(f"messages {len(truth)}, skipped {skipped}, out of order {early}, foreign {foreign}, "
          f"repeats {repeats}, members {len(members)}")
    if not produced:
        print(f"the topic does not hold 1 to {count}")
    return skipped or early or foreign or not produced or not truth


if __name__ == "__main__":
    if sys.argv[1] == "offsets":
        bad = check_offsets(sys.argv[2], sys.argv[3])
    else:
        bad = check_all(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    sys.exit(1 if bad else 0)

"""restore_account.py TRUTH FILE [LOST_TRUTH]: what a restored database's events became.

TRUTH is JSON lines of [event_id, topic, key, order_number] that survived; FILE is what the
destination holds; LOST_TRUTH are those that had committed and did not survive. Prints one line of
counts; exits with 1 when an event is lost, comes from nowhere, or first arrives out of order.
"""

import json
import sys


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def identity(message):
    headers = message["headers"]
    pairs = headers.items() if isinstance(headers, dict) else (
        (h[0], h[1]) if isinstance(h, list) else (h["name"], h["value"]) for h in headers)
    return next(value for name, value in pairs if name == "ce_id")


def main(truth_path, file_path, lost_path=None):
    truth = {row[0]: row[1:] for row in lines(truth_path)}
    undone = {row[0] for row in lines(lost_path)} if lost_path else set()
    newest, seen = {}, set()
    repeats = inversions = invented = foreign = 0
    for message in lines(file_path):
        event = identity(message)
        if event in seen:
            repeats += 1
            continue
        seen.add(event)
        if event not in truth:
            invented += event in undone
            foreign += event not in undone
            continue
        topic, key, number = truth[event]
        if key is not None:
            inversions += number < newest.get((topic, key), 0)
            newest[topic, key] = max(number, newest.get((topic, key), 0))
    lost = len(truth.keys() - seen)
    print(f"committed {len(truth)}, delivered {len(truth) - lost}, lost {lost}, "
          f"invented {invented}, foreign {foreign}, inversions {inversions}, repeats {repeats}")
    return 1 if lost or foreign or inversions or not truth else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

#!/usr/bin/env python3
"""What the producers of optimistic.sh say that they sent, beside what Kafka holds.

    optimistic_account.py LEDGER KCAT.jsonl FAULTS --calm-min PERCENT --pause SECONDS

LEDGER: "event_id phase outcome appended_us answered_us" lines; the killed left some out. FAULTS:
"time_us what" lines. Prints "name: value" lines; exits 1, with the reason as the last line, when in
a calm phase anything repeats or too little was sent by the producers, when what was said to be
published is not there, when a repeat is not near a fault, or when more than 1 % repeats.
"""
import argparse
import collections
import json
import sys

from plain_check import read_messages

# From a fault to the last copy that it can cause: a lease, a take-over, a hold and a retry.
AFTER_FAULT_US = 15_000_000
BEFORE_FAULT_US = 3_000_000  # sent before a kill, and not stored yet


def read_ledger(path):
    ledger = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            event_id, phase, outcome, appended, answered = line.split()
            assert event_id not in ledger, f"{event_id} was answered twice"
            ledger[event_id] = (phase, outcome, int(appended), int(answered))
    return ledger


def read_arrivals(path):
    arrivals = collections.defaultdict(list)
    for message, headers in read_messages(path):
        phase = json.loads(message["payload"])["phase"]
        arrivals[dict(headers)["ce_id"]].append((message["ts"] * 1000, phase))
    return arrivals


def read_faults(path, pause_us):
    with open(path, encoding="utf-8") as lines:
        moments = [(int(line.split()[0]), "pause begins" in line) for line in lines]
    return [(at - BEFORE_FAULT_US, at + AFTER_FAULT_US + (pause_us if is_pause else 0))
            for at, is_pause in moments]


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ledger")
    parser.add_argument("kcat")
    parser.add_argument("faults")
    parser.add_argument("--calm-min", type=float, required=True)
    parser.add_argument("--pause", type=float, required=True)
    options = parser.parse_args()
    ledger = read_ledger(options.ledger)
    arrivals = read_arrivals(options.kcat)
    spans = read_faults(options.faults, int(options.pause * 1e6))
    wrong = []

    missing = sum(1 for event_id, entry in ledger.items()
                  if entry[1] == "published" and event_id not in arrivals)
    if missing:
        wrong.append(f"{missing} events that were said to be published are not there")

    phases = collections.defaultdict(lambda: collections.defaultdict(int))
    repeats = collections.Counter()
    unexplained = 0
    for event_id, seen in arrivals.items():
        phase = seen[0][1]
        outcome = ledger[event_id][1] if event_id in ledger else "not_told"
        phases[phase][outcome] += 1
        repeats[phase] += len(seen) - 1
        for at, _ in seen[1:]:
            if not any(begin <= at <= end for begin, end in spans):
                unexplained += 1
    total = sum(len(seen) for seen in arrivals.values())
    for phase, outcomes in sorted(phases.items()):
        count = sum(outcomes.values())
        offered = count - outcomes["dropped"]
        sent = 100 * outcomes["published"] / max(1, offered)
        told = ", ".join(f"{word} {n}" for word, n in sorted(outcomes.items()))
        waits = [answered - appended for _, outcome, appended, answered in
                 (ledger[e] for e in arrivals if e in ledger and ledger[e][0] == phase)
                 if outcome == "published"]
        print(f"{phase}: {count} events, {sent:.1f} % sent right after the commit ({told}), "
              f"{repeats[phase]} repeats, append to answer p50 {percentile(waits, 0.5) / 1000:.2f} "
              f"p99 {percentile(waits, 0.99) / 1000:.2f} ms")
        if phase.startswith("calm"):
            if repeats[phase]:
                wrong.append(f"{repeats[phase]} repeats in {phase}")
            if sent < options.calm_min and not phase.endswith("_start"):
                wrong.append(f"only {sent:.1f} % sent right after the commit in {phase}")
    share = 100 * sum(repeats.values()) / max(1, total)
    print(f"repeats: {sum(repeats.values())}, {share:.2f} %, not near a fault {unexplained}")
    if unexplained:
        wrong.append(f"{unexplained} repeats are not near a fault")
    if share > 1:
        wrong.append(f"{share:.2f} % repeats")
    if wrong:
        print("; ".join(wrong))
        sys.exit(1)


if __name__ == "__main__":
    main()

"""Ships what was ordered, each order once, however often its message comes.

consume.py DATABASE_URL KAFKA [--group NAME] [--until-idle SECONDS]
"""

import argparse
import json
import signal
import time

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

CONSUMER = "shipping"  # half of the mark's key: two groups of this name share their marks
MAX_ATTEMPTS = 2
RETRY_SECONDS = 1.0


def handle(connection, event):
    """The effects. In the transaction of the mark: what this does to the database happens once."""
    if event["note"] == "no address":
        raise ValueError("the order has no address")  # kept and shown: no payload in it
    connection.execute("INSERT INTO shipments (order_id, address) VALUES (%s, %s)",
                       (event["order_id"], event["note"]))


def read(message):
    """What the inbox wants to know."""
    headers = dict(message.headers())
    key = message.key()
    return {"consumer": CONSUMER, "topic": message.topic(), "payload": message.value() or b"",
            "id": headers["ce_id"].decode(), "type": headers["ce_type"].decode(),
            "key": None if key is None else key.decode()}


def settle(connection, known):
    """Says what became of the message: processed, duplicate, parked, retry_later, in_progress."""
    try:
        with connection.transaction():
            outcome = connection.execute(
                """SELECT sagaz.inbox_mark(%(consumer)s, %(id)s, %(topic)s, %(type)s,
                                           %(payload)s::bytea, key => %(key)s)""",
                known).fetchone()[0]
            if outcome == "in_progress":
                raise psycopg.Rollback
            if outcome == "processed":
                handle(connection, json.loads(known["payload"]))
        return outcome
    except psycopg.OperationalError:
        raise  # a deadlock, a lock that somebody holds, a lost connection: not the message's fault
    except Exception as error:  # everything has been rolled back, the mark too
        cause = f"{type(error).__name__}: {error}".splitlines()[0]  # PostgreSQL's DETAIL has values
        with connection.transaction():
            return connection.execute(
                """SELECT sagaz.inbox_failed(%(consumer)s, %(id)s, %(cause)s, %(attempts)s,
                       source_topic => %(topic)s, event_type => %(type)s,
                       payload => %(payload)s::bytea, key => %(key)s)""",
                known | {"cause": cause, "attempts": MAX_ATTEMPTS}).fetchone()[0]


def open_consumer(options):
    consumer = Consumer({
        "bootstrap.servers": options.kafka, "group.id": options.group,
        "auto.offset.reset": "earliest",
        # Only what is settled is stored, and what is stored is committed now and then, and at the
        # end. A crash before that makes messages come again; none is skipped.
        "enable.auto.offset.store": False})
    consumer.subscribe(["orders"])
    return consumer


def run(options):
    consumer = open_consumer(options)
    connection = None
    heard = time.monotonic()
    try:
        while options.until_idle is None or time.monotonic() - heard < options.until_idle:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            heard = time.monotonic()
            known = read(message)
            try:
                if connection is None or connection.closed:
                    connection = psycopg.connect(options.database, autocommit=True,
                                                 connect_timeout=5)
                outcome = settle(connection, known)
            except psycopg.OperationalError as error:
                outcome = f"retry_later ({type(error).__name__})"
            print(outcome, known["type"], known["key"], flush=True)
            if outcome in ("processed", "duplicate", "parked"):
                consumer.store_offsets(message)
            else:  # it comes again before anything behind it
                time.sleep(RETRY_SECONDS)
                consumer.seek(TopicPartition(message.topic(), message.partition(),
                                             message.offset()))
    finally:
        consumer.close()  # commits what is stored, and leaves the group


def stop(*_):
    raise SystemExit(0)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("database")
    arguments.add_argument("kafka")
    arguments.add_argument("--group", default=CONSUMER)
    arguments.add_argument("--until-idle", type=float)
    signal.signal(signal.SIGTERM, stop)
    run(arguments.parse_args())

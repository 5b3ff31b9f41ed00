"""What must not be done, and three ways to do it: trap.py DATABASE_URL

Rolled back: nothing of it is published. Only the owner of the schema may look at payloads as this
does.
"""

import json
import sys

import psycopg
from psycopg.types.json import Jsonb

NOTE = {"note": "keep in C:\\cellar"}
TEXT = json.dumps(NOTE)

INSERT = """INSERT INTO sagaz.outbox (topic, key, event_type, payload)
            VALUES ('orders', 'trap', 'OrderPlaced', %s) RETURNING event_id"""
APPEND = "SELECT sagaz.append('orders', 'trap', 'OrderPlaced', %s)"

WAYS = (
    ("INSERT of a str:", INSERT, TEXT),  # WRONG
    ("INSERT of bytes:", INSERT, TEXT.encode()),
    ("append of a str:", APPEND, TEXT),
    ("append of a Jsonb:", APPEND, Jsonb(NOTE)),
)


def main(url):
    with psycopg.connect(url) as connection:
        for name, statement, payload in WAYS:
            event = connection.execute(statement, (payload,)).fetchone()[0]
            kept = connection.execute(
                "SELECT convert_from(payload, 'UTF8') FROM sagaz.outbox WHERE event_id = %s",
                (event,)).fetchone()[0]
            print(f"{name:<21} {kept}")
        connection.rollback()


if __name__ == "__main__":
    main(*sys.argv[1:])

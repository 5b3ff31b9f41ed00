"""Places orders and tells of them: append.py DATABASE_URL NOTE..."""

import json
import sys

import psycopg


def place(connection, note):
    """The order and its event: both, or neither. The event has the order's id as its key, so that
    an order's events stay in order."""
    with connection.transaction():
        order = connection.execute(
            "INSERT INTO orders (note) VALUES (%s) RETURNING id", (note,)).fetchone()[0]
        payload = json.dumps({"order_id": order, "note": note})
        return connection.execute("SELECT sagaz.append('orders', %s, 'OrderPlaced', %s::text)",
                                  (str(order), payload)).fetchone()[0]


def main(url, *notes):
    with psycopg.connect(url, autocommit=True) as connection:
        for note in notes:
            print(place(connection, note))


if __name__ == "__main__":
    main(*sys.argv[1:])

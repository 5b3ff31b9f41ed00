"""place_orders.py PORT RATE: places orders at the example service, evenly, until it is ended."""

import http.client
import itertools
import json
import sys
import threading
import time

THREADS = 4


def place(port, every, numbers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    due = time.monotonic()
    for number in numbers:
        due += every
        time.sleep(max(0.0, due - time.monotonic()))
        body = json.dumps({"customer": f"customer-{number % 200}", "amount_cents": 1200})
        try:
            connection.request("POST", "/orders", body, {
                "Content-Type": "application/json", "Idempotency-Key": f"order-{number}"})
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            connection.close()  # the next one connects again


def main():
    port, rate = int(sys.argv[1]), float(sys.argv[2])
    numbers = itertools.count(1)  # next() of it is one step of the interpreter
    threads = [threading.Thread(target=place, args=(port, THREADS / rate, numbers), daemon=True)
               for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()

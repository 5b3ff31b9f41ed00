"""The bank of inbox.sh in an SQLite file.

inbox_bank.py make FILE SQL TRUTH   the tables and views of inbox.sql, and what the feed holds
inbox_bank.py query FILE SQL        what it returns, a row a line
inbox_bank.py row FILE SQL          its first row, a line a column: name|value
"""

import re
import sqlite3
import sys

ACCOUNTS = """
CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL DEFAULT 1000);
INSERT INTO account (id)
WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 1000)
SELECT id FROM n;
"""


def in_sqlite(sql):
    """Tables of the schema have its name as a prefix, and there are no casts by "::"."""
    return re.sub(r"::\w+", "", sql.replace("sagaz.", "sagaz_"))


def make(bank, sql_file, truth_file):
    with open(sql_file, encoding="utf-8") as file:
        sql = file.read()
    bank.executescript(ACCOUNTS + in_sqlite(sql[sql.index("CREATE TABLE effect"):]))
    with open(truth_file, encoding="utf-8") as truth:
        rows = (line.rstrip("\n").split("\t") for line in truth)
        bank.executemany("INSERT INTO truth VALUES (?, ?, ?, ?, ?)",
                         ((*row[:4], row[4] == "t") for row in rows))
    bank.commit()


def main():
    verb, path, *words = sys.argv[1:]
    bank = sqlite3.connect(path, timeout=60)
    if verb == "make":
        make(bank, *words)
        return
    found = bank.execute(in_sqlite(words[0]))
    if verb == "row":
        for column, value in zip(found.description, found.fetchone()):
            print(f"{column[0]}|{value}")
        return
    for row in found:
        print("|".join(map(str, row)))


if __name__ == "__main__":
    main()

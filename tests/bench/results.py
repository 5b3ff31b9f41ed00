"""The results of `sagaz bench --json` as a page.

    results.py machine SERVER_VERSION SAGAZ_VERSION COMMIT SETTINGS COMMAND    one line of JSON
    results.py table FILE                                                      Markdown
"""

import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys


def first_line(path, prefix):
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(prefix):
            return line[len(prefix):].strip(" \t:=").strip().strip('"')
    return "?"


def kafka_version():
    script = pathlib.Path(__file__).parent.parent / "support" / "kafka.sh"
    return first_line(script, "version=")


def library_version(name):
    answer = subprocess.run(["pkg-config", "--modversion", name], capture_output=True, text=True,
                            check=False)
    return answer.stdout.strip() or "?"


def machine(server, sagaz, commit, settings, command):
    memory = int(first_line("/proc/meminfo", "MemTotal").split()[0]) // 1024
    print(json.dumps({
        "machine": [
            ["date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")],
            ["sagaz", f"{json.loads(sagaz).get('version', '?')}, commit {commit}"],
            ["command", command],
            ["processors", f"{os.cpu_count()} x {first_line('/proc/cpuinfo', 'model name')}"],
            ["memory", f"{memory} MiB"],
            ["system", f"{first_line('/etc/os-release', 'PRETTY_NAME')}, "
                       f"Linux {platform.release()}"],
            ["PostgreSQL", f"{server}; {settings}"],
            ["Kafka", f"{kafka_version()}, one node with a heap of 512 MB; librdkafka "
                      f"{library_version('rdkafka')}; libpq {library_version('libpq')}"],
            ["load", " ".join(f"{each:.2f}" for each in os.getloadavg()) + " at the start"],
        ]}))


def number(value):
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def rows(lines, head):
    print(f"| {head} | median | least | most | unit | target |")
    print("|---|---:|---:|---:|---|---|")
    for line in lines:
        target = line["target"] or ""
        if target:
            target += ", met" if line["target_met"] else ", **missed**"
        unit = "" if line["unit"] == "ratio" else line["unit"]
        print(f"| {line['what']} | {number(line['median'])} | {number(line['min'])} | "
              f"{number(line['max'])} | {unit} | {target} |")
    print()


def verdicts(results):
    judged = [(result["benchmark"], line) for result in results
              for line in result.get("ratios", []) + result.get("figures", []) if line["target"]]
    if not judged:
        return
    print("## Targets\n")
    print("| benchmark | what | seen | least to most | target | |")
    print("|---|---|---:|---:|---|---|")
    for name, line in judged:
        unit = "" if line["unit"] == "ratio" else " " + line["unit"]
        print(f"| {name} | {line['what']} | {number(line['median'])}{unit} | "
              f"{number(line['min'])} to {number(line['max'])} | {line['target']} | "
              f"{'met' if line['target_met'] else '**missed**'} |")
    print()


def table(path):
    results = [json.loads(line) for line in pathlib.Path(path).read_text().splitlines() if line]
    print("# Results of `./do bench`\n")
    print("Written by the command, not by hand. Medians of rounds in which the ways take turns, "
          "and their\nspread; a ratio is taken within each round, and its median is shown. A/A is "
          "one way measured\ntwice: what is within its spread is no difference. What each "
          "benchmark does: [README](README.md).\n")
    for result in results:
        for what, value in result.get("machine", []):
            print(f"- {what}: {value}")
    print()
    verdicts(results)
    for result in results:
        if "benchmark" not in result:
            continue
        print(f"## {result['benchmark']}\n")
        if "error" in result:
            print("Not measured:\n\n```\n" + result["error"] + "\n```\n")
            continue
        rounds = max(len(line["rounds"]) for line in result["figures"])
        took = f", {result['seconds']:.0f} s" if "seconds" in result else ""
        print(f"{result['about'][0].upper()}{result['about'][1:]}. "
              f"{rounds} round{'s' if rounds > 1 else ''}{took}.\n")
        rows(result["figures"], "figure")
        if result["ratios"]:
            rows(result["ratios"], "ratio")
        for note in result["notes"]:
            print(f"- {note}")
        if result["notes"]:
            print()


if __name__ == "__main__":
    if sys.argv[1:2] == ["machine"] and len(sys.argv) == 7:
        machine(*sys.argv[2:])
    elif sys.argv[1:2] == ["table"] and len(sys.argv) == 3:
        table(sys.argv[2])
    else:
        sys.exit(__doc__)

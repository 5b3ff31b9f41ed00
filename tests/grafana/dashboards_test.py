"""The dashboards of grafana/ are whole: what Grafana needs, what a reader needs, one data source.

`problems` says what is wrong with a dashboard; each of its rules is fed one damage here and must
name it. Without arguments all of it runs, as unittest does.
"""

import copy
import importlib.util
import json
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "grafana"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Grafana's names for what we measure; a name that it does not know shows as a plain number.
UNITS = {"none", "short", "s", "percentunit", "eps", "mps", "ops"}
VARIABLE = re.compile(r"\$\{?([a-z_]+)")
NOT_OURS = {"__all", "__range", "__rate_interval", "__value", "__from", "__to"}
# One number for the whole database, told by every relay.
WHOLE = ("outbox_pending_events", "outbox_oldest_pending_age_seconds", "outbox_parked_events",
         "outbox_reclaim_blocked_seconds", "outbox_slots_without_owner",
         "outbox_database_clock_skew_seconds", "outbox_database_wraparound_ratio")
BEFORE_WHOLE = re.compile(r"max(?: by \([^()]*\) )?\((?:deriv\(|abs\()?$")
# A client-side "kubectl apply" keeps a copy in an annotation, and all of them have 256 KiB.
OBJECT_MAX = 200 * 1024


def dashboards():
    return {path.name: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(FOLDER.glob("*.json"))}


def overlap(one, other):
    return (one["x"] < other["x"] + other["w"] and other["x"] < one["x"] + one["w"]
            and one["y"] < other["y"] + other["h"] and other["y"] < one["y"] + one["h"])


def of_places(board):
    panels = board["panels"]
    ids = [panel["id"] for panel in panels]
    found = [f"panel id {n} twice" for n in sorted({n for n in ids if ids.count(n) > 1})]
    for n, panel in enumerate(panels):
        place = panel["gridPos"]
        if place["x"] < 0 or place["w"] < 1 or place["x"] + place["w"] > 24:
            found.append(f"{panel['title']}: outside of the 24 columns")
        found += [f"{panel['title']} overlaps {other['title']}" for other in panels[n + 1:]
                  if overlap(place, other["gridPos"])]
    return found


def of_words(panel):
    title, found = panel["title"], []
    defaults = panel["fieldConfig"]["defaults"]
    if not title.strip():
        found.append("a panel has no title")
    if len(panel.get("description", "")) < 20:
        found.append(f"{title}: no description")
    units = [defaults.get("unit")] + [
        prop["value"] for override in panel["fieldConfig"]["overrides"]
        for prop in override["properties"] if prop["id"] == "unit"]
    found += [f"{title}: unit {unit}" for unit in units if unit not in UNITS]
    return found


def of_expression(title, expression):
    found = []
    for call in re.findall(r"\b(?:rate|deriv)\(.*?\[([^\]]*)\]", expression):
        if call != "$__rate_interval":
            found.append(f"{title}: a rate over {call}, not $__rate_interval")
    for metric in WHOLE:
        for match in re.finditer(metric + r"\b", expression):
            if not BEFORE_WHOLE.search(expression[:match.start()]):
                found.append(f"{title}: {metric} is one number of a database: aggregate it by max")
    return found


def of_targets(panel):
    title, found = panel["title"], []
    targets = panel.get("targets", [])
    if not targets:
        found.append(f"{title}: asks nothing")
    if len({target["refId"] for target in targets}) != len(targets):
        found.append(f"{title}: a refId twice")
    for target in targets:
        expression = target.get("expr", "").strip()
        if not expression:
            found.append(f"{title}: an empty expression")
        if target["datasource"] != SOURCE:
            found.append(f"{title}: a target of another data source")
        found += of_expression(title, expression)
    return found


def of_variables(board):
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    found = []
    if variables.get("datasource", {}).get("type") != "datasource":
        found.append("no variable for the data source")
    found += [f"variable {name} asks another data source" for name, variable in variables.items()
              if variable["type"] == "query" and variable["datasource"] != SOURCE]
    text = json.dumps([board["panels"], board["templating"], board["links"]])
    used = set(VARIABLE.findall(text)) - NOT_OURS
    found += [f"variable {name} is not there" for name in sorted(used - variables.keys())]
    found += [f"variable {name} is not used" for name in sorted(variables.keys() - used)]
    return found


def problems(board, uids):
    found = of_places(board) + of_variables(board)
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        if panel["datasource"] != SOURCE:
            found.append(f"{panel['title']}: another data source")
        found += of_words(panel) + of_targets(panel)
    if board["schemaVersion"] != 38:
        found.append("schemaVersion is not Grafana 10's")
    if board["id"] is not None:
        found.append("an id of somebody's Grafana was exported with it")
    text = json.dumps(board)
    found += [f"a link to dashboard {uid}, which is not there"
              for uid in sorted(set(re.findall(r'"/d/([a-z-]+)', text)) - set(uids))]
    found += [f"{alert} has no runbook"
              for alert in sorted(set(re.findall(r"\b(?:Outbox|Inbox|Optimistic)[A-Z]\w+", text)))
              if not (ROOT / "docs/operating/runbooks" / f"{alert}.md").is_file()]
    return found


def first(board, kind="timeseries"):
    return next(panel for panel in board["panels"] if panel["type"] == kind)


def same_id(board):
    board["panels"][1]["id"] = board["panels"][2]["id"]


def moved_over(board):
    board["panels"][1]["gridPos"] = dict(board["panels"][2]["gridPos"])


def out_of_columns(board):
    board["panels"][1]["gridPos"]["w"] = 30


DAMAGES = {
    "twice": same_id,
    "overlaps": moved_over,
    "outside of the 24": out_of_columns,
    "no description": lambda board: first(board).update(description=""),
    "unit parsecs": lambda board: first(board)["fieldConfig"]["defaults"].update(unit="parsecs"),
    "asks nothing": lambda board: first(board).update(targets=[]),
    "an empty expression": lambda board: first(board)["targets"][0].update(expr=" "),
    "a rate over 5m": lambda board: first(board)["targets"][0].update(
        expr='rate(outbox_publish_attempts_total{job=~"$job"}[5m])'),
    "aggregate it by max": lambda board: first(board)["targets"][0].update(
        expr="sum by (job) (outbox_pending_events)"),
    "another data source": lambda board: first(board).update(
        datasource={"type": "prometheus", "uid": "PBFA97CFB590B2093"}),
    "a target of another data source": lambda board: first(board)["targets"][0].update(
        datasource={"type": "prometheus", "uid": "PBFA97CFB590B2093"}),
    "no variable for the data source": lambda board: board["templating"]["list"].pop(0),
    "variable pod is not there": lambda board: first(board)["targets"][0].update(
        expr='up{pod=~"$pod"}'),
    "variable idle is not used": lambda board: board["templating"]["list"].append(
        {"name": "idle", "type": "custom"}),
    "schemaVersion": lambda board: board.update(schemaVersion=12),
    "somebody's Grafana": lambda board: board.update(id=7),
    "sagaz-nowhere": lambda board: board["links"][0].update(url="/d/sagaz-nowhere"),
    "OutboxOnFire has no runbook": lambda board: first(board).update(
        description="The line is where OutboxOnFire begins to count."),
}


class Dashboards(unittest.TestCase):
    def test_are_three_with_names_of_their_own(self):
        boards = dashboards()
        self.assertEqual(sorted(boards), ["fleet.json", "inbox_and_optimistic.json", "relay.json"])
        self.assertEqual(len({board["uid"] for board in boards.values()}), 3)
        self.assertEqual(len({board["title"] for board in boards.values()}), 3)

    def test_have_nothing_wrong(self):
        boards = dashboards()
        uids = [board["uid"] for board in boards.values()]
        for name, board in boards.items():
            with self.subTest(name):
                self.assertEqual(problems(board, uids), [])

    def test_are_told_of_each_damage(self):
        boards = dashboards()
        uids = [board["uid"] for board in boards.values()]
        for told, damage in DAMAGES.items():
            with self.subTest(told):
                board = copy.deepcopy(boards["fleet.json"])
                damage(board)
                self.assertTrue([line for line in problems(board, uids) if told in line], told)


class ConfigMap(unittest.TestCase):
    def setUp(self):
        spec = importlib.util.spec_from_file_location("configmap", FOLDER / "configmap.py")
        self.writer = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.writer)

    def test_is_in_step_with_the_dashboards(self):
        self.assertEqual((FOLDER / "configmap.yaml").read_text(encoding="utf-8"),
                         self.writer.configmap(FOLDER), "run python3 grafana/configmap.py")

    def test_has_no_object_that_kubectl_apply_cannot_keep(self):
        for part in self.writer.configmap(FOLDER).split("\n---\n"):
            self.assertLess(len(json.dumps(part)), OBJECT_MAX)

    def test_keeps_every_byte_of_a_dashboard(self):
        text = (FOLDER / "configmap.yaml").read_text(encoding="utf-8")
        for path in FOLDER.glob("*.json"):
            block = text.split(f"  sagaz-{path.stem.replace('_', '-')}.json: |\n")[1]
            block = block.split("\n---\n")[0].removesuffix("\n")
            lines = [line[4:] for line in block.splitlines()]
            self.assertEqual("\n".join(lines) + "\n", path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main()

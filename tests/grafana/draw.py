"""Runs every query of the dashboards on a Prometheus and draws each dashboard as a picture.

Fails when Prometheus refuses a query, or when a panel has no data at all, unless its description
says that it is empty at first. Figures and tables are those of --at; lines go from --from to --to.
"""

import argparse
import io
import json
import math
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates
import matplotlib.pyplot as pyplot
from PIL import Image

COLUMNS = 24
WIDE, HIGH = 0.62, 0.30  # inches of a column and of a row
SIZE_MAX = 200_000
COLORS = {"green": "#37872d", "yellow": "#e0b400", "red": "#c4162a", "blue": "#1f60c4",
          "transparent": "#ffffff"}
LABEL_VALUES = re.compile(r"label_values\((.*), *(\w+)\)$")


class Prometheus:
    def __init__(self, story):
        self.story = story
        # Four scrapes, as Grafana's $__rate_interval is at least.
        self.variables = {"__rate_interval": f"{max(10, int(4 * story.scrape))}s",
                          "__range": f"{int(story.end - story.begin)}s"}

    def choose_all(self, board):
        """What "All" stands for in each variable: what it says itself, or all that it finds."""
        for variable in board["templating"]["list"]:
            if variable["type"] != "query":
                continue
            name = variable["name"]
            self.variables[name] = variable.get("allValue") or "|".join(
                re.escape(value) for value in self.values_of(variable))

    def values_of(self, variable):
        query, story = variable["query"]["query"], self.story
        if match := LABEL_VALUES.match(query):
            series, label = match.groups()
            found = self.get("series", **{"match[]": self.filled(series), "start": story.begin,
                                          "end": story.end})
            return sorted({labels[label] for labels in found if label in labels})
        rows = self.at(query.removeprefix("query_result(").removesuffix(")"), story.end)
        shown_rows = ["{" + ",".join(f'{name}="{value}"' for name, value in row["metric"].items())
                      + "}" for row in rows]
        wanted = re.compile(variable["regex"].strip("/"))
        return sorted({match[1] for row in shown_rows if (match := wanted.search(row))})

    def filled(self, expression):
        for name, value in self.variables.items():
            literal = value.replace("\\", "\\\\")
            expression = re.sub(rf"\${name}\b", lambda _, text=literal: text, expression)
        return expression

    def get(self, path, **parameters):
        url = f"{self.story.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            sys.exit(f"Prometheus refuses {parameters}\n{error.read().decode()}")

    def ask(self, path, expression, **parameters):
        return self.get(path, query=self.filled(expression), **parameters)["result"]

    def at(self, expression, when):
        return self.ask("query", expression, time=when)

    def over(self, expression, begin, end):
        return self.ask("query_range", expression, start=begin, end=end, step=2)


def shown(value, unit):
    """As Grafana shows a value, about."""
    if math.isnan(value):
        return "NaN"
    if unit == "s":
        if value < 1:
            return f"{value * 1000:.3g} ms"
        return f"{value:.3g} s" if value < 90 else f"{value / 60:.3g} min"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    word = {"eps": " evt/s", "mps": " msg/s", "ops": " ops/s"}.get(unit, "")
    if abs(value) >= 10_000:
        return f"{value / 1000:.3g} K{word}"
    return (f"{value:.0f}" if value == int(value) else f"{value:.3g}") + word


def color_of(value, thresholds):
    color = "transparent"
    for step in thresholds["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    return COLORS[color]


def mapped(value, mappings):
    for mapping in mappings or []:
        found = mapping["options"].get(f"{value:g}")
        if found:
            return found["text"], COLORS.get(found.get("color", ""), None)
    return None, None


def named(legend, labels):
    return " ".join(re.sub(r"\{\{(\w+)\}\}", lambda m: labels.get(m[1], ""), legend).split())


def draw_stat(axes, panel, prometheus, story):
    defaults, expression = panel["fieldConfig"]["defaults"], panel["targets"][0]["expr"]
    result = prometheus.at(expression, story.at)
    axes.set_xticks([]), axes.set_yticks([])
    if not result:
        axes.text(0.5, 0.5, defaults["noValue"], ha="center", va="center", fontsize=11)
        # Nothing at that moment may be right; never anything is not.
        return bool(prometheus.over(expression, story.begin, story.end))
    value = float(result[0]["value"][1])
    text, color = mapped(value, defaults["mappings"])
    axes.set_facecolor(color or color_of(value, defaults["thresholds"]))
    axes.text(0.5, 0.5, text or shown(value, defaults["unit"]), ha="center", va="center",
              fontsize=15, color="white", fontweight="bold", transform=axes.transAxes)
    return True


def draw_lines(axes, panel, prometheus, story):
    defaults = panel["fieldConfig"]["defaults"]
    custom, names, curves = defaults["custom"], [], []
    for target in panel["targets"]:
        for series in prometheus.over(target["expr"], story.begin, story.end):
            points = [(float(t), float(v)) for t, v in series["values"]]
            points = [(t, v) for t, v in points if math.isfinite(v)]
            if points:
                names.append(named(target.get("legendFormat", ""), series["metric"]) or "value")
                curves.append(points)
    stacked = custom["stacking"]["mode"] == "normal"
    if stacked and curves:
        times = sorted({t for points in curves for t, _ in points})
        rows = [[dict(points).get(t, 0.0) for t in times] for points in curves]
        axes.stackplot([t / 86400 for t in times], rows, labels=names, alpha=0.7)
    else:
        for name, points in zip(names, curves):
            # A gap where the series had none.
            xs, ys = [], []
            for n, (t, v) in enumerate(points):
                if n and t - points[n - 1][0] > 6:
                    xs.append((t - 1) / 86400), ys.append(math.nan)
                xs.append(t / 86400), ys.append(v)
            axes.plot(xs, ys, linewidth=1.1, label=name)
    limit = [step["value"] for step in defaults["thresholds"]["steps"] if step["value"] is not None]
    if custom["thresholdsStyle"]["mode"] == "line" and limit and curves:
        top = max(v for points in curves for _, v in points)
        if top > limit[0] / 20:
            axes.axhline(limit[0], color=COLORS["red"], linewidth=0.8, linestyle="--")
    axes.axvspan(story.shade[0] / 86400, story.shade[1] / 86400, color="#00000014", linewidth=0)
    axes.axvline(story.at / 86400, color="#555555", linewidth=0.8, linestyle=":")
    axes.set_xlim(story.begin / 86400, story.end / 86400)
    top = max((v for points in curves for _, v in points), default=1) if not stacked else None
    axes.set_ylim(bottom=0 if stacked else -0.03 * (top or 1), top=1 if top == 0 else None)
    axes.xaxis.set_major_locator(matplotlib.dates.MinuteLocator())
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M"))
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, defaults["unit"]))
    axes.yaxis.set_major_locator(pyplot.MaxNLocator(4, integer=defaults["unit"] == "none"))
    axes.tick_params(labelsize=6, length=2)
    axes.grid(color="#00000018", linewidth=0.5)
    if curves:
        axes.legend(fontsize=6, loc="upper left", framealpha=0.6, borderpad=0.2)
    else:
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes, fontsize=8)
    return bool(curves)


def rows_of(panel, prometheus, when):
    """Header, and rows of (text, color), as the panel's transformations make them."""
    organize = panel["transformations"][1]["options"]
    names, excluded = organize["renameByName"], organize["excludeByName"]
    overrides = {o["matcher"]["options"]: {p["id"]: p["value"] for p in o["properties"]}
                 for o in panel["fieldConfig"]["overrides"]}
    labels, header, lines = [], [], {}
    several = len(panel["targets"]) > 1
    for target in panel["targets"]:
        field = f"Value #{target['refId']}" if several else "Value"
        for series in prometheus.at(target["expr"], when):
            metric = {k: v for k, v in series["metric"].items() if k != "__name__"}
            labels += [name for name in metric if name not in labels]
            lines.setdefault(tuple(sorted(metric.items())), {})[field] = float(series["value"][1])
        if not excluded.get(field):
            header.append(field)
    order = [name for name in names if name in labels]
    rows = []
    for key, values in sorted(lines.items()):
        row = [(dict(key).get(name, ""), None) for name in order]
        for field in header:
            style = overrides.get(names[field], {})
            if field not in values or math.isnan(values[field]):
                row.append(("-", None))
                continue
            text, color = mapped(values[field], style.get("mappings"))
            if "thresholds" in style:
                color = color_of(values[field], style["thresholds"])
            row.append((text or shown(values[field], style.get("unit", "short")), color))
        rows.append(row)
    return [names[name] for name in order + header], rows


def draw_table(axes, panel, prometheus, story):
    header, rows = rows_of(panel, prometheus, story.at)
    axes.set_xticks([]), axes.set_yticks([])
    if not rows:
        axes.text(0.5, 0.5, "nothing", ha="center", transform=axes.transAxes, fontsize=8)
        return False
    rows = rows[:7]
    tall = 0.12 * (len(rows) + 1)
    table = axes.table(cellText=[[text for text, _ in row] for row in rows], colLabels=header,
                       bbox=(0.004, 0.98 - tall, 0.992, tall),
                       cellColours=[[color or "white" for _, color in row] for row in rows],
                       cellLoc="left")
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    for (row, column), cell in table.get_celld().items():
        dark = row and rows[row - 1][column][1] in (COLORS["red"], COLORS["green"])
        cell.set_edgecolor("#00000020")
        cell.set_text_props(color="white" if dark else "black",
                            fontweight="bold" if row == 0 else "normal")
    return True


def draw(board, prometheus, story):
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"])
    figure = pyplot.figure(figsize=(COLUMNS * WIDE, height * HIGH + 0.5), dpi=88)
    top = height * HIGH / (height * HIGH + 0.5)
    figure.text(0.01, 1 - (1 - top) * 0.65, board["title"], fontsize=13, fontweight="bold")
    silent = []
    for panel in board["panels"]:
        place = panel["gridPos"]
        bottom = top * (1 - (place["y"] + place["h"]) / height)
        tall, left = top * place["h"] / height, place["x"] / COLUMNS
        if panel["type"] == "row":
            figure.text(0.01, bottom + tall * 0.25, panel["title"], fontsize=9, color="#444444")
            continue
        lines = panel["type"] == "timeseries"
        inset = 0.036 if lines else 0.006
        above = 0 if lines else 0.22 / (height * HIGH)  # a figure has its title over it too
        axes = figure.add_axes((left + inset, bottom + (0.16 if lines else 0.04) * tall,
                                place["w"] / COLUMNS - inset - 0.006,
                                tall * (0.68 if lines else 0.96) - above))
        axes.set_title(panel["title"], fontsize=7.5, loc="left", pad=3)
        for spine in axes.spines.values():
            spine.set_color("#00000030")
        kind = {"stat": draw_stat, "table": draw_table, "timeseries": draw_lines}[panel["type"]]
        found = kind(axes, panel, prometheus, story)
        if not found and "mpty" not in panel["description"]:
            silent.append(panel["title"])
    return figure, silent


def save(figure, path):
    raw = io.BytesIO()
    figure.savefig(raw, format="png", facecolor="white")
    picture = Image.open(raw).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    if path.stat().st_size > SIZE_MAX:
        sys.exit(f"{path} has {path.stat().st_size} bytes, at most {SIZE_MAX}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", required=True)
    parser.add_argument("--from", dest="begin", type=float, required=True)
    parser.add_argument("--to", dest="end", type=float, required=True)
    parser.add_argument("--at", type=float, required=True)
    parser.add_argument("--shade", type=float, nargs=2, required=True)
    parser.add_argument("--scrape", type=float, required=True)
    parser.add_argument("--dashboards", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    story = parser.parse_args()
    prometheus = Prometheus(story)
    silent = []
    for path in sorted(story.dashboards.glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        prometheus.choose_all(board)
        figure, missing = draw(board, prometheus, story)
        silent += [f"{path.name}: {title}" for title in missing]
        save(figure, story.out / f"{path.stem}.png")
        print(f"{path.stem}.png: {len(board['panels'])} panels", file=sys.stderr)
    if silent:
        sys.exit("no data for\n  " + "\n  ".join(silent))


if __name__ == "__main__":
    main()

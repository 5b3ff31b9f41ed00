"""What the shipped expressions ask for: rules, adapter, dashboards and KEDA, and their selectors.

promtool parses the expressions (alerts_test.py), so here is only told apart what is a selector.
"""
import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]

TOKEN = re.compile(r'''
    (?P<space>\s+|\#[^\n]*)
  | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
  | (?P<number>0x[0-9a-fA-F]+ | (?:\d+(?:ms|[smhdwy]))+ | (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<word>[A-Za-z_:][A-Za-z0-9_:]*)
  | (?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){}\[\],:@])
''', re.VERBOSE)

AGGREGATIONS = set('''sum min max avg group stddev stdvar count count_values bottomk topk
    quantile'''.split())
FUNCTIONS = AGGREGATIONS | set('''abs absent absent_over_time ceil changes clamp clamp_max clamp_min
    day_of_month day_of_week day_of_year days_in_month delta deriv exp floor histogram_count
    histogram_sum histogram_fraction histogram_quantile holt_winters hour idelta increase irate
    label_replace label_join ln log2 log10 minute month predict_linear rate resets round scalar sgn
    sort sort_desc sqrt time timestamp vector year avg_over_time min_over_time max_over_time
    sum_over_time count_over_time quantile_over_time stddev_over_time stdvar_over_time
    last_over_time present_over_time'''.split())
LABEL_LISTS = {'by', 'without', 'on', 'ignoring', 'group_left', 'group_right'}
WORDS = {'and', 'or', 'unless', 'bool', 'offset', 'atan2', 'inf', 'nan'}


class Unknown(Exception):
    """An expression that these few lines cannot take apart."""


@dataclass(frozen=True)
class Expression:
    where: str
    text: str


@dataclass(frozen=True)
class Asked:
    """What an expression asks Prometheus for."""
    selectors: tuple  # of (metric, text of the whole selector)
    labels: frozenset  # that it groups or matches by


def tokens(text):
    at = 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise Unknown(f'{text[at:at + 20]!r} in {text!r}')
        at = match.end()
        if match.lastgroup != 'space':
            yield match.lastgroup, match.group()


def of_names(matchers, text):
    """A selector for each of {__name__=~"one|other",...}."""
    words = [word for _, word in matchers[:-1]]
    at = words.index('__name__') if '__name__' in words else -1
    if at < 0 or words[at + 1] not in ('=', '=~') or not re.fullmatch(r'"[\w|]+"', words[at + 2]):
        raise Unknown(f'a selector without a metric in {text!r}')
    others = ''.join(words[:at] + words[at + 3:]).strip(',')
    return [(name, name + '{' + others + '}') for name in words[at + 2].strip('"').split('|')]


def asked(text):
    found = list(tokens(text)) + [('end', '')]
    selectors, labels = [], set()
    at = 0

    def upto(end):
        nonlocal at
        begin = at
        while found[at][1] != end:
            if found[at][0] == 'end':
                raise Unknown(f'no {end} in {text!r}')
            at += 1
        at += 1
        return found[begin:at]

    while found[at][0] != 'end':
        kind, word = found[at]
        at += 1
        if kind != 'word':
            if word == '{':
                matchers = upto('}')
                labels.update(name for kind, name in matchers if kind == 'word')
                selectors.extend(of_names(matchers, text))
            continue
        following = found[at][1]
        if word in LABEL_LISTS:
            if following == '(':
                labels.update(name for kind, name in upto(')') if kind == 'word')
        elif following == '(' or word in AGGREGATIONS:
            if word not in FUNCTIONS:
                raise Unknown(f'no function {word} in {text!r}')
        elif word.lower() not in WORDS:
            matchers = upto('}') if following == '{' else []
            labels.update(name for kind, name in matchers if kind == 'word')
            selectors.append((word, word + ''.join(part for _, part in matchers)))
    return Asked(tuple(selectors), frozenset(labels - {'le', '__name__'}))


# ------------------------------------------------------------------------------ who has expressions

def documents(path):
    with open(path, encoding='utf-8') as file:
        return [document for document in yaml.safe_load_all(file) if document]


def rule_groups(root=ROOT):
    for document in documents(root / 'k8s/prometheus-monitoring.yaml'):
        if document['kind'] == 'PrometheusRule':
            return document['spec']['groups']
    raise SystemExit('k8s/prometheus-monitoring.yaml has no PrometheusRule')


def rules(root=ROOT):
    return [rule for group in rule_groups(root) for rule in group['rules']]


def adapter_queries(root=ROOT):
    """The adapter's queries, as it would ask them for namespace sagaz."""
    for document in documents(root / 'k8s/monitoring/prometheus-adapter-values.yaml'):
        for rule in document['rules']['external']:
            series = rule['seriesQuery'].split('{')[0]
            text = (rule['metricsQuery'].replace('<<.Series>>', series)
                    .replace('<<.LabelMatchers>>', 'namespace="sagaz"')
                    .replace('<<.GroupBy>>', ''))
            yield Expression(f'prometheus-adapter, {series}', text)


# What a template variable of a dashboard stands for: whatever there is.
def without_variables(text):
    text = re.sub(r'\$(__\w+|\{__\w+\})',
                  lambda match: {'range': '30m', 'range_s': '1800'}.get(
                      match.group(1).strip('{}_'), '1m'), text)
    return re.sub(r'=~?\s*"\$(?:\{[\w:]+\}|\w+)"', '=~".*"', text)


def dashboard_parts(node, title):
    """Every panel's and variable's query below `node`."""
    if isinstance(node, list):
        for child in node:
            yield from dashboard_parts(child, title)
    elif isinstance(node, dict):
        inside = node.get('title') if isinstance(node.get('title'), str) else title
        if isinstance(node.get('expr'), str):
            yield Expression(inside, without_variables(node['expr']))
        if node.get('type') == 'query' and 'query' in node:
            query = node['query'] if isinstance(node['query'], str) else node['query']['query']
            text = re.sub(r'^label_values\((?:(.*),)?\s*\w+\s*\)$', r'\1', query.strip())
            text = re.sub(r'^query_result\((.*)\)$', r'\1', text)
            if text:
                yield Expression(f'variable {node.get("name")}', without_variables(text))
        for child in node.values():
            yield from dashboard_parts(child, inside)


def dashboard_queries(root=ROOT):
    for path in sorted((root / 'grafana').glob('**/*.json')):
        for part in dashboard_parts(json.loads(path.read_text(encoding='utf-8')), ''):
            yield Expression(f'{path.name}, {part.where}', part.text)


def keda_triggers(root=ROOT):
    folders = [root / 'k8s', root / 'kustomize']
    for path in sorted(path for folder in folders for path in folder.glob('**/*.yaml')):
        for document in documents(path):
            if isinstance(document, dict) and document.get('kind') == 'ScaledObject':
                for trigger in document['spec']['triggers']:
                    yield path.relative_to(root), trigger


def keda_sql(root=ROOT):
    for path, trigger in keda_triggers(root):
        if trigger['type'] == 'postgresql':
            yield Expression(f'{path}, KEDA', trigger['metadata']['query'])


def all_queries(root=ROOT):
    for rule in rules(root):
        yield Expression(f'alert {rule["alert"]}', rule['expr'])
    yield from adapter_queries(root)
    yield from dashboard_queries(root)
    for path, trigger in keda_triggers(root):
        if trigger['type'] == 'prometheus':
            yield Expression(f'{path}, KEDA', trigger['metadata']['query'])

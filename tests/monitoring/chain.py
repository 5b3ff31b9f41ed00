#!/usr/bin/env python3
"""chain.py URL PHASE: what chain.sh asks of the running Prometheus, phase by phase.

healthy    everything is scraped, nothing fires, every selector and label asked for exists
outage     the broker is gone: exactly the right alerts come
again      the relay was restarted meanwhile: it fires on
recovered  the broker is back: it is silent again
gone       no relay is left
dashboards every query of every dashboard and of the autoscaler has data
"""
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import promql

WAIT = 60  # seconds for an alert to come or go
FOR = 3  # what chain.sh makes of every `for`

# How fast a busy test machine is, is no question here: alerts_test.py asks about this one.
OF_THE_MACHINE = {'OutboxHighLatency'}

# The run has a dead event from its beginning (chain.sh).
AT_REST = ['OutboxDeadLetterQueue']

# What a dashboard rightly has nothing of in this run, and why.
MAY_BE_EMPTY = {}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Prometheus:
    def __init__(self, url):
        self.url = url

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f'{self.url}/api/v1/{path}?{query}', timeout=10) as answer:
                return json.load(answer)['data']
        except urllib.error.HTTPError as error:
            sys.exit(f'{path} {parameters}: {error.read().decode()}')

    def value(self, expression):
        """Of an expression with one result; None when it has none."""
        result = self.ask('query', query=expression)['result']
        return float(result[0]['value'][1]) if len(result) == 1 else None

    def states(self):
        """The alerts that are pending or firing: {name: state}. Pending is no trouble yet."""
        states = {}
        for alert in self.ask('alerts')['alerts']:
            for text in alert['annotations'].values():
                if 'error expanding' in text or '<no value>' in text:
                    sys.exit(f'{alert["labels"]["alertname"]}: {text}')
            name = alert['labels']['alertname']
            if name not in OF_THE_MACHINE and states.get(name) != 'firing':
                states[name] = alert['state']
        return states


def wait_for(what, check):
    deadline = time.monotonic() + WAIT
    while True:
        seen = check()
        if seen:
            return seen
        if time.monotonic() > deadline:
            sys.exit(f'timed out after {WAIT} s waiting for {what}')
        time.sleep(0.25)


def expect(prometheus, wanted):
    """Waits until all of these fire; nothing else may, then or in the time that it would take."""
    def all_fire():
        states = prometheus.states()
        foreign = sorted(name for name, state in states.items()
                         if state == 'firing' and name not in wanted)
        if foreign:
            sys.exit(f'{foreign} fire though nothing of theirs is wrong: {states}')
        return all(states.get(name) == 'firing' for name in wanted)
    began = time.monotonic()
    wait_for(f'{wanted} to fire', all_fire)
    say(f'   {", ".join(wanted) or "nothing"} after {time.monotonic() - began:.1f} s')
    until = time.monotonic() + FOR + 2
    while time.monotonic() < until:
        all_fire()
        time.sleep(0.25)


def check_queries(prometheus):
    """What each shipped expression asks for exists: the metric, with these labels and values."""
    known_labels = set(prometheus.ask('labels'))
    problems, selectors, queries = [], 0, 0
    for query in promql.all_queries():
        queries += 1
        asked = promql.asked(query.text)
        unknown = asked.labels - known_labels
        if unknown:
            problems.append(f'{query.where}: no series has the label {sorted(unknown)}')
        for _, text in asked.selectors:
            selectors += 1
            if not prometheus.ask('series', **{'match[]': text}):
                problems.append(f'{query.where}: nothing exports {text}')
    if problems:
        sys.exit('\n'.join(problems))
    say(f'   {selectors} selectors of {queries} queries exist')


def healthy(prometheus):
    wait_for('both targets', lambda: prometheus.value('count(up == 1)') == 2)
    wait_for('two samples of what the relay sends', lambda: prometheus.value(
        'sum(rate(outbox_published_events_total[1m])) > 0'))
    wait_for('the inbox', lambda: prometheus.value('sum(consumer_inbox_processed_total) > 0'))
    loaded = {rule['name'] for group in prometheus.ask('rules')['groups']
              for rule in group['rules'] if rule['health'] != 'err'}
    missing = {rule['alert'] for rule in promql.rules()} - loaded
    if missing:
        sys.exit(f'rules that Prometheus cannot evaluate: {sorted(missing)}')
    expect(prometheus, AT_REST)
    check_queries(prometheus)


def outage(prometheus):
    expect(prometheus, [*AT_REST, 'OutboxDestinationDown', 'OptimisticSendHighFailureRate'])


def again(prometheus):
    wait_for('the restarted relay to be scraped', lambda: prometheus.value(
        'count(up{job="outbox-worker"} == 1) unless on () outbox_published_events_total'))
    expect(prometheus, [*AT_REST, 'OutboxDestinationDown', 'OptimisticSendHighFailureRate'])


def recovered(prometheus):
    wait_for('OutboxDestinationDown to be silent',
             lambda: 'OutboxDestinationDown' not in prometheus.states())


def gone(prometheus):
    wait_for('OutboxWorkerDown to fire',
             lambda: prometheus.states().get('OutboxWorkerDown') == 'firing')


def dashboards(prometheus):
    empty, number = [], 0
    for query in list(promql.adapter_queries()) + list(promql.dashboard_queries()):
        number += 1
        now = time.time()
        result = prometheus.ask('query_range', query=query.text, start=now - 300, end=now, step=2)
        has_data = any(value != 'NaN' for line in result['result'] for _, value in line['values'])
        if not has_data and query.where not in MAY_BE_EMPTY:
            empty.append(f'{query.where}: no data for {query.text}')
    if empty:
        sys.exit('\n'.join(empty))
    say(f'   {number} queries of dashboards and autoscaler have data')


PHASES = {'healthy': healthy, 'outage': outage, 'again': again, 'recovered': recovered,
          'gone': gone, 'dashboards': dashboards}

if __name__ == '__main__':
    if len(sys.argv) != 3 or sys.argv[2] not in PHASES:
        sys.exit(__doc__)
    PHASES[sys.argv[2]](Prometheus(sys.argv[1]))

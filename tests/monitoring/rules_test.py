#!/usr/bin/env python3
"""What can be said of rules and queries without a server, and that a mistake in them is found."""
import json
import re
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

import yaml

import alerts_test
import promql

# Others hold on to these: dashboards, runbooks, routes of an Alertmanager.
ALERTS = set('''OutboxHighLag OutboxWorkerDown OutboxHighErrorRate OutboxDeadLetterQueue
    OutboxHighLatency OptimisticSendHighFailureRate OutboxOldestPendingTooOld OutboxRelayStalled
    OutboxDestinationDown OutboxSlotsWithoutOwner OutboxTruncationBlocked InboxHighFailureRate
    InboxMessagesParked OutboxDatabaseClockSkew OutboxDatabaseWraparound'''.split())

OF_PROMETHEUS = {'up', 'ALERTS'}  # no page has them


def exported(root):
    """Every sample name of the table of metrics. (chain.sh proves it on real pages.)"""
    table = (root / 'include/sagaz/adapters/metric_table.hpp').read_text(encoding='utf-8')
    names = set()
    for name, kind in re.findall(r'MetricInfo\{\s*"(\w+)",\s*(counter|gauge|histogram)', table):
        parts = ('_bucket', '_sum', '_count') if kind == 'histogram' else ('',)
        names.update(name + part for part in parts)
    return names


def rule_problems(root):
    rules = promql.rules(root)
    names = {rule['alert'] for rule in rules}
    if names != ALERTS:
        yield f'the alerts are not the fixed ones: {sorted(names ^ ALERTS)}'
    bases = set()
    for rule in rules:
        name = rule['alert']
        if rule.get('labels', {}).get('severity') not in ('warning', 'critical'):
            yield f'{name}: severity is neither warning nor critical'
        annotations = rule.get('annotations', {})
        for key in ('summary', 'description', 'runbook_url'):
            if not annotations.get(key):
                yield f'{name}: no {key}'
        url = annotations.get('runbook_url', '')
        page = f'docs/operating/runbooks/{name}.md'
        if not url.endswith(page):
            yield f'{name}: runbook_url does not end in {page}'
            continue
        bases.add(url.removesuffix(page))
        if (root / 'docs/operating/runbooks').is_dir() and not (root / page).is_file():
            yield f'{name}: there is no {page}'
    if len(bases) > 1:
        yield f'runbook_url has several bases: {sorted(bases)}'


def query_problems(root):
    names = exported(root) | OF_PROMETHEUS
    for query in promql.all_queries(root):
        try:
            asked = promql.asked(query.text)
        except promql.Unknown as error:
            yield f'{query.where}: {error}'
            continue
        for metric, _ in asked.selectors:
            if metric not in names:
                yield f'{query.where}: no page has the metric {metric}'


def syntax_problems(root):
    """By promtool's parser: alerts as they are, other queries as recorded ones."""
    recorded = [{'record': f'query:{number}', 'expr': query.text}
                for number, query in enumerate(promql.all_queries(root))]
    groups = promql.rule_groups(root) + [{'name': 'queries', 'rules': recorded}]
    with tempfile.TemporaryDirectory(prefix='sagaz-rules-') as folder:
        file = Path(folder, 'rules.yaml')
        file.write_text(yaml.safe_dump({'groups': groups}), encoding='utf-8')
        said = alerts_test.promtool('check', 'rules', '--lint=none', str(file))
        if said.returncode:
            yield said.stdout + said.stderr


def problems(root=promql.ROOT):
    return [problem for kind in (rule_problems, query_problems, syntax_problems)
            for problem in kind(root)]


class Rules(unittest.TestCase):
    def test_are_complete_and_ask_for_what_exists(self):
        self.assertEqual(problems(), [])


class PlantedMistakes(unittest.TestCase):
    """A copy of the tree with one mistake in it."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix='sagaz-planted-')
        self.addCleanup(self.folder.cleanup)
        self.root = Path(self.folder.name)
        for path in ('k8s/prometheus-monitoring.yaml',
                     'k8s/monitoring/prometheus-adapter-values.yaml',
                     'include/sagaz/adapters/metric_table.hpp'):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(promql.ROOT / path, self.root / path)

    def plant(self, old, new, path='k8s/prometheus-monitoring.yaml'):
        file = self.root / path
        text = file.read_text(encoding='utf-8')
        self.assertIn(old, text)
        file.write_text(text.replace(old, new), encoding='utf-8')

    def expect(self, words):
        found = problems(self.root)
        self.assertTrue(any(words in problem for problem in found), found)

    def test_the_copy_is_well(self):
        self.assertEqual(problems(self.root), [])

    def test_an_alert_on_a_metric_that_does_not_exist(self):
        self.plant('outbox_store_up[3m]', 'outbox_database_up[3m]')
        self.expect('no page has the metric outbox_database_up')

    def test_a_histogram_without_its_suffix(self):
        self.plant('outbox_end_to_end_latency_seconds_count', 'outbox_end_to_end_latency_seconds')
        self.expect('no page has the metric outbox_end_to_end_latency_seconds')

    def test_a_query_of_the_autoscaler_on_a_metric_that_does_not_exist(self):
        self.plant('seriesQuery: outbox_pending_events', 'seriesQuery: outbox_pending',
                   'k8s/monitoring/prometheus-adapter-values.yaml')
        self.expect('no page has the metric outbox_pending')

    def test_a_panel_on_a_metric_that_does_not_exist(self):
        panel = {'title': 'Rate', 'targets': [
            {'expr': 'sum(rate(outbox_sent_total{namespace="$namespace"}[$__rate_interval]))'}]}
        (self.root / 'grafana').mkdir()
        (self.root / 'grafana/relay.json').write_text(json.dumps({'panels': [panel]}),
                                                      encoding='utf-8')
        self.expect('relay.json, Rate: no page has the metric outbox_sent_total')

    def test_an_expression_that_is_none(self):
        self.plant('wraparound_ratio) > 0.8', 'wraparound_ratio > 0.8')
        self.expect('OutboxDatabaseWraparound')

    def test_an_alert_without_a_runbook(self):
        self.plant('runbooks/OutboxHighLag.md', 'runbooks/HighLag.md')
        self.expect('OutboxHighLag: runbook_url does not end in')

    def test_a_runbook_that_is_not_there(self):
        (self.root / 'docs/operating/runbooks').mkdir(parents=True)
        self.expect('OutboxHighLag: there is no docs/operating/runbooks/OutboxHighLag.md')

    def test_a_renamed_alert(self):
        self.plant('alert: OutboxHighLag', 'alert: OutboxLag')
        self.expect('the alerts are not the fixed ones')

    # The same for what promtool's cases are there to find, by the cases of that alert.
    def expect_red(self, alert):
        well, said = alerts_test.run_cases(self.root, alerts_test.CASES[alert])
        self.assertFalse(well, 'promtool found nothing')
        self.assertIn(alert or '9E+03', said)

    def test_the_sum_of_a_backlog_that_every_relay_exports(self):
        self.plant('max by (namespace, job, destination) (last_over_time(outbox_pending_events',
                   'sum by (namespace, job, destination) (last_over_time(outbox_pending_events')
        self.expect_red('OutboxHighLag')

    def test_down_targets_only_so_that_an_absent_one_is_not_missed(self):
        self.plant('''or on ()
            absent(up{job="outbox-worker"} == 1)''', '')
        self.expect_red('OutboxWorkerDown')

    def test_a_gap_at_each_restart(self):
        self.plant('(last_over_time(outbox_destination_up[3m]))', '(outbox_destination_up)')
        self.expect_red('OutboxDestinationDown')

    def test_a_time_that_a_fresh_relay_does_not_have(self):
        last = 'max by (namespace, job, destination) (outbox_last_publish_timestamp_seconds)'
        self.plant(f'unless\n            time() - {last} < 120',
                   f'and\n            time() - {last} > 120')
        self.expect_red('OutboxRelayStalled')

    def test_an_increase_that_does_not_see_a_first_event(self):
        self.plant('unless last_over_time(consumer_inbox_parked_total[1h] offset 15m)',
                   'unless consumer_inbox_parked_total')
        self.expect_red('InboxMessagesParked')

    def test_an_autoscaler_that_is_told_the_sum(self):
        self.plant('max(<<.Series>>', 'sum(<<.Series>>',
                   'k8s/monitoring/prometheus-adapter-values.yaml')
        self.expect_red('')


if __name__ == '__main__':
    sys.exit(unittest.main(verbosity=2))

#!/usr/bin/env python3
"""Every alert fires where it should and stays quiet where it should, by promtool on made-up series.

A case changes some of the series of a healthy installation and says which alerts fire at which
minute: exactly those, so each case is also a case in which all the others stay quiet.
"""
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import yaml

import promql

STEP = 30  # seconds between samples, as the ServiceMonitors scrape
LENGTH = 121  # samples: one hour


def relay(name, instance, namespace='sagaz', **labels):
    destination = {} if name == 'up' else {'destination': 'default'}
    return series(name, namespace=namespace, job='outbox-worker', instance=instance, **destination,
                  **labels)


def service(name, **labels):
    return series(name, namespace='shop', job='orders', instance='o', **labels)


def series(name, **labels):
    return name + '{' + ','.join(f'{key}="{value}"' for key, value in labels.items()) + '}'


def steady(value, samples=LENGTH):
    return f'{value}x{samples - 1}'


def growing(by, start=0, samples=LENGTH):
    return f'{start}+{by}x{samples - 1}'


def then(*parts):
    """One stretch of values after the other; None stands for samples that are missing."""
    return ' '.join(parts)


def gone(samples=LENGTH):
    return f'_x{samples - 1}' if samples > 1 else '_'


END = 'stale'  # what Prometheus writes when a target goes away


def of_relay(instance, namespace='sagaz', samples=LENGTH, before=0):
    """What a healthy relay's page shows; from sample `before` on, for so many samples."""
    def values(text):
        parts = ([gone(before)] if before else []) + [text]
        return then(*parts, *([] if before + samples >= LENGTH else [END]))

    def make(name, text, **labels):
        return {relay(name, instance, namespace, **labels): values(text)}

    flat = {
        'up': 1, 'outbox_store_up': 1, 'outbox_destination_up': 1, 'outbox_slots_owned': 8,
        'outbox_relay_turn_age_seconds': 0.05, 'outbox_pending_events': 12,
        'outbox_oldest_pending_age_seconds': 0.2, 'outbox_slots_without_owner': 0,
        'outbox_reclaim_blocked_seconds': 0, 'outbox_database_clock_skew_seconds': 0,
        'outbox_database_wraparound_ratio': 0.09}
    made = {}
    for name, value in flat.items():
        made |= make(name, steady(value, samples))
    made |= make('outbox_last_publish_timestamp_seconds',
                 growing(STEP, before * STEP, samples))
    made |= make('outbox_publish_attempts_total', growing(3000, 0, samples))
    made |= make('outbox_published_events_total', growing(3000, 0, samples), topic='orders')
    for reason in ('refused', 'unknown'):
        made |= make('outbox_publish_failures_total', steady(0, samples), reason=reason)
    made |= make('outbox_dead_letter_events_total', steady(0, samples), reason='unknown_topic')
    for state in ('waiting', 'dead'):
        made |= make('outbox_parked_events', steady(0, samples), state=state)
    made |= latency(instance, 300, 300, 300, samples=samples, values=values, namespace=namespace)
    return made


def latency(instance, half, one, all_, samples=LENGTH, values=lambda text: text, ten=None,
            namespace='sagaz'):
    """So many a step end within half a second, one second, ten, and at all."""
    ten = all_ if ten is None else ten
    name = 'outbox_end_to_end_latency_seconds'
    made = {relay(f'{name}_bucket', instance, namespace, le=le): values(growing(by, 0, samples))
            for le, by in (('0.5', half), ('1', one), ('10', ten), ('+Inf', all_))}
    return made | {relay(f'{name}_count', instance, namespace): values(growing(all_, 0, samples))}


ORDER = {'consumer_name': 'billing', 'event_type': 'OrderPlaced'}
HEALTHY_SERVICE = {
    service('up'): steady(1),
    service('outbox_optimistic_send_attempts_total'): growing(300),
    service('outbox_optimistic_send_success_total'): growing(300),
    service('outbox_optimistic_send_failures_total', reason='timeout'): steady(0),
    service('outbox_optimistic_send_skipped_total', reason='late'): growing(300),
    service('consumer_inbox_processed_total', **ORDER): growing(300),
    service('consumer_inbox_duplicates_total', **ORDER): growing(30),
    service('consumer_inbox_failures_total', **ORDER): steady(0),
    service('consumer_inbox_parked_total', **ORDER): steady(0),
}
HEALTHY = of_relay('a') | of_relay('b') | HEALTHY_SERVICE


def both(name, text, **labels):
    return {relay(name, instance, **labels): text for instance in ('a', 'b')}


def case(name, changes, firing):
    """`firing`: of each minute the alerts, as "OutboxWorkerDown/critical" or with a "/cause"."""
    return {'name': name, 'series': HEALTHY | changes, 'firing': firing}


def without(*names, instances=('a', 'b')):
    return {key: None for key in HEALTHY if key.split('{')[0] in names
            and any(f'instance="{instance}"' in key for instance in instances)}


OF_THE_STORE = ['outbox_pending_events', 'outbox_oldest_pending_age_seconds',
                'outbox_parked_events', 'outbox_slots_without_owner',
                'outbox_reclaim_blocked_seconds', 'outbox_database_clock_skew_seconds',
                'outbox_database_wraparound_ratio']


def until_sample(sample, instances=('a', 'b'), names=None):
    """The healthy series of these relays end there."""
    return {key: text for instance in instances
            for key, text in of_relay(instance, samples=sample).items()
            if names is None or key.split('{')[0] in names}


def chain_of_relays(first, every, lives, changes):
    """Relays that follow each other, as in a crash loop of pods that are replaced."""
    made, at, number = {}, first, 0
    while at < LENGTH:
        name = f'next{number}'
        fresh = of_relay(name, samples=min(lives, LENGTH - at), before=at)
        made |= {key: text for key, text in changes(name, at, lives, fresh).items() if text}
        at += every
        number += 1
    return made


def destination_down_from_the_start(name, at, lives, fresh):
    """Prometheus sees it for two minutes, with nothing published and nothing up."""
    kept = {key: text for key, text in fresh.items()
            if key.split('{')[0] not in ('outbox_last_publish_timestamp_seconds',)
            and 'latency' not in key}
    samples = min(lives, LENGTH - at)
    end = [] if at + samples >= LENGTH else [END]
    kept[relay('outbox_destination_up', name)] = then(gone(at), steady(0, samples), *end)
    for counter in ('outbox_publish_attempts_total', ):
        kept[relay(counter, name)] = then(gone(at), steady(0, samples), *end)
    return kept


# By the alert that they are about.
CASES = {
    '': [
        case('a healthy installation', {}, {5: [], 20: [], 59: []}),
        case('no traffic at all',
             {key: steady(0) for key in HEALTHY if 'total' in key or 'latency' in key}
             | both('outbox_last_publish_timestamp_seconds', steady(0))
             | both('outbox_pending_events', steady(0))
             | both('outbox_oldest_pending_age_seconds', steady(0)),
             {20: [], 59: []}),
        case('a fresh installation that has never had an event',
             without('outbox_last_publish_timestamp_seconds', 'outbox_published_events_total',
                     'outbox_dead_letter_events_total')
             | {key: None for key in HEALTHY if 'latency' in key or 'consumer_inbox' in key}
             | both('outbox_publish_attempts_total', steady(0)),
             {20: [], 59: []}),
        case('a rolling update, one relay after the other',
             until_sample(20) | of_relay('c', samples=LENGTH - 18, before=18)
             | of_relay('d', samples=LENGTH - 22, before=22),
             {10: [], 12: [], 20: [], 40: []}),
    ],
    'OutboxHighLag': [
        case('6,000 events are pending', both('outbox_pending_events', steady(6000)),
             {9: [], 11: ['OutboxHighLag/warning']}),
        case('4,999 events are pending', both('outbox_pending_events', steady(4999)), {30: []}),
        case('the backlog of two relays is one backlog, not their sum',
             both('outbox_pending_events', steady(3000)), {30: []}),
        case('a backlog outlives the only relay, which is restarted after a minute and a half',
             without(*{key.split('{')[0] for key in of_relay('b')}, instances=['b'])
             | until_sample(14, ['a'])
             | {relay('outbox_pending_events', 'a'): then(steady(6000, 14), END)}
             | of_relay('c', samples=LENGTH - 17, before=17)
             | {relay('outbox_pending_events', 'c'): then(gone(17), steady(7000, LENGTH - 17))},
             {9: [], 11: ['OutboxHighLag/warning']}),
    ],
    'OutboxWorkerDown': [
        case('total outage: every target is down',
             until_sample(10, names=set(key.split('{')[0] for key in of_relay('a')) - {'up'})
             | both('up', then(steady(1, 10), steady(0, LENGTH - 10))),
             {9: [], 11: ['OutboxWorkerDown/critical'], 50: ['OutboxWorkerDown/critical']}),
        case('total outage: every target is absent', until_sample(10),
             {9: [], 11: ['OutboxWorkerDown/critical'], 50: ['OutboxWorkerDown/critical']}),
        case('total outage: first down, then absent',
             until_sample(10)
             | both('up', then(steady(1, 10), steady(0, 6), END)),
             {9: [], 11: ['OutboxWorkerDown/critical'], 50: ['OutboxWorkerDown/critical']}),
        case('there never was a relay', without(*{key.split('{')[0] for key in of_relay('a')}),
             {4: [], 6: ['OutboxWorkerDown/critical']}),
        case('all relays of one namespace are gone, those of another are well',
             until_sample(10) | of_relay('x', namespace='staging'),
             {9: [], 11: ['OutboxWorkerDown/critical']}),
        case('one relay of two is down',
             until_sample(10, ['a'], names=set(key.split('{')[0] for key in of_relay('a')) - {'up'})
             | {relay('up', 'a'): then(steady(1, 10), steady(0, LENGTH - 10))},
             {14: [], 16: ['OutboxWorkerDown/warning']}),
        case('relays that answer one scrape in five are down',
             both('up', ' '.join(['1 0 0 0 0'] * 24)),
             {3: [], 20: ['OutboxWorkerDown/critical'], 40: ['OutboxWorkerDown/critical']}),
        case('one missed scrape is no outage',
             both('up', then(steady(1, 40), '0', steady(1, 60))), {20: [], 21: [], 30: []}),
    ],
    'OutboxRelayStalled': [
        case('no relay reaches the database',
             until_sample(20, names=OF_THE_STORE)
             | both('outbox_store_up', then(steady(1, 20), steady(0, LENGTH - 20)))
             | both('outbox_last_publish_timestamp_seconds',
                    then(growing(STEP, 0, 20), steady(600, LENGTH - 20))),
             {14: [], 16: ['OutboxRelayStalled/critical/store'],
              50: ['OutboxRelayStalled/critical/store']}),
        case('a failover of the database in three minutes',
             both('outbox_store_up', then(steady(1, 20), steady(0, 6), steady(1, 60))),
             {12: [], 15: [], 17: []}),
        case('a relay is restarted while the database is out',
             without(*{key.split('{')[0] for key in of_relay('b')}, instances=['b'])
             | until_sample(30, ['a'])
             | until_sample(20, ['a'], names=OF_THE_STORE)
             | {relay('outbox_store_up', 'a'): then(steady(1, 20), steady(0, 8), END),
                relay('up', 'a'): then(steady(1, 28), END),
                relay('up', 'c'): then(gone(30), steady(1, LENGTH - 30)),
                relay('outbox_store_up', 'c'): then(gone(30), steady(0, LENGTH - 30)),
                relay('outbox_destination_up', 'c'): then(gone(30), steady(1, LENGTH - 30))},
             {14: [], 16: ['OutboxRelayStalled/critical/store'],
              50: ['OutboxRelayStalled/critical/store']}),
        case('a relay\'s loop hangs',
             {relay('outbox_relay_turn_age_seconds', 'a'):
              then(steady(0.05, 20), growing(STEP, STEP, LENGTH - 20))},
             {10: [], 13: ['OutboxRelayStalled/critical/loop']}),
        case('nothing is sent though all can be reached',
             both('outbox_oldest_pending_age_seconds',
                  then(steady(0.2, 20), growing(STEP, STEP, LENGTH - 20)))
             | both('outbox_last_publish_timestamp_seconds',
                    then(growing(STEP, 0, 20), steady(600, LENGTH - 20))),
             {12: [], 16: ['OutboxRelayStalled/critical/publishing'],
              25: ['OutboxRelayStalled/critical/publishing',
                   'OutboxOldestPendingTooOld/critical']}),
        case('nothing has been sent since the relays were started',
             without('outbox_last_publish_timestamp_seconds', 'outbox_published_events_total')
             | both('outbox_oldest_pending_age_seconds', steady(250)),
             {2: [], 4: ['OutboxRelayStalled/critical/publishing']}),
        case('publishers send everything, so a relay has nothing to send',
             both('outbox_pending_events', steady(300))
             | both('outbox_oldest_pending_age_seconds', steady(1.4))
             | both('outbox_last_publish_timestamp_seconds', steady(0)),
             {30: [], 59: []}),
    ],
    'OutboxDestinationDown': [
        case('one relay cannot reach the broker',
             {relay('outbox_destination_up', 'a'): then(steady(1, 20), steady(0, LENGTH - 20))},
             {14: [], 16: ['OutboxDestinationDown/critical']}),
        case('the broker is down: that, and not that relays stall',
             both('outbox_destination_up', then(steady(1, 20), steady(0, LENGTH - 20)))
             | both('outbox_oldest_pending_age_seconds',
                    then(steady(0.2, 20), growing(STEP, STEP, LENGTH - 20)))
             | both('outbox_last_publish_timestamp_seconds',
                    then(growing(STEP, 0, 20), steady(600, LENGTH - 20)))
             | both('outbox_publish_attempts_total',
                    then(growing(3000, 0, 20), steady(60000, LENGTH - 20))),
             {14: [], 16: ['OutboxDestinationDown/critical'],
              25: ['OutboxDestinationDown/critical', 'OutboxOldestPendingTooOld/critical']}),
        case('the broker is away for two minutes',
             both('outbox_destination_up', then(steady(1, 20), steady(0, 4), steady(1, 90))),
             {12: [], 14: [], 17: []}),
        case('relays restarted into an outage, again and again',
             {key: None for key in HEALTHY if 'outbox-worker' in key}
             | chain_of_relays(0, 6, 4, destination_down_from_the_start),
             {4: [], 6: ['OutboxDestinationDown/critical'],
              40: ['OutboxDestinationDown/critical']}),
    ],
    'OutboxSlotsWithoutOwner': [
        case('nobody takes a slot',
             {relay('outbox_slots_without_owner', 'a'):
              then(steady(0, 20), steady(2, LENGTH - 20))},
             {14: [], 16: ['OutboxSlotsWithoutOwner/critical']}),
        case('slots are free for a minute while a relay is replaced',
             both('outbox_slots_without_owner', then(steady(0, 20), steady(8, 2), steady(0, 90))),
             {12: [], 14: [], 16: []}),
    ],
    'OutboxOldestPendingTooOld': [
        case('some events wait for long, others flow',
             {relay('outbox_oldest_pending_age_seconds', 'b'):
              then(steady(0.2, 20), growing(STEP, STEP, LENGTH - 20))},
             {18: [], 20: ['OutboxOldestPendingTooOld/critical']}),
        case('events wait for four minutes', both('outbox_oldest_pending_age_seconds', steady(240)),
             {30: []}),
    ],
    'OutboxHighErrorRate': [
        case('2 % of the attempts are refused',
             {relay('outbox_publish_failures_total', 'a', reason='refused'): growing(120)},
             {9: [], 13: ['OutboxHighErrorRate/warning']}),
        case('0.5 % of the attempts are refused',
             both('outbox_publish_failures_total', growing(15), reason='refused'), {30: []}),
        case('a relay that has just started has nothing but failures',
             without(*{key.split('{')[0] for key in of_relay('a')})
             | of_relay('c') | {relay('outbox_publish_failures_total', 'c', reason='unknown'):
                                growing(3000)},
             {13: ['OutboxHighErrorRate/warning']}),
    ],
    'OutboxDeadLetterQueue': [
        case('20 events die within ten minutes',
             {relay('outbox_dead_letter_events_total', 'a', reason='unknown_topic'):
              then(steady(0, 40), growing(1, 1, 20), steady(20, 61))},
             {19: [], 29: ['OutboxDeadLetterQueue/critical'], 45: []}),
        case('eight events die within ten minutes',
             {relay('outbox_dead_letter_events_total', 'a', reason='unknown_topic'):
              then(steady(0, 40), growing(1, 1, 8), steady(8, 73))},
             {25: [], 30: []}),
        case('one event is dead, and is replayed after half an hour',
             both('outbox_parked_events', then(steady(0, 20), steady(1, 60), steady(0, 41)),
                  state='dead'),
             {22: [], 27: ['OutboxDeadLetterQueue/warning'], 42: []}),
        case('the relay that counted 15 of them was never scraped again',
             both('outbox_parked_events', then(steady(3, 40), steady(18, 81)), state='dead'),
             {19: ['OutboxDeadLetterQueue/warning'],
              22: ['OutboxDeadLetterQueue/critical', 'OutboxDeadLetterQueue/warning'],
              35: ['OutboxDeadLetterQueue/warning']}),
        case('500 dead events have waited since yesterday, and are replayed',
             both('outbox_parked_events', then(steady(500, 40), steady(0, 81)), state='dead'),
             {14: [], 17: ['OutboxDeadLetterQueue/warning'], 22: [], 40: []}),
    ],
    'OutboxHighLatency': [
        case('two in a hundred events take longer than half a second',
             latency('a', 294, 300, 300), {9: [], 13: []}),
        case('three in a hundred of all events take longer than half a second',
             latency('a', 291, 300, 300) | latency('b', 291, 300, 300),
             {9: [], 13: ['OutboxHighLatency/warning']}),
        case('an event now and then, and six in a hundred have met a poll at rest',
             latency('a', 94, 100, 100, samples=LENGTH) | latency('b', 94, 100, 100)
             | {relay(f'outbox_end_to_end_latency_seconds_{part}', instance, **labels): text
                for instance in ('a', 'b')
                for part, labels, text in (
                    ('bucket', {'le': '0.5'}, growing(9.4)), ('bucket', {'le': '1'}, growing(10)),
                    ('bucket', {'le': '10'}, growing(10)), ('bucket', {'le': '+Inf'}, growing(10)),
                    ('count', {}, growing(10)))},
             {30: []}),
        case('an event now and then, and each takes seconds',
             latency('a', 0, 0, 10) | latency('b', 0, 0, 10),
             {9: [], 13: ['OutboxHighLatency/warning']}),
    ],
    'OptimisticSendHighFailureRate': [
        case('20 % of the optimistic sends time out',
             {service('outbox_optimistic_send_failures_total', reason='timeout'): growing(60),
              service('outbox_optimistic_send_success_total'): growing(240)},
             {9: [], 13: ['OptimisticSendHighFailureRate/warning']}),
        case('5 % of the optimistic sends time out',
             {service('outbox_optimistic_send_failures_total', reason='timeout'): growing(15)},
             {30: []}),
        case('optimistic sending is switched off: skipped, not failed',
             {service('outbox_optimistic_send_attempts_total'): steady(0),
              service('outbox_optimistic_send_success_total'): steady(0),
              service('outbox_optimistic_send_skipped_total', reason='disabled'): growing(3000)},
             {30: []}),
    ],
    'InboxHighFailureRate': [
        case('one in ten handlers throws',
             {service('consumer_inbox_failures_total', **ORDER): growing(34)},
             {9: [], 13: ['InboxHighFailureRate/warning']}),
        case('every handler throws',
             {service('consumer_inbox_failures_total', **ORDER): growing(30),
              service('consumer_inbox_processed_total', **ORDER): steady(0)},
             {13: ['InboxHighFailureRate/warning']}),
        case('one in fifty handlers throws',
             {service('consumer_inbox_failures_total', **ORDER): growing(6)}, {30: []}),
    ],
    'InboxMessagesParked': [
        case('one message is parked',
             {service('consumer_inbox_parked_total', **ORDER): then(steady(0, 40), steady(1, 81))},
             {19: [], 22: ['InboxMessagesParked/warning'], 40: []}),
        case('a consumer that has just started parks its first message',
             {series('consumer_inbox_parked_total', namespace='shop', job='orders', instance='new',
                     **ORDER): then(gone(40), steady(1, 81))},
             {19: [], 22: ['InboxMessagesParked/warning'], 45: []}),
        case('seven messages were parked an hour ago',
             {service('consumer_inbox_parked_total', **ORDER): steady(7)}, {20: [], 50: []}),
    ],
    'OutboxTruncationBlocked': [
        case('somebody has kept a segment for more than half an hour',
             both('outbox_reclaim_blocked_seconds', steady(0))
             | {relay('outbox_reclaim_blocked_seconds', 'a'): growing(STEP)},
             {30: [], 34: [], 37: ['OutboxTruncationBlocked/warning']}),
        case('a dump keeps a segment for 20 minutes',
             {relay('outbox_reclaim_blocked_seconds', 'a'):
              then(growing(STEP, 0, 40), steady(0, 81))},
             {19: [], 30: []}),
    ],
    'OutboxDatabaseClockSkew': [
        case('the database\'s clock is three seconds behind',
             both('outbox_database_clock_skew_seconds', steady(-3)),
             {9: [], 11: ['OutboxDatabaseClockSkew/warning']}),
        case('the clocks are half a second apart',
             both('outbox_database_clock_skew_seconds', steady(0.5)), {30: []}),
    ],
    'OutboxDatabaseWraparound': [
        case('60 % of the transaction ids are used',
             both('outbox_database_wraparound_ratio', steady(0.6)),
             {9: [], 11: ['OutboxDatabaseWraparound/warning']}),
        case('85 % of the transaction ids are used',
             both('outbox_database_wraparound_ratio', steady(0.85)),
             {11: ['OutboxDatabaseWraparound/critical']}),
    ],
}
PAGES = [page for pages in CASES.values() for page in pages]

FIRING = 'group by (alertname, severity, cause) (ALERTS{alertstate="firing"})'


def firing_labels(text):
    names = zip(('alertname', 'severity', 'cause'), text.split('/'))
    return '{' + ', '.join(f'{key}="{value}"' for key, value in names) + '}'


def as_promtool(page):
    return {
        'name': page['name'],
        'interval': f'{STEP}s',
        'input_series': [{'series': key, 'values': text}
                         for key, text in page['series'].items() if text],
        'promql_expr_test': [
            {'expr': FIRING, 'eval_time': f'{minute}m',
             'exp_samples': [{'labels': firing_labels(alert), 'value': 1} for alert in alerts]}
            for minute, alerts in page['firing'].items()],
    }


def adapter_cases(root):
    """However many relays report it, the autoscaler is told of one backlog."""
    for query in promql.adapter_queries(root):
        for relays in (1, 3, 10):
            yield {
                'name': f'{query.where} of {relays} relays',
                'interval': f'{STEP}s',
                'input_series': [{'series': relay('outbox_pending_events', f'r{number}'),
                                  'values': steady(9000)} for number in range(relays)],
                'promql_expr_test': [{'expr': query.text, 'eval_time': '10m',
                                      'exp_samples': [{'labels': '{}', 'value': 9000}]}],
            }
        yield {'name': f'{query.where} while no relay reaches the database',
               'interval': f'{STEP}s', 'input_series': [],
               'promql_expr_test': [{'expr': query.text, 'eval_time': '10m', 'exp_samples': []}]}


def promtool(*arguments):
    program = shutil.which('promtool')
    if program is None:
        raise SystemExit('no promtool: install Debian\'s package prometheus (./do setup)')
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False,
                          timeout=120)


def run_cases(root=promql.ROOT, pages=PAGES):
    """promtool's verdict over the rules of `root`: (whether all is well, what it said)."""
    with tempfile.TemporaryDirectory(prefix='sagaz-alerts-') as folder:
        rules = Path(folder, 'rules.yaml')
        rules.write_text(yaml.safe_dump({'groups': promql.rule_groups(root)}), encoding='utf-8')
        tests = Path(folder, 'tests.yaml')
        tests.write_text(yaml.safe_dump({
            'rule_files': [rules.name],
            'evaluation_interval': f'{STEP}s',
            'tests': [as_promtool(page) for page in pages] + list(adapter_cases(root)),
        }), encoding='utf-8')
        said = promtool('test', 'rules', str(tests))
        return said.returncode == 0, said.stdout + said.stderr


class Alerts(unittest.TestCase):
    def test_fire_where_they_should_and_stay_quiet_where_they_should(self):
        well, said = run_cases()
        self.assertTrue(well, said)

    def test_each_has_a_case_that_fires_and_one_that_does_not(self):
        fires = {alert.split('/')[0] for page in PAGES
                 for alerts in page['firing'].values() for alert in alerts}
        self.assertEqual(fires, {rule['alert'] for rule in promql.rules()})
        # Every case is one in which all the others stay quiet.
        self.assertTrue(any(not any(page['firing'].values()) for page in PAGES))


if __name__ == '__main__':
    sys.exit(unittest.main(verbosity=2))

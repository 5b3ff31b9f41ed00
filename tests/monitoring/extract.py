#!/usr/bin/env python3
"""extract.py OUT [FOR]: the alerts as a rules file for a Prometheus without the Operator.

For those who cannot wait so long FOR replaces every `for`; /N makes it an Nth, a second at least.
"""
import re
import sys

import yaml

import promql


SECONDS = {'s': 1, 'm': 60, 'h': 3600}


def shortened(duration, wait):
    if not wait.startswith('/'):
        return wait
    seconds = sum(int(n) * SECONDS[unit] for n, unit in re.findall(r'(\d+)([smh])', duration))
    return f'{max(1, seconds // int(wait[1:]))}s'


def extracted(wait=None):
    groups = promql.rule_groups()
    for group in groups:
        for rule in group['rules']:
            if wait and 'for' in rule:
                rule['for'] = shortened(rule['for'], wait)
    return {'groups': groups}


if __name__ == '__main__':
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    with open(sys.argv[1], 'w', encoding='utf-8') as out:
        yaml.safe_dump(extracted(*sys.argv[2:]), out, sort_keys=False)

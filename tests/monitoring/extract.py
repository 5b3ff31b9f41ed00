#!/usr/bin/env python3
"""extract.py OUT [FOR]: the alerts as a rules file for a Prometheus without the Operator.

FOR replaces every `for`, for tests that cannot wait so long.
"""
import sys

import yaml

import promql


def extracted(wait=None):
    groups = promql.rule_groups()
    for group in groups:
        for rule in group['rules']:
            if wait and 'for' in rule:
                rule['for'] = wait
    return {'groups': groups}


if __name__ == '__main__':
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    with open(sys.argv[1], 'w', encoding='utf-8') as out:
        yaml.safe_dump(extracted(*sys.argv[2:]), out, sort_keys=False)

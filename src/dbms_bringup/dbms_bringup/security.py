# SPDX-License-Identifier: Apache-2.0
"""Who may say and ask what, as an SROS2 policy: ./dbms policy.

The table below is held against the running nodes by a test. Pure Python: no ROS is needed.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

# What every node of ROS 2 says and offers.
COMMON_PUBLISH = ('/parameter_events', '/rosout')
COMMON_REPLY = (
    'describe_parameters', 'get_parameter_types', 'get_parameters', 'get_type_description',
    'list_parameters', 'set_parameters', 'set_parameters_atomically',
)  # fmt: skip
LIFECYCLE_REPLY = (
    'change_state', 'get_available_states', 'get_available_transitions', 'get_state',
    'get_transition_graph',
)  # fmt: skip
MEASURED = ('modules/*/cells', 'strings/*/measurement')
GUARD_SAYS = ('faults', 'limits', 'protection/holder', 'protection/state')
GUARD_OFFERS = ('connect', 'disconnect', 'emergency_stop', 'reset_faults')
ESTIMATED = (
    'battery_state', 'cells/state', 'energy', 'health', 'power', 'strings/*/battery_state',
)  # fmt: skip


@dataclass(frozen=True)
class Access:
    """What one node, in an enclave of its own, may do; names relative to the pack's namespace."""

    node: str
    publish: Sequence[str] = ()
    subscribe: Sequence[str] = ()
    reply: Sequence[str] = ()
    request: Sequence[str] = ()
    lifecycle: bool = False

    def rules(self) -> list[tuple[str, str, list[str]]]:
        """Return kind, qualifier and names of what is allowed, with what every node needs."""
        own = [f'{self.node}/{name}' for name in COMMON_REPLY]
        says = [*COMMON_PUBLISH, *self.publish]
        if self.lifecycle:
            own += [f'{self.node}/{name}' for name in LIFECYCLE_REPLY]
            says.append(f'{self.node}/transition_event')
        rules = (
            ('topic', 'publish', says),
            ('topic', 'subscribe', ['/clock', *self.subscribe]),
            ('service', 'reply', [*own, *self.reply]),
            ('service', 'request', [*self.request]),
        )
        return [(kind, word, sorted(names)) for kind, word, names in rules if names]


def _guard(node: str) -> Access:
    return Access(
        node,
        publish=('/diagnostics', 'protection/beat', *GUARD_SAYS),
        subscribe=(
            *MEASURED, 'cells/state', 'power', 'emergency_stop/pressed',
            # of the other guard of a pair
            'faults', 'protection/beat', 'protection/holder',
        ),
        reply=GUARD_OFFERS,
        request=('contactors/*/set',),
        lifecycle=True,
    )  # fmt: skip


# The nodes of the graph.
NODES = (
    Access('driver', ('/diagnostics', *MEASURED), ('modules/*/bleed',), ('contactors/*/set',)),
    Access('estimation', ('/diagnostics', *ESTIMATED), MEASURED, ('plan_energy',)),
    _guard('protection'),
    _guard('protection_standby'),
    Access(
        'status',
        subscribe=(
            '/diagnostics',
            *MEASURED,
            'battery_state',
            'cells/state',
            'energy',
            'health',
            'power',
            'faults',
            'limits',
            'protection/state',
        ),
    ),
)
# Who uses it. Nobody else calls anything, bleeds a cell or presses the button.
CALLERS = (
    Access('helm', ('emergency_stop/pressed',), (*ESTIMATED, *GUARD_SAYS), request=GUARD_OFFERS),
    Access('planner', subscribe=(*ESTIMATED, *GUARD_SAYS),
           request=('connect', 'disconnect', 'plan_energy')),
    Access('dock', subscribe=(*ESTIMATED, *GUARD_SAYS), request=('connect', 'disconnect')),
    Access('emergency_stop', ('emergency_stop/pressed',), ('protection/state',),
           request=('emergency_stop',)),
    Access('balancing', ('modules/*/bleed',), (*MEASURED, 'cells/state', *GUARD_SAYS)),
    Access('manager', subscribe=('protection/transition_event',),
           request=('protection/change_state', 'protection/get_state')),
)  # fmt: skip


def enclave_of(node: str, namespace: str) -> str:
    """Return the enclave of a node of the graph."""
    return f'/{namespace.strip("/")}/{node}'


def wanted(environ: Mapping[str, str]) -> bool:
    """Return whether nodes are to be in enclaves, by the variable of SROS2 (exactly `true`)."""
    return environ.get('ROS_SECURITY_ENABLE') == 'true'


def policy(namespace: str) -> str:
    """Return the policy for a pack in `namespace` as XML in the format of SROS2."""
    space = '/' + namespace.strip('/')
    root = ElementTree.Element('policy', version='0.2.0')
    root.append(ElementTree.Comment(f' Made by ./dbms policy for the namespace {space} '))
    enclaves = ElementTree.SubElement(root, 'enclaves')
    for access in (*NODES, *CALLERS):
        enclave = ElementTree.SubElement(enclaves, 'enclave', path=enclave_of(access.node, space))
        profiles = ElementTree.SubElement(enclave, 'profiles')
        profile = ElementTree.SubElement(profiles, 'profile', ns=space, node=access.node)
        for kind, word, names in access.rules():
            group = ElementTree.SubElement(profile, f'{kind}s', {word: 'ALLOW'})
            for name in names:
                ElementTree.SubElement(group, kind).text = name
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, "unicode")}\n'


def main(arguments: Sequence[str]) -> int:
    """Print the policy."""
    words = argparse.ArgumentParser(
        prog='./dbms policy', description='Print an SROS2 policy: who may say and ask what.'
    )
    words.add_argument('--namespace', default='battery', help='of the pack')
    words.add_argument('-o', '--output', type=Path, metavar='FILE')
    value = words.parse_args(arguments)
    if value.output is None:
        print(policy(value.namespace), end='')
        return 0
    try:
        value.output.write_text(policy(value.namespace), encoding='utf-8')
    except OSError as error:
        print(f'dbms: {error}', file=sys.stderr)
        return 1
    return 0

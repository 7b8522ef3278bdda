# SPDX-License-Identifier: Apache-2.0
"""./dbms connect, disconnect, reset: one call to a running graph, in whichever process it is."""

import argparse
import getpass
import sys
import time
from collections.abc import Sequence

SERVICES = {'connect': 'connect', 'disconnect': 'disconnect', 'reset': 'reset_faults'}
HELP = {
    'connect': 'Close the contactors of a running graph, if protection allows it.',
    'disconnect': 'Open the contactors of a running graph, announced under load.',
    'reset': 'Clear the latched faults of a running graph whose cause is gone.',
}
NO_GRAPH = 3  # exit code


def main(command: str, arguments: Sequence[str]) -> int:
    """Call the service of `command`; 0 done, 1 refused, 3 nobody there."""
    value = _parser(command).parse_args(arguments)
    import rclpy  # only now: --help needs no ROS
    from dbms_msgs.srv import Command

    from dbms_node import middleware

    middleware.init()
    try:
        node = rclpy.create_node('dbms_command', namespace=value.namespace)
        client = node.create_client(Command, SERVICES[command])
        deadline = time.monotonic() + value.timeout
        name = client.srv_name
        if not client.wait_for_service(timeout_sec=value.timeout):
            return _nobody(f'no running graph: nobody offers {name} within {value.timeout:g} s')
        future = client.call_async(
            Command.Request(
                origin=_origin(),
                reason=value.reason,
                strings=value.strings,
                holder=value.holder,
                lease=value.lease,
                force=value.force,
            )  # fmt: skip
        )
        rclpy.spin_until_future_complete(
            node, future, timeout_sec=max(0.5, deadline - time.monotonic())
        )
        if not future.done():
            return _nobody(f'{name} does not answer: has protection just been ended?')
        answer = future.result()
        print(answer.message)
        return 0 if answer.success else 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()


def _parser(command: str) -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog=f'./dbms {command}', description=HELP[command])
    words.add_argument('strings', nargs='*', help='which strings; none named: all')
    words.add_argument('--namespace', default='battery', help='of the pack')
    words.add_argument('--reason', default='', help='why, for the log')
    words.add_argument('--holder', default='', metavar='NAME', help='in whose name')
    words.add_argument('--lease', type=float, default=0.0, metavar='S', help='of the holder')
    words.add_argument('--force', action='store_true', help='take over from the present holder')
    words.add_argument('--timeout', type=float, default=5.0, metavar='S')
    return words


def _nobody(text: str) -> int:
    print(f'dbms: {text}', file=sys.stderr)
    print('  is ./dbms up running, with the same --namespace and ROS_DOMAIN_ID?', file=sys.stderr)
    return NO_GRAPH


def _origin() -> str:
    try:
        return f'{getpass.getuser()} by ./dbms'
    except (OSError, KeyError):  # a user without a name
        return './dbms'

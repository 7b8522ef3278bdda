# SPDX-License-Identifier: Apache-2.0
"""What ./dbms up is asked to do, as a value; contradictions are refused here."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dbms_pack import Pack, load_pack, paths

from .graph import Options
from .ports import free_port

DEMO = 'robot_13s'


@dataclass(frozen=True)
class Plan:
    """A run: which pack, which graph, in which form, and when it ends."""

    pack: Pack
    options: Options
    namespace: str
    processes: bool
    connect: bool
    view: bool
    duration: float | None  # s
    summary: Path | None
    domain: int | None
    record: Path | None = None
    notes: tuple[str, ...] = ()
    force: bool = False  # whoever else may be in the namespace


def parser() -> argparse.ArgumentParser:
    """Return the parser of ./dbms up."""
    words = argparse.ArgumentParser(
        prog='./dbms up',
        description='Start the whole graph on a pack and show it. Without --hardware the pack is '
        'simulated: virtual boards on a virtual bus, everything else as on a real one.',
    )
    add = words.add_argument
    add('pack', nargs='?', help=f'pack file, or name of a shipped one (default: {DEMO})')
    add('--play', metavar='FILE', help='put a recording (CSV, .gz) on the bus; ends by itself')
    add('--speed', type=float, default=1.0, metavar='N', help='simulate N times faster')
    add(
        '--load',
        metavar='PROFILE',
        help='robot, marine, rest, constant:AMPERES, a CSV file; obey: before it keeps to limits',
    )
    add('--initial-soc', type=float, default=0.8, metavar='X', help='0..1, of a simulated pack')
    add('--namespace', default='battery', help='of all topics; one for each pack')
    add('--domain', type=int, metavar='N', help='ROS_DOMAIN_ID')
    add('--force', action='store_true', help='start although the namespace is in use')
    add('--processes', action='store_true', help='a process per node, started again if it ends')
    add('--standby', action='store_true', help='with --processes: a second guard stands by')
    add('--boards', default='', metavar='M,M', help='with --processes: boards apart from the rest')
    add('--hardware', action='store_true', help='real buses, as the pack file names them')
    add('--connect', action='store_true', help='with --hardware: close the contactors at once')
    add('--no-connect', action='store_true', help='leave the contactors open')
    add('--duration', type=float, metavar='S', help='end after S seconds')
    add('--no-view', action='store_true', help='lines of events instead of the live view')
    add('--summary', type=Path, metavar='FILE', help='write what happened as JSON')
    add(
        '--state',
        metavar='FILE',
        help='keep what is known of the cells over a restart; left out: '
        'with --hardware in the state folder of the user, simulated nowhere',
    )
    add('--record', type=Path, metavar='DIR', help='record all topics, as ./dbms record does')
    return words


def make_plan(arguments: Sequence[str], terminal: bool) -> Plan:
    """Return the plan for a command line; ValueError says what is wrong with it."""
    value = parser().parse_args(arguments)
    _check(value)
    notes: list[str] = []
    if value.pack is None and value.play:
        pack = fitting_pack(Path(value.play))
        notes.append(f'{Path(value.play).name} has {pack.cells} cells: played on {pack.name}')
    else:
        pack = load_pack(value.pack or DEMO)
    simulate = not value.hardware
    interface = ('socketcand' if value.processes else 'virtual') if simulate else ''
    options = Options(
        simulate=simulate,
        bus_interface=interface,
        bus_port=free_port() if interface == 'socketcand' else 0,
        play=value.play or '',
        load=value.load or f'obey:{"marine" if pack.name.startswith("marine") else "robot"}',
        initial_soc=value.initial_soc,
        time_scale=value.speed,
        standby=value.standby,
        boards=tuple(name for name in value.boards.split(',') if name),
        extra={'estimation': {'state_file': os.path.abspath(value.state)}} if value.state else {},
    )
    return Plan(
        pack=pack,
        options=options,
        namespace=value.namespace.strip('/'),
        processes=value.processes,
        # Real contactors are closed by a person, not by a program that starts.
        connect=not value.no_connect and (simulate or value.connect),
        view=terminal and not value.no_view,
        duration=value.duration,
        summary=value.summary,
        domain=value.domain,
        record=value.record,
        notes=tuple(notes),
        force=value.force,
    )


def fitting_pack(recording: Path) -> Pack:
    """Return the shipped pack with as many cells as the recording; ValueError if there is none."""
    from dbms_sim.playback import RecordingError, read_recording  # numpy: only when needed

    refused: RecordingError | None = None
    for name in paths.names('packs'):
        pack = load_pack(name)
        try:
            read_recording(recording, pack)
        except RecordingError as error:
            refused = error
        else:
            return pack
    raise ValueError(f'no shipped pack fits: {refused}')


def _check(value: argparse.Namespace) -> None:
    if value.hardware:
        for name in ('play', 'load', 'boards'):
            if getattr(value, name):
                raise ValueError(f'--{name} is for a simulated pack: leave out --hardware')
        if value.speed != 1.0:
            raise ValueError('--speed is for a simulated pack: leave out --hardware')
    if value.play and not os.path.exists(value.play):
        raise ValueError(f'--play {value.play}: no such file')
    if not 0.001 <= value.speed <= 10_000.0:
        raise ValueError(f'--speed {value.speed:g}: allowed are 0.001 to 10000')
    if not 0.0 <= value.initial_soc <= 1.0:
        raise ValueError(f'--initial-soc {value.initial_soc:g}: allowed are 0 to 1')
    if value.boards and not value.processes:
        raise ValueError('--boards makes processes: add --processes')
    if value.standby and not value.processes:
        raise ValueError('--standby needs a process of its own: add --processes')
    if value.connect and value.no_connect:
        raise ValueError('--connect and --no-connect contradict each other')
    if value.record is not None and value.record.exists() and any(value.record.iterdir()):
        raise ValueError(f'--record {value.record}: not empty')
    if value.domain is not None and not 0 <= value.domain <= 232:
        raise ValueError(f'--domain {value.domain}: allowed are 0 to 232')
    if value.duration is not None and not value.duration > 0.0:
        raise ValueError(f'--duration {value.duration:g}: must be positive')

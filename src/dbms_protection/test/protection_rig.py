# SPDX-License-Identifier: Apache-2.0
"""A small pack, a contactor unit that obeys, and a guard between them, for the tests."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from dbms_pack import (
    Bus,
    CellModel,
    ContactorUnit,
    CurrentSensor,
    Level,
    Limit,
    Limits,
    LossRule,
    Module,
    Pack,
    Precharge,
    String,
)
from dbms_protection.contactors import ALL_OPEN
from dbms_protection.guard import Guard
from dbms_protection.measurements import Contact, Interlock, StringSample

TABLE = np.full((1, 1), 1e-3)
CELL = CellModel(
    name='test',
    chemistry='NMC',
    source='made up',
    capacity=3.0,
    voltage_min=2.5,
    voltage_max=4.2,
    voltage_nominal=3.6,
    ocv_soc=np.array([0.0, 1.0]),
    ocv_voltage=np.array([3.0, 4.2]),
    temperatures=np.array([25.0]),
    socs=np.array([0.5]),
    r0=TABLE,
    r1=TABLE,
    tau1=TABLE,
    r2=TABLE,
    tau2=TABLE,
    heat_capacity=50.0,
    thermal_resistance=5.0,
)
UNIT = ContactorUnit(
    bus='main',
    address=0,
    lease=0.25,
    feedback_timeout=0.2,
    break_current=20.0,
    grace=1.0,
    join_voltage=2.0,
    join_current=100.0,
    precharge=Precharge(
        voltage=1.0, current=1.0, min_time=0.1, timeout=2.0, attempts=3, pause=3.0
    ),
)


def levels(mol, rsl, msl, hysteresis=0.05, debounce=0.0):
    def limit(at, latch):
        return Limit(at=at, debounce=debounce, hysteresis=hysteresis, latch=latch)

    return {
        Level.MOL: limit(mol, False),
        Level.RSL: limit(rsl, False),
        Level.MSL: limit(msl, True),
    }


def make_limits(**changes):
    return replace(
        Limits(
            cell_overvoltage=levels(4.15, 4.18, 4.22),
            cell_undervoltage=levels(3.0, 2.8, 2.5),
            overtemperature_charge=levels(40.0, 45.0, 50.0, 2.0),
            undertemperature_charge=levels(5.0, 2.0, -2.0, 2.0),
            overtemperature_discharge=levels(50.0, 55.0, 60.0, 2.0),
            undertemperature_discharge=levels(-10.0, -15.0, -20.0, 2.0),
            overcurrent_charge=levels(50.0, 60.0, 80.0, 5.0),
            overcurrent_discharge=levels(100.0, 120.0, 150.0, 5.0),
            short_circuit={Level.MSL: Limit(400.0, 0.0, 10.0, True)},
            module_lost=LossRule(timeout=0.5, derate=0.5, open_after=30.0),
            string_lost=LossRule(timeout=0.25, derate=0.0, open_after=0.0),
            rest_current=0.5,
        ),
        **changes,
    )


def make_pack(
    strings=1, modules=2, cells=4, temperatures=2, limits=None, unit=UNIT, path=Path('test.yaml')
):
    built, first_cell, first_temperature = [], 0, 0
    for number in range(strings):
        name = 'abcdefgh'[number]
        mods = []
        for index in range(modules):
            mods.append(
                Module(
                    name=f'{name}{index + 1}',
                    string=name,
                    bus='main',
                    address=len(built) * modules + index,
                    cells=cells,
                    temperatures=temperatures,
                    first_cell=first_cell,
                    first_temperature=first_temperature,
                    period=0.1,
                )
            )
            first_cell += cells
            first_temperature += temperatures
        sensor = CurrentSensor(
            bus='main', address=number, period=0.02, voltage_period=0.1, range=500.0
        )
        built.append(String(name, tuple(mods), sensor, replace(unit, address=number)))
    return Pack(
        name='test',
        description='for tests',
        cell=CELL,
        parallel=1,
        buses={'main': Bus('main', 'virtual', 'test')},
        strings=tuple(built),
        limits=limits or make_limits(),
        path=path,
        digest='0' * 64,
    )


class Unit:
    """Contactor unit, link capacitor and sensor of one string."""

    def __init__(self, voltage):
        self.voltage = voltage
        self.link = 0.0
        self.command = ALL_OPEN
        self.stuck = {}  # contact index -> reading that never changes
        self.until = 0.0
        self.obeys = True
        self.current = 0.0
        self.interlock = Interlock.CLOSED
        self.changes = {}  # fields of the sample to replace
        self.lease_expired = False

    def contacts(self):
        read = [Contact.CLOSED if closed else Contact.OPEN for closed in self.command]
        for index, reading in self.stuck.items():
            read[index] = reading
        return tuple(read)

    def sample(self):
        closed = [reading == Contact.CLOSED for reading in self.contacts()]
        flows = closed[0] and closed[2]
        sample = StringSample(
            current=self.current if flows else 0.0,
            current_age=0.0,
            string_voltage=self.voltage,
            link_voltage=self.link,
            voltage_age=0.0,
            contacts=self.contacts(),
            contact_age=0.0,
            interlock=self.interlock,
            lease_expired=self.lease_expired,
        )
        return replace(sample, **self.changes)


class Rig:
    """A guard with a whole simulated pack around it, advanced in steps of 10 ms."""

    def __init__(self, pack=None, volts=3.7, degrees=25.0, answer=True, **options):
        self.pack = pack or make_pack()
        self.sent = []  # (time, command)
        self.now = 1000.0
        self.answer = answer
        self.guard = Guard(self.pack, self._send, **options)
        self.voltages = [np.full(m.cells, volts, np.float32) for m in self.pack.modules]
        self.temperatures = [
            np.full(m.temperatures, degrees, np.float32) for m in self.pack.modules
        ]
        self.silent = set()  # module indices
        self.dumb = set()  # string indices
        self.status = [0] * len(self.pack.modules)
        self.units = [Unit(volts * string.cells) for string in self.pack.strings]
        self.link_holds = True
        self._answers = []
        self._count = 0
        self._sequence = [0] * len(self.pack.modules)

    def _send(self, command):
        self.sent.append((self.now, command))
        unit = self.units[command.string]
        if unit.obeys:
            unit.command = command.contacts
            unit.until = self.now + command.lease
        self._answers.append((command.string, command.sequence, unit.obeys))

    def activate(self):
        self.guard.activate(self.now)
        self.run(0.3)
        return self

    def connect(self, *strings):
        answer = self.guard.command('connect', 'test', 'test', strings, self.now)
        self.run(1.5)
        return answer

    def run(self, seconds):
        for _ in range(round(seconds / 0.01)):
            self.step()

    def step(self, dt=0.01):
        self.now += dt
        self._count += 1
        self._physics()
        if self.answer:
            answers, self._answers = self._answers, []
            for string, sequence, accepted in answers:
                self.guard.on_answer(string, sequence, accepted, '', self.now)
        if self._count % 2 == 0:
            for index, unit in enumerate(self.units):
                if index not in self.dumb:
                    self.guard.on_string(index, self._count, unit.sample(), self.now)
        if self._count % 10 == 0:
            for index in range(len(self.pack.modules)):
                if index not in self.silent:
                    self.scan(index)
        if self._count % 2 == 1:
            self.guard.tick(self.now)

    def scan(self, index):
        self._sequence[index] += 1
        self.guard.on_cells(
            index,
            self._sequence[index],
            self.voltages[index],
            self.temperatures[index],
            self.status[index],
            self.now,
        )

    def _physics(self):
        held = [unit for unit in self.units if unit.command[0] and unit.command[2]]
        for unit in self.units:
            if unit.command != ALL_OPEN and self.now > unit.until:
                unit.command = ALL_OPEN
                unit.lease_expired = True
            elif unit.command != ALL_OPEN:
                unit.lease_expired = False
            if held:
                unit.link = held[0].voltage
            elif unit.command == (True, True, False) and unit.link < unit.voltage:
                unit.link += (unit.voltage - unit.link) * 0.1
            elif unit.command == ALL_OPEN and not held:
                unit.link *= 0.99

    def state(self, index=0):
        return self.guard.strings[index].state

    def names(self, active_only=False):
        return {
            (fault.name, fault.level.name)
            for fault in self.guard.book.listing()
            if fault.active or not active_only
        }

    def commands(self, string=0):
        return [command for _, command in self.sent if command.string == string]

    def contacts_in_order(self, string=0):
        order = []
        for command in self.commands(string):
            if not order or order[-1] != command.contacts:
                order.append(command.contacts)
        return order

# SPDX-License-Identifier: Apache-2.0
"""Capacity of every cell from partial cycles.

Between two moments at which the voltage alone tells the SOC, a pair is known: the change of SOC,
x, and the charge that was counted, y. Both carry errors, so a line through the pairs by ordinary
least squares comes out too flat: a capacity too small. Plett (J. Power Sources 196, 2011) answers
with recursive total least squares. Here the same is had with the inverse capacity u as the
unknown: x = u * (y - b * T) with b, the offset of the current sensor, as a second one. The
regressor y is then the quantity that is known well, the noise is that of x, and a Kalman filter of
two states is unbiased, forgets by a stated law and tells its sigma.

Errors of the OCV table are the same in every cycle and do not average out. They are carried
beside the covariance as a sensitivity that only shrinks by better windows, never by more of them.
"""

from dataclasses import dataclass

import numpy as np

from dbms_pack.model import FloatArray

from .arrays import restore


@dataclass(frozen=True)
class CapacityOptions:
    """What is assumed about cells and sensors; shares are of the rated capacity."""

    start_sigma: float = 0.1  # share, of a cell nothing is known of
    lowest: float = 0.3  # share, no cell is worse and still works
    highest: float = 1.2
    fade_per_cycle: float = 0.001  # share, random walk per root of a full equivalent cycle
    fade_per_month: float = 0.003  # share, random walk per root of a month
    gain_error: float = 0.005  # relative, of the current sensor: no pair can tell it
    gain_noise: float = 0.002  # relative, of one window's charge
    offset_time: float = 1e6  # s, over which the offset of the sensor stays the same
    gate: float = 4.0  # sigmas above which a pair is not believed
    doubt: float = 0.05  # share, by which sigma grows then
    most_doubt: float = 0.3  # share, up to which it does
    step: float = 0.02  # share, largest change by one pair unless sigma was wider


class Pairs:
    """Change of SOC `x` and counted charge `y` (share of the rated capacity) of each cell.

    `white` is the sigma of x that another window has anew, `fixed` that which it has again; `time`
    is h. All of shape (n,); NaN where a cell has no pair.
    """

    __slots__ = ('fixed', 'time', 'white', 'x', 'y')

    def __init__(
        self, x: FloatArray, y: FloatArray, white: FloatArray, fixed: FloatArray, time: FloatArray
    ) -> None:
        self.x, self.y, self.white, self.fixed, self.time = x, y, white, fixed, time


class CapacityFilter:
    """Inverse capacity and current offset of n cells, from pairs.

    Attributes of shape (n,): `inverse` (rated over present capacity), `offset` (share of the rated
    capacity per h, what the current sensor shows too much), `windows` (pairs used), `refused`.
    """

    def __init__(
        self, cells: int, offset: FloatArray | float, options: CapacityOptions | None = None
    ) -> None:
        """Take the sigma of the current sensor's offset, in shares of the capacity per h."""
        self.options = options or CapacityOptions()
        self._offset_size = np.broadcast_to(np.asarray(offset, dtype=float), (cells,)).copy()
        self.inverse: FloatArray = np.ones(cells)
        self.offset: FloatArray = np.zeros(cells)
        self.windows = np.zeros(cells)
        self.refused = np.zeros(cells)
        self.covariance = np.zeros((3, cells))  # of inverse; of both; of offset
        self.covariance[0] = self.options.start_sigma**2
        self.covariance[2] = np.square(self._offset_size)
        self.fixed = np.zeros((2, cells))  # what the errors that stay have made of both

    @property
    def ratio(self) -> FloatArray:
        """Capacity now over the rated one."""
        return 1.0 / self.inverse

    @property
    def offset_sigma(self) -> FloatArray:
        """Standard deviation of `offset`."""
        return np.hypot(np.sqrt(self.covariance[2]), self.fixed[1])

    @property
    def sigma(self) -> FloatArray:
        """Standard deviation of `ratio`."""
        own = self.covariance[0] + np.square(self.fixed[0])
        return np.sqrt(own * self.ratio**4 + np.square(self.options.gain_error * self.ratio))

    def age(self, cycles: FloatArray, seconds: FloatArray) -> None:
        """Widen sigma by what `cycles` (full equivalent) and `seconds` may have changed."""
        options, p = self.options, self.covariance
        fade = options.fade_per_cycle**2 * cycles
        fade = fade + options.fade_per_month**2 * seconds / (30 * 86400.0)
        p[0] = np.maximum(np.minimum(p[0] + fade, options.start_sigma**2), p[0])
        kept = np.exp(-seconds / options.offset_time)
        self.offset *= kept
        self.fixed[1] *= kept
        p[1] *= kept
        p[2] = p[2] * kept**2 + (1 - kept**2) * np.square(self._offset_size)

    def add(self, pairs: Pairs) -> np.ndarray:
        """Learn from `pairs`; return a mask of the cells that did."""
        options, p = self.options, self.covariance
        given = (pairs.x, pairs.y, pairs.white, pairs.fixed, pairs.time)
        enough = np.isfinite(np.stack(given)).all(axis=0) & (pairs.x != 0)
        x, y, white, fixed, time = (np.where(enough, v, 0.0) for v in given)
        fixed = np.copysign(fixed, y)  # a table that is too long is so upwards and downwards
        h0, h1 = y - self.offset * time, -self.inverse * time
        f0, f1 = self.fixed
        both = f0 * h0 + f1 * h1
        own = np.hypot(fixed, both)
        noise = np.square(white) + np.square(options.gain_noise * self.inverse * y)
        ph0, ph1 = p[0] * h0 + p[1] * h1, p[1] * h0 + p[2] * h1
        expected = h0 * ph0 + h1 * ph1 + np.square(own) + noise
        wrong = x - self.inverse * h0
        enough &= expected > 0
        expected = np.where(enough, expected, 1.0)
        believed = enough & (np.square(wrong) <= options.gate**2 * expected)
        doubted = enough & ~believed
        self.refused += doubted
        wider = np.minimum(p[0] + options.doubt**2, options.most_doubt**2)
        p[0] = np.where(doubted, np.maximum(wider, p[0]), p[0])
        sigma = np.sqrt(p[0])
        # The fixed errors take part as if they were new: else many windows would hide them.
        k0 = np.where(believed, (ph0 + f0 * both) / expected, 0.0)
        k1 = np.where(believed, (ph1 + f1 * both) / expected, 0.0)
        # A larger step than is believed at once is a weaker gain, also for the covariance.
        allowed = np.maximum(options.step, sigma)
        weaker = np.minimum(allowed / np.maximum(np.abs(k0 * wrong), 1e-12), 1.0)
        k0, k1 = k0 * weaker, k1 * weaker
        self._move(k0 * wrong, k1 * wrong)
        rest = np.square(white) + np.square(options.gain_noise * self.inverse * y)
        a, b, c, d = 1 - k0 * h0, -k0 * h1, -k1 * h0, 1 - k1 * h1
        p0, p1, p2 = p
        self.covariance = np.stack(
            [
                a * a * p0 + 2 * a * b * p1 + b * b * p2 + k0 * k0 * rest,
                a * c * p0 + (a * d + b * c) * p1 + b * d * p2 + k0 * k1 * rest,
                c * c * p0 + 2 * c * d * p1 + d * d * p2 + k1 * k1 * rest,
            ]
        )
        self.fixed = np.stack([a * f0 + b * f1 + k0 * fixed, c * f0 + d * f1 + k1 * fixed])
        self.windows += believed
        return believed

    def _move(self, by: FloatArray, offset: FloatArray) -> None:
        options = self.options
        self.inverse = np.clip(self.inverse + by, 1 / options.highest, 1 / options.lowest)
        size = 3 * self._offset_size
        self.offset = np.clip(self.offset + offset, -size, size)

    def state(self) -> dict[str, FloatArray]:
        """Return what is to be kept, as arrays whose last axis is the cells."""
        return {
            'inverse': self.inverse.copy(),
            'offset': self.offset.copy(),
            'covariance': self.covariance.copy(),
            'fixed': self.fixed.copy(),
            'windows': self.windows.copy(),
            'refused': self.refused.copy(),
        }

    def restore(self, state: dict[str, FloatArray]) -> None:
        """Take what `state` returned; ValueError, and nothing taken, for what it cannot have."""
        restore(self, state, tuple(self.state()))

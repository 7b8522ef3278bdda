# SPDX-License-Identifier: Apache-2.0
"""What the SOC filter assumes about the errors of sensors, cells and model.

The values hold for all cells; what differs between cells is told by the cell file: the error of
its model, the gap of its hysteresis, its capacity.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FilterOptions:
    """Sizes are standard deviations, times and changes of SOC those after which they are new."""

    voltage_noise: float = 0.002  # V, white noise of one reading
    model_error: float = 0.010  # V, error of the model, where the cell file does not tell
    offset_share: float = 0.9  # how much of it is an error of the OCV at one SOC
    offset_soc: float = 0.1  # change of SOC after which that error is another one
    offset_time: float = 1e6  # s, the same without any change of SOC
    hysteresis_error: float = 0.2  # of half the gap between the OCVs of both directions
    drift_time: float = 900.0  # s, over which back and forth cancel out
    resistance_error: float = 0.05  # relative, of all resistances together
    blind_resistance_error: float = 1.5  # the same where no temperature is measured
    resistance_soc: float = 0.3  # change of SOC after which that error is another one
    resistance_time: float = 1e5  # s, the same without any change of SOC
    quick_share: float = 0.6  # how much of the model error changes soon
    quick_error: float = 0.05  # relative, of what the current adds to the voltage; see of_cell
    slow_error: float = 0.2  # relative, of the mean of that: some diffuses slower than RC pairs
    slow_time: float = 600.0  # s, over which that mean is taken
    quick_time: float = 200.0  # s, over which these stay the same
    soc_axis_error: float = 0.015  # SOC by which the OCV table may be shifted
    current_bias: float = 0.005  # offset of the current sensor, in units of capacity per hour
    current_bias_time: float = 1e5  # s, over which it stays the same
    gain_error: float = 0.007  # relative, of the current sensor's gain and of the capacity
    gain_error_soc: float = 0.5  # charge over which the outcome of that error adds up
    unknown_current: float = 1.0  # in units of capacity per hour, where none is measured
    past_load: float = 0.3  # current before the start, in units of capacity per hour
    past_current: float = 0.4  # how much more or less that may have been in the last minute
    past_mean_current: float = 0.2  # the same in the mean over the time of the slow RC pair
    start_voltage_error: float = 0.020  # V, what a cell at rest may be off its OCV
    start_sigma: float = 0.02  # smallest sigma of a start from OCV
    said_sigma: float = 0.007  # of an SOC that was said, if it is right
    said_right: float = 0.52  # how probable that is
    said_wrong: float = 0.3  # sigma of it otherwise
    widest: float = 0.12  # sigma of the SOC above which one Gaussian becomes several
    gate: float = 5.0  # sigmas of innovation above which a reading is not believed
    gate_error: float = 0.2  # relative, of what the current adds: a cell may be old
    gate_patience: float = 30.0  # s of that, after which the SOC is doubted instead
    frozen: float = 0.010  # V the voltage should have moved while the reading stood still

    def of_cell(self, load_error: float | None) -> 'FilterOptions':
        """Return the options for a cell whose file tells this `quick_error`."""
        return self if load_error is None else replace(self, quick_error=load_error)

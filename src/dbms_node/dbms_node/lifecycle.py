# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node whose every failure is seen and ends in the safe state.

rclpy swallows exceptions of transitions, manages publishers only, and lets an impossible
transition asked from outside end the process. Here exceptions are logged and lead to `make_safe`
and `release`, timers and subscriptions work only while the node is active, and an impossible
request is answered with a failure.
"""

import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.lifecycle.managed_entity import ManagedEntity
from rclpy.qos import QoSProfile
from rclpy.timer import Timer

from .clocks import steady_timer
from .parameters import declare

SUCCESS = TransitionCallbackReturn.SUCCESS


class ManagedTimer(ManagedEntity):
    """A steady timer that runs only while its node is active."""

    def __init__(self, node: 'SafeLifecycleNode', period: float, callback: Callable[[], None]):
        self.timer: Timer = steady_timer(node, period, callback, autostart=False)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.timer.reset()
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.timer.cancel()
        return SUCCESS


class GatedSubscription(ManagedEntity):
    """A subscription whose messages reach the callback only while its node is active."""

    def __init__(
        self,
        node: 'SafeLifecycleNode',
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile,
    ):
        self._open = False
        self._callback = callback
        self.subscription = node.create_subscription(kind, topic, self._receive, qos)

    def _receive(self, message: Any) -> None:
        if self._open:
            self._callback(message)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._open = True
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._open = False
        return SUCCESS


class SafeLifecycleNode(LifecycleNode):
    """Base of the lifecycle nodes. A node overrides the five steps below, not the transitions.

    Timers and subscriptions made with `managed_timer` and `gated_subscription` in `configured`
    are destroyed with the release. With the parameter `autostart` the node configures and
    activates itself as soon as it is spun, so that a process that was started again comes back
    without another one to help it.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self._timers_made: list[ManagedTimer] = []
        self._subscriptions_made: list[GatedSubscription] = []
        self._contain_requests()
        self._start: Timer | None = None
        if declare(self, 'autostart', False, 'configure and activate by itself on start'):
            self._start = steady_timer(self, 0.0, self._autostart)

    # -- the steps of a node ------------------------------------------------------------------

    def configured(self) -> None:
        """Make what the node needs; raise ValueError to refuse with a message."""

    def activated(self) -> None:
        """Begin to work; managed timers and subscriptions run already."""

    def deactivated(self) -> None:
        """Stop working; outputs are safe already."""

    def released(self) -> None:
        """Give back what `configured` made; may be called when that has failed half way."""

    def make_safe(self, reason: str) -> None:
        """Drive all outputs to their safe state; may be called in any state, more than once."""

    # -- what a node makes --------------------------------------------------------------------

    def managed_timer(self, period: float, callback: Callable[[], None]) -> ManagedTimer:
        """Make a steady timer that runs while the node is active; period in s."""
        timer = ManagedTimer(self, period, callback)
        self._timers_made.append(timer)
        self.add_managed_entity(timer)
        return timer

    def gated_subscription(
        self, kind: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile
    ) -> GatedSubscription:
        """Make a subscription that is heard while the node is active."""
        subscription = GatedSubscription(self, kind, topic, callback, qos)
        self._subscriptions_made.append(subscription)
        self.add_managed_entity(subscription)
        return subscription

    @property
    def is_active(self) -> bool:
        """Tell whether the node is in the lifecycle state active."""
        return self.state_label == 'active'

    @property
    def state_label(self) -> str:
        """Label of the lifecycle state, e.g. 'inactive'."""
        return str(self._state_machine.current_state[1])

    # -- transitions --------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        def work() -> None:
            self._must(super(SafeLifecycleNode, self).on_configure(state))
            self.configured()

        # FAILURE leads back to unconfigured: nothing of the attempt is left.
        return self._transition('configure', work, TransitionCallbackReturn.FAILURE)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        def work() -> None:
            self._must(super(SafeLifecycleNode, self).on_activate(state))
            self.activated()

        return self._transition('activate', work, TransitionCallbackReturn.ERROR)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        def work() -> None:
            self.make_safe('deactivated')
            self._must(super(SafeLifecycleNode, self).on_deactivate(state))
            self.deactivated()

        return self._transition('deactivate', work, TransitionCallbackReturn.ERROR)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        def work() -> None:
            self._must(super(SafeLifecycleNode, self).on_cleanup(state))
            self._release()

        return self._transition('clean up', work, TransitionCallbackReturn.ERROR)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        def work() -> None:
            self.make_safe('shut down')
            self._release()

        return self._transition('shut down', work, SUCCESS)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._safe_and_release('error')
        return SUCCESS  # unconfigured: it can be configured again

    def close(self) -> None:
        """End safely from any state, before the node is destroyed."""
        if self._start is not None:
            self._start.cancel()
        self._safe_and_release('closed')

    # -- inside -------------------------------------------------------------------------------

    def _transition(
        self, name: str, work: Callable[[], None], failed: TransitionCallbackReturn
    ) -> TransitionCallbackReturn:
        try:
            work()
        except Exception as error:
            # A ValueError is a message for a person; of anything else the place is of interest.
            told = str(error) if isinstance(error, ValueError) else traceback.format_exc()
            self.get_logger().error(f'{name} failed: {told}')
            self._safe_and_release(f'{name} failed')
            return failed
        return SUCCESS

    def _safe_and_release(self, reason: str) -> None:
        steps: tuple[Callable[[], None], ...] = (lambda: self.make_safe(reason), self._release)
        for step in steps:
            try:
                step()
            except Exception:  # the next step has to run all the same
                self.get_logger().error(f'{reason}: {traceback.format_exc()}')

    def _release(self) -> None:
        made: list[ManagedTimer | GatedSubscription] = [
            *self._timers_made,
            *self._subscriptions_made,
        ]
        for entity in made:
            entity.on_deactivate(None)
            self._managed_entities.discard(entity)
        timers, self._timers_made = self._timers_made, []
        subscriptions, self._subscriptions_made = self._subscriptions_made, []
        try:
            self.released()
        finally:
            for timer in timers:
                self.destroy_timer(timer.timer)
            for subscription in subscriptions:
                self.destroy_subscription(subscription.subscription)

    @staticmethod
    def _must(result: TransitionCallbackReturn) -> None:
        if result != SUCCESS:
            raise RuntimeError(f'a managed entity answered {result}')

    def _autostart(self) -> None:
        if self._start is not None:
            self._start.cancel()
        for label, trigger in (
            ('unconfigured', self.trigger_configure),
            ('inactive', self.trigger_activate),
        ):
            # Somebody else may have been faster.
            if self.state_label == label and trigger() != SUCCESS:
                self.get_logger().error(f'autostart stopped: still {self.state_label}')
                return

    def _contain_requests(self) -> None:
        """Answer an impossible transition with a failure instead of an end of the process."""
        service = getattr(self, '_service_change_state', None)
        if service is None:
            return
        inner = service.callback

        def contained(request: Any, response: Any) -> Any:
            try:
                return inner(request, response)
            except Exception as error:
                self.get_logger().error(f'transition refused in {self.state_label}: {error}')
                response.success = False
                return response

        service.callback = contained

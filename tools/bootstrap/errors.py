# SPDX-License-Identifier: Apache-2.0
"""The one exception a user sees."""


class BootstrapError(Exception):
    """Something the user has to know: what went wrong, and the remedy."""

    def __init__(self, message: str, remedy: str = '', code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code

"""placeholder"""


def doctor(arguments):
    return 0

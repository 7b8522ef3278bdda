# SPDX-License-Identifier: Apache-2.0
from bootstrap.environ import compose, export_lines
from bootstrap.layout import Layout
from bootstrap.ros import OWN_MARK, Ros, detect

SOURCED = {
    'ROS_DISTRO': 'humble',
    'AMENT_PREFIX_PATH': '/opt/ros/humble',
    'PYTHONPATH': '/opt/ros/humble/lib/python3.10/site-packages:/home/me/mine',
    'LD_LIBRARY_PATH': '/opt/ros/humble/lib',
    'PATH': '/opt/ros/humble/bin:/usr/bin',
}
WHEELS = Ros(False, 'jazzy', '')
HUMBLE = Ros(True, 'humble', '', '/usr/bin/python3')


def works(environ):
    return '/usr/bin/python3', ''


def fails(environ):
    return '', 'import rclpy fails'


def must_not_ask(environ):
    raise AssertionError('asked')


def test_without_a_sourced_ros_the_wheels_are_used_and_nobody_is_asked():
    assert not detect({}, must_not_ask).sourced
    assert not detect({'ROS_DISTRO': 'jazzy'}, must_not_ask).sourced


def test_a_sourced_ros_that_works_is_used():
    ros = detect(SOURCED, works)
    assert ros.sourced and ros.distro == ros.flavour == 'humble'
    assert ros.python == '/usr/bin/python3'


def test_a_sourced_ros_that_fails_is_not_used_and_the_reason_is_kept():
    ros = detect(SOURCED, fails)
    assert not ros.sourced and 'import rclpy fails' in ros.reason and ros.flavour == ''


def test_our_own_environment_is_not_mistaken_for_a_sourced_ros():
    assert not detect({**SOURCED, OWN_MARK: '/repo/.dbms'}, must_not_ask).sourced


def test_the_user_can_refuse_the_sourced_ros():
    assert not detect({**SOURCED, 'DBMS_ROS': 'wheels'}, must_not_ask).sourced


def test_a_sourced_ros_keeps_its_files_apart():
    plain = Layout.find({'DBMS_HOME': '/h'})
    assert Layout.find({'DBMS_HOME': '/h'}, 'humble').venv == plain.home / 'humble' / 'venv'


def test_wheels_replace_every_trace_of_another_ros(layout):
    composed = compose(layout, WHEELS, SOURCED)
    for name in ('PYTHONPATH', 'LD_LIBRARY_PATH', 'PATH', 'AMENT_PREFIX_PATH'):
        assert '/opt/ros' not in composed[name], name
    assert '/home/me/mine' in composed['PYTHONPATH'].split(':')
    assert composed['ROS_DISTRO'] == 'jazzy'


def test_a_sourced_ros_stays_below_the_workspace(layout):
    composed = compose(layout, HUMBLE, SOURCED)
    assert composed['AMENT_PREFIX_PATH'] == f'{layout.install}:/opt/ros/humble'
    assert composed['PATH'].startswith(str(layout.venv / 'bin'))
    assert '_ROS_WHEELS_BOOTSTRAP_COMPLETE' not in composed


def test_nodes_stay_on_this_machine_unless_the_user_says_otherwise(layout):
    assert compose(layout, WHEELS, {})['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    wide = compose(layout, WHEELS, {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'})
    assert wide['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'SUBNET'
    humble = compose(layout, HUMBLE, SOURCED)
    assert humble['ROS_LOCALHOST_ONLY'] == '1'
    assert 'ROS_AUTOMATIC_DISCOVERY_RANGE' not in humble


def test_composing_twice_changes_nothing(layout):
    once = compose(layout, WHEELS, SOURCED, colour=False)
    assert compose(layout, WHEELS, once, colour=False) == once


def test_packages_installed_by_link_are_on_the_python_path(layout):
    site = layout.install / 'lib' / 'python3.12' / 'site-packages'
    site.mkdir(parents=True)
    linked = layout.build / 'logic'
    linked.mkdir(parents=True)
    (site / 'logic.egg-link').write_text(f'{linked}\n.')
    (site / 'gone.egg-link').write_text('/nowhere\n.')
    path = compose(layout, WHEELS, {})['PYTHONPATH'].split(':')
    assert path == [str(linked), str(site)]


def test_export_lines_survive_a_shell():
    assert export_lines({'PATH': "/a b:/it's", 'HOME': '/x'}) == "export PATH='/a b:/it'\"'\"'s'"

# SPDX-License-Identifier: Apache-2.0
"""Runs one launch file as `ros2 launch` would: FILE NAME:=VALUE ..."""

import sys

from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

path, *words = sys.argv[1:]
service = LaunchService(argv=words)
arguments = [tuple(word.split(':=', 1)) for word in words]
source = PythonLaunchDescriptionSource(path)
included = IncludeLaunchDescription(source, launch_arguments=arguments)
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())

# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

package_name = 'dbms_replay'

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(exclude=['test']),
    package_data={package_name: ['py.typed']},
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package_name]),
        ('share/' + package_name, ['package.xml']),
    ],
    install_requires=['setuptools'],
    zip_safe=True,
    maintainer='DBMS developers',
    maintainer_email='dbms@example.org',
    description='Recordings: made beside a running graph, and replayed through its cores.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'feed = dbms_replay.feed_node:main',
            'play = dbms_replay.play_node:main',
            'record = dbms_replay.record_cli:main',
            'replay = dbms_replay.replay_cli:main',
        ]
    },
)

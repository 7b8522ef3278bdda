# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

package_name = 'dbms_protection'

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
    description='The guard of the pack: safe operating area, faults, contactors, power limits.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'protection = dbms_protection.protection_node:main',
            'events = dbms_protection.events_cli:main',
        ],
    },
)

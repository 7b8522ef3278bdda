# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

package_name = 'dbms_drivers'

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
    description='Drivers of the DBMS: module monitors, current sensors and contactors over CAN.',
    license='Apache-2.0',
    entry_points={'console_scripts': ['driver = dbms_drivers.can_driver_node:main']},
)

# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

package_name = 'dbms_node'

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(exclude=['test']),
    package_data={package_name: ['py.typed', '*.xml']},
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package_name]),
        ('share/' + package_name, ['package.xml']),
    ],
    install_requires=['setuptools'],
    zip_safe=True,
    maintainer='DBMS developers',
    maintainer_email='dbms@example.org',
    description='What every DBMS node shares: QoS, executor, lifecycle, parameters, clocks.',
    license='Apache-2.0',
    entry_points={'console_scripts': []},
)

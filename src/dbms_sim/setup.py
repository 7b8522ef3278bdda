# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

package_name = 'dbms_sim'

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(exclude=['test']),
    package_data={package_name: ['py.typed', '*.json']},
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package_name]),
        ('share/' + package_name, ['package.xml']),
    ],
    install_requires=['setuptools'],
    zip_safe=True,
    maintainer='DBMS developers',
    maintainer_email='dbms@example.org',
    description='A pack that is not there: cell physics, recordings, virtual units on CAN.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'can_hub = dbms_sim.socketcand_server:main',
            'sim = dbms_sim.sim_node:main',
        ]
    },
)

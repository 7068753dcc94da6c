#!/usr/bin/python3
"""A fence agent of ClusterLabs' kind, by their own library, whose outlets are the controllers of a lab."""

import atexit
import os
import socket
import sys

sys.path.append("/usr/share/fence")
from fencing import all_opt, atexit_handler, check_input, fence_action, process_input, show_docs


def power(_connection, options):
    return "on" if os.path.exists(options["--hosts"] + options["--plug"]) else "off"


def set_power(_connection, options):
    with socket.socket(socket.AF_UNIX) as lab:
        lab.connect(options["--control"])
        lab.sendall(f"power-{options['--action']} {options['--plug']}\n".encode())
        print(lab.makefile().readline())


def main():
    known = ["port", "control", "hosts", "no_login", "passwd"]
    atexit.register(atexit_handler)
    for name, about in [("control", "the lab's control socket"), ("hosts", "what a host's file begins with")]:
        all_opt[name] = {
            "getopt": ":",
            "longopt": name,
            "help": f"--{name}=[path]  {about}",
            "required": "1",
            "shortdesc": about,
            "order": 1,
        }
    options = check_input(known, process_input(known))
    show_docs(options, {"shortdesc": "Fence agent for the lab", "longdesc": "fence_lab", "vendorurl": ""})
    sys.exit(fence_action(None, options, set_power, power))


main()

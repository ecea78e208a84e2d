#!/bin/bash
# PID 1 of the guest: makes the root in memory one that can be left (pivot_root(2) does not take the first one), then systemd.
export PATH=/usr/bin:/usr/sbin
mkdir /newroot
mount --bind / /newroot
cd /newroot
mount --move . /
exec chroot . /usr/lib/systemd/systemd --system --unit=guest.target --show-status=no

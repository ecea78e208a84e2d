#!/bin/sh
# PID 1 of the guest: the file systems, then the script, then the end of the machine.
export PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp && chmod 1777 /tmp
exec < /dev/null > /dev/console 2>&1
ip link set lo up
# The firmware leaves its last line open.
echo
sh /script
echo "== end"
echo o > /proc/sysrq-trigger
sleep 100

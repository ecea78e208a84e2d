#!/bin/sh
# Becomes the first process of a machine of its own, in new namespaces: a root in memory with this machine's /usr, the bundle, and the
# given /etc; then systemd.
set -e
root=$1 bundle=$2 etc=$3
mount --make-rprivate /
mount -t tmpfs -o mode=0755 root "$root"
cd "$root"
mkdir -p usr opt/castellan etc var/lib var/log run proc sys dev tmp root old
chmod 1777 tmp
for name in bin sbin lib lib64; do ln -s usr/$name $name; done
mount --rbind /usr usr
mount -o remount,bind,ro usr
mount --bind "$bundle" opt/castellan
mount -o remount,bind,ro opt/castellan
cp -a "$etc"/. etc/
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 dev dev
for name in null zero full random urandom tty; do touch dev/$name && mount --bind /dev/$name dev/$name; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs shm dev/shm
mount -t tmpfs -o mode=0755 run run
ip link set lo up
pivot_root . old
umount -l /old
exec env -i container=castellan-test PATH=/usr/sbin:/usr/bin \
  /usr/lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=no

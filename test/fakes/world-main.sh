#!/bin/sh
# Runs in namespaces of its own (network, mount): gives them an address, names, and the origin; ends with its stdin.
set -eu
here=$1 node=$2 origin=$3
ip link set lo up
ip link add world0 type veth peer name world1
ip addr add 10.77.0.1/24 dev world0
ip -6 addr add fd77::1/64 dev world0 nodad
ip link set world0 up
ip link set world1 up
mount --bind "$here/hosts" /etc/hosts
mount --bind "$here/resolv.conf" /etc/resolv.conf
# This machine trusts the origin.
cat /etc/ssl/certs/ca-certificates.crt "$here/ca.crt" > "$here/bundle.crt"
mount --bind "$here/bundle.crt" /etc/ssl/certs/ca-certificates.crt
# The OpenSSH client refuses callers without an account.
mount --bind "$here/passwd" /etc/passwd
exec "$node" "$origin" "$here"

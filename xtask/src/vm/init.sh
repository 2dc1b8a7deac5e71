#!/bin/busybox sh
# The first program of a virtual machine of the tests: finds the disks and goes over to them.
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in /modules/*; do insmod "$module"; done
tries=0
while [ ! -b /dev/vdb ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "rmap-vm: no disk"; echo b > /proc/sysrq-trigger; }
    sleep 0.1
done
. /case
mount -t ext4 /dev/vda /root && mkdir -p "/root$WORKSPACE" &&
    mount -t ext4 /dev/vdb "/root$WORKSPACE" || echo "rmap-vm: the disks cannot be mounted"
for dir in dev proc sys; do mount --move "/$dir" "/root/$dir"; done
cp /case /guest /suite /root/run/
exec switch_root /root /bin/sh /run/guest

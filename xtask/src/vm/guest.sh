# Runs the tests in a virtual machine. /run/case says which, and what is set up before.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
LC_ALL=C.UTF-8
export PATH HOME LC_ALL
exec < /dev/null 2>&1
end() {
    echo "rmap-vm: ended $1"
    sync
    echo b > /proc/sysrq-trigger
    sleep 60
}
echo "rmap-vm: started $(uname -r)"
. /run/case
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup 2> /dev/null
ip link set lo up 2> /dev/null || ifconfig lo up 2> /dev/null
ulimit -c 0
set_up || { echo "rmap-vm: the machine cannot be set up"; end 1; }
echo "rmap-vm: $(cat /proc/cmdline)"
export RMAP_SKIPS=/run/skips RMAP_BIN RMAP_SLOW RMAP_REFUSED RUST_BACKTRACE=0
. /run/suite
suite
end "$?"

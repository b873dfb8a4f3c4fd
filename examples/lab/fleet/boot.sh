# Boots one host: the box (host.sh) starts this as the first process of the
# host's namespaces, in the folder of its disk.
set -eu
exec 9<&-

# With systemd, the host also has cgroups and a network of its own, which a
# port of the box's bridge leads to.
if [ "$tree" ] && [ "${1-}" != inside ]; then
	echo 0 >"$cgroup/cgroup.procs"
	exec 8</proc/self/ns/net
	exec unshare --cgroup --net sh "$state/boot.sh" inside
fi
if [ "$tree" ]; then
	exec 7</proc/self/ns/net
	nsenter --net=/proc/self/fd/8 ip link add port master lab type veth peer name lan0 address 02:00:00:00:00:02 netns /proc/self/fd/7
	nsenter --net=/proc/self/fd/8 ip link set port up
	exec 7<&- 8<&-
	# What the kernel still has to say for a host that has ended, it soon forgets.
	echo 1 >/proc/sys/net/ipv4/tcp_orphan_retries
	ip link set lo up
	ip address add "$address/32" dev lan0
	# This machine and the other hosts have loopback addresses, which would
	# be this host itself.
	echo 1 >/proc/sys/net/ipv4/conf/lan0/route_localnet
	ip link set lan0 up
	ip neighbour add "${address%.*}.1" lladdr 02:00:00:00:00:01 dev lan0
	ip route add "${address%.*}.1" dev lan0 src "$address" table local
	ip route add "${address%.*}.0/24" via "${address%.*}.1" dev lan0 src "$address" table local
fi

cat /proc/sys/kernel/random/uuid >boot_id
cd merged
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mount -t proc proc proc
for file in proc/sys proc/sysrq-trigger; do # they are this machine's
	[ "$tree" ] && [ -e "$file" ] || continue
	mount --bind "$file" "$file"
	mount -o remount,bind,ro "$file"
done
mount --bind ../boot_id proc/sys/kernel/random/boot_id
mount -t sysfs -o ro sysfs sys
[ ! "$tree" ] || mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 dev dev
for node in null zero full random urandom tty; do
	touch "dev/$node"
	mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm run/sshd run/lock
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
hostname "$name"
touch ../booted

# Not chroot: nix moves its children back to the mount namespace's root.
pivot_root . .
umount -l .
cd /

# An installed nix has a database and its user a profile.
nix-env --list-generations

# The host has no power over this machine's clock, modules and devices.
[ ! "$tree" ] || exec env -i container=lab PATH="$PATH" \
	setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog,-mknod,-mac_admin,-mac_override,-bpf,-perfmon \
	/lib/systemd/systemd systemd.unit=multi-user.target

# In the foreground, because a shell's background jobs ignore SIGINT, and so
# would every command that a user runs.
/usr/sbin/sshd -D -e
echo "sshd ended" >&2

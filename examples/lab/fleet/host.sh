# The box of one host of the lab: sh host.sh NAME STATE SIZE [TREE CGROUP ADDRESS CABLE]
# It is the first process of mount, pid, uts and ipc namespaces of its own, so
# that nothing of the host outlives it. It keeps the host's disk and boots the
# host in namespaces below its own (boot.sh): again at once if it rebooted itself,
# which the kernel tells as death by SIGHUP, and else when it is switched on.
# With a TREE, the host's root is that tree and its init is systemd. The box has
# a network namespace then, too, with a bridge, and a cable to this machine's,
# which is fd 3.
set -eu
umask 022
name=$1 state=$2 size=$3
export name state tree="${4-}" cgroup="${5-}" address="${6-}" cable="${7-}"

# The disk: what this machine or the tree has below, a tmpfs for every change
# above, and a tmpfs for the store.
mount --make-rprivate /
cd "$state/hosts/$name"
mount -t tmpfs -o "size=$size,mode=755" "$name" root
cd root
mkdir upper work merged
mount -t overlay -o "lowerdir=${tree:-/},upperdir=upper,workdir=work" "$name" merged
exec 9<upper # lets the lab look at the changes from outside
mkdir -p merged/nix
mount -t tmpfs -o "size=$size,mode=755" nix merged/nix
[ "$tree" ] || mount -t tmpfs -o mode=700 root merged/root
cp -R "$state/hosts/$name/etc/." merged/etc/
[ ! -d "$state/hosts/$name/disk" ] || cp -R "$state/hosts/$name/disk/." merged/
[ ! -d "$state/hosts/$name/home" ] || cp -R "$state/hosts/$name/home/." merged/root/

# The host's address is a loopback address, and yet leads through the cable.
if [ "$tree" ]; then
	ip link add eth0 type veth peer name "$cable" address 02:00:00:00:00:01 netns /proc/self/fd/3
	nsenter --net=/proc/self/fd/3 sh -euc '
		echo 1 >"/proc/sys/net/ipv4/conf/$cable/route_localnet"
		echo 1 >"/proc/sys/net/ipv4/conf/$cable/forwarding"
		ip link set "$cable" up
		ip neighbour add "$address" lladdr 02:00:00:00:00:02 dev "$cable"
		ip route add "$address" dev "$cable" src "${address%.*}.1" table local'
	exec 3<&-
	ip link add lab type bridge
	ip link set eth0 master lab up
	ip link set lab up
	tr -d - </proc/sys/kernel/random/uuid >merged/etc/machine-id
fi

while :; do
	ended=0
	unshare --mount --pid --uts --ipc --fork --kill-child sh "$state/boot.sh" || ended=$?
	# The kernel may keep a dead host's network for a while: it must not speak.
	[ ! "$tree" ] || ip link delete port 2>/dev/null || true # it may be gone
	[ -e booted ] || exit "$ended"
	rm booted
	[ "$ended" = 129 ] || read -r _ <"$state/hosts/$name/power" # off, until somebody writes there
done

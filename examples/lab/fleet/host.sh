# Becomes one host of the lab: sh host.sh NAME STATE SIZE
# It is the first process of mount, pid, uts and ipc namespaces of its own.
set -eu
umask 022
name=$1 state=$2 size=$3

# The root: what this machine has below, a tmpfs for every change above.
mount --make-rprivate /
cd "$state/hosts/$name"
mount -t tmpfs -o "size=$size,mode=755" "$name" root
cd root
mkdir upper work merged
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work "$name" merged
exec 9<upper # lets the lab look at the changes from outside

cd merged
mkdir -p nix
mount -t tmpfs -o "size=$size,mode=755" nix nix
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mount -t tmpfs -o mode=700 root root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 dev dev
for node in null zero full random urandom tty; do
	touch "dev/$node"
	mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm run/sshd run/lock
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
cp -R "$state/hosts/$name/etc/." etc/
hostname "$name"

# Not chroot: nix moves its children back to the mount namespace's root.
pivot_root . .
umount -l .
cd /

# An installed nix has a database and its user a profile.
nix-env --list-generations

# In the foreground, because a shell's background jobs ignore SIGINT, and so
# would every command that a user runs.
/usr/sbin/sshd -D -e
echo "sshd ended" >&2

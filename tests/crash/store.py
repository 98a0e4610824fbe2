# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine whose power can be cut: file systems in images, the images in a btrfs subvolume.

One snapshot of that subvolume freezes all images at the same instant, as a power cut would: what
the file systems had sent to their devices is in it, what they still held in memory is not. The copy
takes the place of the images and is mounted where they were.

Everything lives in a tmpfs inside a mount namespace of this process: it is gone with the process,
however that ends.
"""

import ctypes
import errno
import fcntl
import os
import pathlib
import struct
import subprocess
import tempfile

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x20000
MS_NOATIME, MS_REC, MS_PRIVATE = 1024, 16384, 1 << 18
MNT_DETACH = 2
LOOP_CTL_GET_FREE, LOOP_CONFIGURE, LO_FLAGS_AUTOCLEAR = 0x4C82, 0x4C0A, 4
# linux/btrfs.h
SUBVOL_CREATE, SNAP_DESTROY, FORGET_DEV, SNAP_CREATE_V2 = (
    0x5000940e, 0x5000940f, 0x50009405, 0x50009417)

# file system of the pools -> (bytes, how to make it)
KINDS = {
    'btrfs': (256 << 20, ['mkfs.btrfs', '-q', '-f']),
    'xfs': (320 << 20, ['mkfs.xfs', '-q', '-f']),
    'ext4': (128 << 20, ['mkfs.ext4', '-q', '-F']),
}
CATALOG_SIZE = 48 << 20
STORE_SIZE = 6 << 30  # sparse: what is not written costs nothing


class Unavailable(Exception):
    """Why this suite cannot run here."""


def check(result):
    if result < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return result


def mount(source, target, kind, flags=0, data=''):
    check(libc.mount(str(source).encode(), str(target).encode(), kind.encode(),
                     ctypes.c_ulong(flags), data.encode()))


def umount(target, flags=0):
    check(libc.umount2(str(target).encode(), flags))


def enter_namespace():
    """A mount namespace of this process's own. Once."""
    if os.geteuid() != 0:
        raise Unavailable('needs root to mount')
    try:
        check(libc.unshare(CLONE_NEWNS))
        mount('none', '/', 'none', MS_REC | MS_PRIVATE)
    except OSError as e:
        raise Unavailable('no mount namespace of its own') from e


def attach_loop(image):
    """A loop device over the image that goes with its last user: (path, fd to keep until then)."""
    control = os.open('/dev/loop-control', os.O_RDWR | os.O_CLOEXEC)
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    # struct loop_config: fd, block size, struct loop_info64 with the flags at 52, reserved
    config = struct.pack('=II52xI176x64x', backing, 0, LO_FLAGS_AUTOCLEAR)
    try:
        while True:
            path = f'/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}'
            loop = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(loop, LOOP_CONFIGURE, config)
                return path, loop
            except OSError as e:
                os.close(loop)
                if e.errno != errno.EBUSY:  # another process was faster
                    raise
    finally:
        os.close(backing)
        os.close(control)


def mount_image(image, target, kind, data=''):
    """The loop device's path."""
    path, loop = attach_loop(image)
    try:
        mount(path, target, kind, MS_NOATIME, data)
    finally:
        os.close(loop)
    return path


def by_name(command, folder, name, prefix):
    """An ioctl of btrfs on a name beneath a folder."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, command, bytearray((prefix + name.encode()).ljust(4096, b'\0')))
    finally:
        os.close(fd)


def forget(device):
    """The kernel remembers a btrfs by its device and would refuse an older copy elsewhere."""
    control = os.open('/dev/btrfs-control', os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(control, FORGET_DEV, bytearray((bytes(8) + device.encode()).ljust(4096, b'\0')))
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.EBUSY):
            raise
    finally:
        os.close(control)


class Store:
    """Pools at `pool`, a file system for the catalog at `cat`, `state` for what no cut touches."""

    def __init__(self, kind):
        self.kind = kind
        self.root = pathlib.Path(tempfile.mkdtemp(prefix='fsd-crash.'))
        self.devices = []
        self.mounted = []
        try:
            self.make()
        except BaseException:
            self.close()
            raise

    def make(self):
        mount('none', self.root, 'tmpfs', data='size=8g,mode=755')
        self.mounted.append(self.root)
        self.store, self.pool, self.cat, self.state = (
            self.root / name for name in ('store', 'pool', 'cat', 'state'))
        for folder in (self.store, self.pool, self.cat, self.state):
            folder.mkdir()
        image = self.root / 'store.img'
        self.new_image(image, STORE_SIZE, ['mkfs.btrfs', '-q', '-f', '-m', 'single'])
        mount_image(image, self.store, 'btrfs', 'discard=async')
        self.mounted.append(self.store)
        by_name(SUBVOL_CREATE, self.store, 'live', bytes(8))
        size, mkfs = KINDS[self.kind]
        self.new_image(self.store / 'live' / 'pool.img', size, mkfs)
        self.new_image(self.store / 'live' / 'cat.img', CATALOG_SIZE, KINDS['ext4'][1])
        self.power_on()

    @staticmethod
    def new_image(image, size, mkfs):
        with open(image, 'wb') as f:
            f.truncate(size)
        r = subprocess.run([*mkfs, str(image)], capture_output=True, text=True, check=False)
        if r.returncode:
            raise Unavailable(f'{mkfs[0]}: {r.stderr.strip()}')

    def power_on(self):
        live = self.store / 'live'
        device = mount_image(live / 'pool.img', self.pool, self.kind)
        self.devices = [device] if self.kind == 'btrfs' else []
        self.mounted.append(self.pool)
        mount_image(live / 'cat.img', self.cat, 'ext4')
        self.mounted.append(self.cat)

    def power_off(self):
        """An orderly end: all that is in memory is written."""
        for where in (self.cat, self.pool):
            umount(where)
            self.mounted.remove(where)
        for device in self.devices:
            forget(device)

    def freeze(self, name):
        """All images as they are now."""
        self.snapshot('live', name)

    def snapshot(self, source, name):
        fd = os.open(self.store / source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            by_name(SNAP_CREATE_V2, self.store, name, struct.pack('=qQQ4Q', fd, 0, 0, 0, 0, 0, 0))
        finally:
            os.close(fd)

    def drop(self, name):
        if (self.store / name).exists():
            by_name(SNAP_DESTROY, self.store, name, bytes(8))

    def cut(self):
        """Lose what was not frozen: go on with what freeze('cut') found."""
        self.power_off()
        self.drop('live')
        os.rename(self.store / 'cut', self.store / 'live')
        self.power_on()

    def save(self, name):
        self.power_off()
        self.drop(name)
        self.freeze(name)
        self.power_on()

    def load(self, name):
        self.power_off()
        self.drop('live')
        self.snapshot(name, 'live')
        self.power_on()

    def close(self):
        for where in reversed(self.mounted):
            umount(where, MNT_DETACH)
        self.mounted = []
        os.rmdir(self.root)

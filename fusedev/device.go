package fusedev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

const devicePath = "/dev/fuse"

// The requests of /dev/fuse, FUSE_DEV_IOC_* in linux/fuse.h.
const (
	iocClone        = 0x8004e500 // _IOR(229, 0, uint32_t)
	iocBackingOpen  = 0x4010e501 // _IOW(229, 1, struct fuse_backing_map)
	iocBackingClose = 0x4004e502 // _IOW(229, 2, uint32_t)
)

// openDevice opens /dev/fuse. The descriptor becomes a connection by mounting.
func openDevice() (int, error) {
	for {
		fd, err := unix.Open(devicePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
		switch {
		case err == unix.EINTR:
			continue
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
			return -1, fmt.Errorf("open %s: %w (has the kernel FUSE? try: modprobe fuse)", devicePath, err)
		case err != nil:
			return -1, fmt.Errorf("open %s: %w", devicePath, err)
		}
		return fd, nil
	}
}

// cloneDevice returns another descriptor of the connection of fd, with a queue
// of its own for the requests that are being served.
func cloneDevice(fd int) (int, error) {
	clone, err := openDevice()
	if err != nil {
		return -1, err
	}
	if err := unix.IoctlSetPointerInt(clone, iocClone, fd); err != nil {
		oslib.Close(clone)
		return -1, fmt.Errorf("clone %s: %w", devicePath, err)
	}
	return clone, nil
}

// openBackingFile makes a file known to the connection of dev and returns the id
// that stands for it in replies, which is never 0. The file is used with the
// rights that the calling thread has now.
func openBackingFile(dev, fd int) (int32, syscall.Errno) {
	var m [16]byte // struct fuse_backing_map: fd, flags, padding
	binary.NativeEndian.PutUint32(m[:], uint32(fd))
	id, errno := oslib.Ioctl(dev, iocBackingOpen, m[:])
	return int32(id), errno
}

// closeBackingFile forgets an id. Files that were opened with it stay open.
func closeBackingFile(dev int, id int32) {
	var m [4]byte
	binary.NativeEndian.PutUint32(m[:], uint32(id))
	oslib.Ioctl(dev, iocBackingClose, m[:])
}

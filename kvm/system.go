package kvm

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// DefaultPath is where the device is.
const DefaultPath = "/dev/kvm"

// System is an open /dev/kvm.
type System struct {
	fd       int
	mmapSize int
}

// Open opens the device at path, "" standing for [DefaultPath], and checks that
// it is a KVM that this package can work with: API version 12 with
// [CAP_IMMEDIATE_EXIT] and [CAP_USER_MEMORY]. Any failure is an [*OpenError].
func Open(path string) (*System, error) {
	if path == "" {
		path = DefaultPath
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	for err == unix.EINTR {
		fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, openError(path, err)
	}
	s := &System{fd: fd}
	if err := s.check(); err != nil {
		unix.Close(fd)
		return nil, openError(path, err)
	}
	return s, nil
}

// check looks at what is needed of any KVM.
func (s *System) check() error {
	version, err := call(s.fd, getAPIVersion, 0)
	if err != nil {
		return err
	}
	if version != API_VERSION {
		return VersionError(version)
	}
	if err := s.Require(CAP_USER_MEMORY, CAP_IMMEDIATE_EXIT); err != nil {
		return err
	}
	s.mmapSize, err = call(s.fd, getVCPUMmapSize, 0)
	if err == nil && s.mmapSize < runSize {
		err = &Error{getVCPUMmapSize.name, syscall.EOVERFLOW}
	}
	return err
}

// Close closes the device. Machines made from it live on.
func (s *System) Close() error { return closeFD(&s.fd) }

// CheckExtension asks for a capability (KVM_CHECK_EXTENSION, §4.4): 0 says that
// it is not there, and what a positive number means depends on the capability.
func (s *System) CheckExtension(c Cap) (int, error) { return call(s.fd, checkExtension, uintptr(c)) }

// Require returns a [*MissingError] with those of caps that are not there.
func (s *System) Require(caps ...Cap) error {
	var missing []Cap
	for _, c := range caps {
		n, err := s.CheckExtension(c)
		if err != nil {
			return err
		}
		if n == 0 {
			missing = append(missing, c)
		}
	}
	if len(missing) > 0 {
		return &MissingError{missing}
	}
	return nil
}

// CreateVM makes a machine without memory or processors (KVM_CREATE_VM, §4.2).
func (s *System) CreateVM() (*VM, error) {
	fd, err := call(s.fd, createVM, 0)
	if err != nil {
		return nil, err
	}
	return &VM{fd: fd, mmapSize: s.mmapSize}, nil
}

// GetSupportedCPUID returns the CPUID leaves that the host's processor and KVM
// can offer a guest (KVM_GET_SUPPORTED_CPUID, §4.46).
func (s *System) GetSupportedCPUID() ([]CPUIDEntry2, error) { return getCPUID(s.fd, getSupportedCPUID) }

// GetMSRIndexList returns the model-specific registers that are the state of a
// guest (KVM_GET_MSR_INDEX_LIST, §4.3).
func (s *System) GetMSRIndexList() ([]uint32, error) {
	for n := 256; ; {
		list := make([]uint32, 1+n)
		list[0] = uint32(n)
		_, err := callPtr(s.fd, getMSRIndexList, &list[0])
		switch {
		case err == nil:
			return list[1 : 1+min(int(list[0]), n)], nil
		case !errors.Is(err, syscall.E2BIG) || n >= 1<<16:
			return nil, err
		}
		n *= 4
	}
}

// closeFD closes a descriptor once.
func closeFD(fd *int) error {
	if *fd < 0 {
		return nil
	}
	err := unix.Close(*fd)
	*fd = -1
	return err
}

package virtionet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// tunPath is the device that TAP interfaces are reached by.
const tunPath = "/dev/net/tun"

// tunCsum is TUN_F_CSUM of linux/if_tun.h: we take frames without checksum.
const tunCsum = 1

// struct ifreq of linux/if.h: a name, and what the call is about.
const (
	ifreqSize  = 40
	ifreqUnion = unix.IFNAMSIZ
)

type ifreq [ifreqSize]byte

func newIfreq(name string) (r ifreq) {
	copy(r[:unix.IFNAMSIZ-1], name)
	return r
}

func (r *ifreq) name() string { return unix.ByteSliceToString(r[:unix.IFNAMSIZ]) }

// TAP is an open TAP interface.
type TAP struct {
	fd        int
	name      string
	mac       [6]byte
	mtu       int
	checksums bool
}

// TAPError says why there is no TAP interface to be used.
type TAPError struct {
	Name   string
	Doing  string
	Err    error
	Advice string // what to do about it, one clause
}

func (e *TAPError) Error() string {
	s := fmt.Sprintf("network interface %q: %s: %v", e.Name, e.Doing, e.Err)
	if e.Advice != "" {
		s += ": " + e.Advice
	}
	return s
}

// Unwrap returns Err.
func (e *TAPError) Unwrap() error { return e.Err }

// OpenTAP takes an interface that is there already: `ip tuntap add NAME mode tap
// user $USER` makes one. Any failure is a [*TAPError]. The caller closes the TAP.
func OpenTAP(name string) (*TAP, error) {
	if err := checkName(name); err != nil {
		return nil, &TAPError{name, "its name", err, ""}
	}
	r := newIfreq(name)
	if err := interfaceCall(unix.SIOCGIFINDEX, &r); errors.Is(err, unix.ENODEV) {
		return nil, &TAPError{name, "look for it", err,
			"make it with `ip tuntap add " + name + " mode tap user $USER` and `ip link set " + name + " up`"}
	} else if err != nil {
		return nil, &TAPError{name, "look for it", err, ""}
	}
	return attach(name)
}

// CreateTAP makes an interface that lasts until the TAP is closed; a "%d" in the name
// is replaced by a number. It takes CAP_NET_ADMIN. The interface is down and without
// addresses.
func CreateTAP(name string) (*TAP, error) {
	if err := checkName(strings.Replace(name, "%d", "0", 1)); err != nil {
		return nil, &TAPError{name, "its name", err, ""}
	}
	return attach(name)
}

func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return errors.New("no interface can have it")
	case len(name) >= unix.IFNAMSIZ:
		return fmt.Errorf("it has %d bytes, and an interface's at most %d", len(name), unix.IFNAMSIZ-1)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c == '/' || c == ':' || c == '%' || c >= 0x7f {
			return fmt.Errorf("the character %q is not allowed", c)
		}
	}
	return nil
}

// attach opens an interface, which it makes if it is not there.
func attach(name string) (*TAP, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &TAPError{name, "open " + tunPath, err, openAdvice(err)}
	}
	t := &TAP{fd: fd, name: name}
	if err := t.setUp(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// setUp makes the interface ours and asks for what is to be known of it.
func (t *TAP) setUp() error {
	r := newIfreq(t.name)
	binary.NativeEndian.PutUint16(r[ifreqUnion:], unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
	if _, errno := oslib.Ioctl(t.fd, unix.TUNSETIFF, r[:]); errno != 0 {
		return &TAPError{t.name, "attach to it", errno, t.attachAdvice(errno)}
	}
	t.name = r.name()
	if err := unix.IoctlSetPointerInt(t.fd, unix.TUNSETVNETHDRSZ, headerSize); err != nil {
		return &TAPError{t.name, "set the size of headers", err, ""}
	}
	if err := unix.IoctlSetInt(t.fd, unix.TUNSETOFFLOAD, tunCsum); err == nil {
		t.checksums = true
	} else if err := unix.IoctlSetInt(t.fd, unix.TUNSETOFFLOAD, 0); err != nil {
		return &TAPError{t.name, "clear the offloads that somebody else left", err, ""}
	}
	r = newIfreq(t.name)
	if err := interfaceCall(unix.SIOCGIFHWADDR, &r); err != nil {
		return &TAPError{t.name, "ask for its MAC address", err, ""}
	}
	copy(t.mac[:], r[ifreqUnion+2:]) // behind the family of a struct sockaddr
	r = newIfreq(t.name)
	if err := interfaceCall(unix.SIOCGIFMTU, &r); err != nil {
		return &TAPError{t.name, "ask for its MTU", err, ""}
	}
	t.mtu = int(int32(binary.NativeEndian.Uint32(r[ifreqUnion:])))
	return nil
}

// interfaceCall makes a call on the network as such, for which any socket will do.
func interfaceCall(cmd uint32, r *ifreq) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	if _, errno := oslib.Ioctl(fd, cmd, r[:]); errno != 0 {
		return errno
	}
	return nil
}

func openAdvice(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV):
		return "load the kernel's module with `modprobe tun`"
	case errors.Is(err, fs.ErrPermission):
		return "let this user read and write " + tunPath
	}
	return ""
}

func (t *TAP) attachAdvice(errno syscall.Errno) string {
	switch errno {
	case unix.EBUSY:
		return "another process has it: end that, or make one more interface"
	case unix.EPERM:
		return "it is not this user's: make it with `ip tuntap add " + t.name + " mode tap user $USER`"
	case unix.EINVAL:
		return "it is no TAP interface, or one with several queues: make it with `ip tuntap add " + t.name + " mode tap user $USER`"
	}
	return ""
}

// Name returns the name of the interface.
func (t *TAP) Name() string { return t.name }

// MAC returns its address.
func (t *TAP) MAC() net.HardwareAddr { return t.mac[:] }

// MTU returns the most bytes of a frame, its Ethernet header aside, as it was when
// the interface was opened.
func (t *TAP) MTU() int { return t.mtu }

// Close lets go of the interface. No device uses it any more.
func (t *TAP) Close() { oslib.Close(t.fd) }

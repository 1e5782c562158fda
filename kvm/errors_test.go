package kvm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenOfWhatIsNoKVM(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(dir, "node")
	// Character device 10:0 is a mouse that no kernel has any more.
	if err := unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 0))); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		is   []error
		text string
	}{
		{filepath.Join(dir, "none"), []error{syscall.ENOENT, fs.ErrNotExist}, "load the module kvm_intel or kvm_amd"},
		{file, []error{syscall.ENOTTY}, "KVM_GET_API_VERSION: inappropriate ioctl for device: that is no KVM device"},
		{os.DevNull, []error{syscall.ENOTTY}, "that is no KVM device"},
		{node, []error{syscall.ENODEV}, "no module behind it"},
		{dir, []error{syscall.EISDIR}, dir + ": is a directory"},
	} {
		sys, err := Open(tt.path)
		var open *OpenError
		if sys != nil || !errors.As(err, &open) || open.Path != tt.path {
			t.Errorf("Open(%s) = %v, %v", tt.path, sys, err)
			continue
		}
		for _, target := range tt.is {
			if !errors.Is(err, target) {
				t.Errorf("%v is no %v", err, target)
			}
		}
		if text := err.Error(); !strings.Contains(text, tt.text) || strings.Contains(text, "\n") {
			t.Errorf("Open(%s): %q, want %q in it", tt.path, text, tt.text)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{openError("/dev/kvm", syscall.EACCES), "/dev/kvm: permission denied: add this user to the group that owns the file"},
		{openError("/dev/kvm", syscall.EPERM), "/dev/kvm: operation not permitted: the container or sandbox"},
		{openError("/dev/kvm", syscall.ENXIO), "/dev/kvm: no such device or address: the device file is there"},
		{openError("/dev/kvm", VersionError(11)), "/dev/kvm: KVM_GET_API_VERSION: 11, not 12: that is no KVM of Linux"},
		{openError("/dev/kvm", &MissingError{[]Cap{CAP_IMMEDIATE_EXIT}}), "/dev/kvm: this KVM lacks KVM_CAP_IMMEDIATE_EXIT: Linux 4.12"},
		{openError("/dev/kvm", syscall.ENOMEM), "/dev/kvm: cannot allocate memory"},
		{&Error{"KVM_CREATE_VM", syscall.EBUSY}, "KVM_CREATE_VM: device or resource busy"},
		{&MissingError{[]Cap{CAP_IRQFD, 9999}}, "this KVM lacks KVM_CAP_IRQFD, KVM_CAP_9999"},
		{&MSRError{"KVM_SET_MSRS", 0x1b}, "KVM_SET_MSRS: MSR 0x1b refused"},
	} {
		if got := tt.err.Error(); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// TestClosed uses what has been closed: it must not reach a descriptor that is
// another's by now.
func TestClosed(t *testing.T) {
	fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	vm := &VM{fd: fd}
	for range 2 {
		if err := vm.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := vm.CreateIRQChip(); !errors.Is(err, syscall.EBADF) {
		t.Errorf("a call after Close: %v", err)
	}
}

// TestNoAllocationPerCall makes the calls that belong to exits on a descriptor
// that refuses them; what the refusal itself costs is one Error.
func TestNoAllocationPerCall(t *testing.T) {
	m := &VM{fd: -1}
	c := &VCPU{fd: -1}
	var r Regs
	var s Sregs
	msi := MSI{}
	for name, f := range map[string]func() error{
		"GetRegs":   func() error { return c.GetRegs(&r) },
		"SetSregs":  func() error { return c.SetSregs(&s) },
		"Interrupt": func() error { return c.Interrupt(3) },
		"Translate": func() error { _, err := c.Translate(3); return err },
		"IRQLine":   func() error { return m.IRQLine(3, true) },
		"SignalMSI": func() error { _, err := m.SignalMSI(&msi); return err },
	} {
		if n := testing.AllocsPerRun(100, func() {
			if !errors.Is(f(), syscall.EBADF) {
				t.Error("no EBADF")
			}
		}); n > 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		if c.Run() != syscall.EBADF {
			t.Error("no EBADF")
		}
	}); n != 0 {
		t.Errorf("Run: %v allocations", n)
	}
}
